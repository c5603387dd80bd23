"""What libvirt says is read as it is meant; what hangs is found, left out, and tried again rarely."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.connectors import Settings
from proxtop.connectors.balloon import Freshness
from proxtop.connectors.bounded import Bounded, Late
from proxtop.connectors.detect import is_remote
from proxtop.connectors.libvirt import LibvirtConnector
from proxtop.connectors.libvirt_bulk import Answer, Bulk, skipped
from proxtop.connectors.libvirt_lanes import Lanes
from proxtop.connectors.libvirt_stats import balloon_row, block_rows, has_block, interface_rows, vcpu_rows
from proxtop.connectors.libvirt_xml import XmlError, parse_domain
from proxtop.connectors.quarantine import Quarantine
from proxtop.model import DiskConfig, NicConfig

XML = """\
<domain type='kvm' id='3'>
  <name>odd "n\u00e4me" &lt;&amp;&gt;</name>
  <memory unit='MiB'>2048</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static' current='2'>8</vcpu>
  <devices>
    <disk type='file' device='disk'><source file='/a b, "c".qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='block' device='lun'><source dev='/dev/vg/lv'/><target dev='sda' bus='scsi'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='pool/image'/><target dev='vdb'/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vdc'/></disk>
    <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk>
    <disk type='file' device='floppy'><source file='/f'/><target dev='fda'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><target dev='vnet0'/></interface>
    <interface type='direct'><mac address='52:54:00:00:00:02'/><target dev='macvtap0'/></interface>
    <interface type='hostdev'><mac address='52:54:00:00:00:03'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:04'/></interface>
    <memballoon model='virtio'><stats period='10'/></memballoon>
  </devices>
</domain>
"""


def test_a_domains_xml() -> None:
    config = parse_domain(XML)
    assert (config.cores, config.memory_kb, config.period) == (2, 2 << 20, 10)
    assert config.disks == (
        DiskConfig("vda", '/a b, "c".qcow2'),
        DiskConfig("sda", "/dev/vg/lv"),
        DiskConfig("vdb", "rbd:pool/image"),
        DiskConfig("vdc", "p/v"),
    )
    assert config.nics == (
        NicConfig("vnet0", "52:54:00:00:00:01", True),
        NicConfig("macvtap0", "52:54:00:00:00:02", False),
    )


@pytest.mark.parametrize("text", ["", "<domain", "<a>\0</a>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&d;</a>"])
def test_what_is_no_xml_is_one_typed_error(text: str) -> None:
    with pytest.raises(XmlError):
        parse_domain(text)


@given(st.text(st.sampled_from("<>/='domainvcpu 0123&;\u0663"), max_size=60))
def test_any_text_is_a_configuration_or_that_error(text: str) -> None:
    with contextlib.suppress(XmlError):
        parse_domain(f"<domain><vcpu current='{text}'>{text}</vcpu><memory>{text}</memory></domain>")


RECORD: dict[str, object] = {
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.rd.reqs": 1,
    "block.0.rd.bytes": 2,
    "block.0.fl.times": 8,
    "block.0.capacity": 9,
    "block.1.name": "sdb",
    "balloon.current": 100,
    "balloon.unused": 10,
    "vcpu.maximum": 4,
    "vcpu.0.time": 5,
    "vcpu.0.delay": 6,
    "vcpu.2.time": 7,
    "net.count": 1,
    "net.0.name": "vnet0",
    "net.0.rx.bytes": 11,
    "net.0.tx.drop": 12,
}


def test_a_missing_key_is_unknown_never_zero() -> None:
    assert block_rows(RECORD, {"vda"}) == {"vda": (1, 2, None, None, None, None, None, 8, 9, None, None)}
    assert balloon_row(RECORD, True) == (100, None, 10, None, None, None)
    assert balloon_row(RECORD, False) == (100, None, None, None, None, None)
    assert vcpu_rows(RECORD) == {"0": (5, 6, None), "2": (7, None, None)}
    (row,) = interface_rows(RECORD).values()
    assert (row[0], row[1], row[11], row[8]) == (11, None, 12, None)


@pytest.mark.parametrize(
    ("path", "capacity", "physical", "sizes"),
    [
        ("/full.raw", 16777216, 16781312, (16781312, None)),
        ("/thin.qcow2", 64 << 20, 1052672, (1052672, None)),
        ("pool/image", 64 << 20, 4096, (4096, None)),
        # what QEMU does not tell, or tells as 0, comes as the image's own size
        ("/empty.raw", 64 << 20, 64 << 20, (None, None)),
        ("/empty-and-odd.raw", 8389120, 8388708, (None, None)),
        ("rbd/image", 64 << 20, 64 << 20, (None, None)),
        ("/dev/vg/lv", 4 << 20, 4 << 20, (None, 4 << 20)),
        ("/dev/vg/qcow2", 64 << 20, 4 << 20, (None, 4 << 20)),
        ("/dev/shm/x.raw", 4 << 20, 8192, (8192, None)),
        (None, None, None, (None, None)),
    ],
)
def test_the_highest_offset_written_is_no_allocation(
    path: str | None, capacity: int | None, physical: int | None, sizes: tuple[int | None, int | None]
) -> None:
    """As domstats of libvirt 9.0 and QEMU 7.2 has them."""
    record: dict[str, object] = {"block.count": 1, "block.0.name": "vda", "block.0.allocation": 1507328}
    told = {"path": path, "capacity": capacity, "physical": physical}
    record |= {f"block.0.{key}": value for key, value in told.items() if value is not None}
    assert block_rows(record, {"vda"})["vda"][8:] == (capacity, *sizes)


def test_a_vm_whose_job_is_held_is_told_by_what_is_not_there() -> None:
    assert has_block(RECORD)
    held: dict[str, object] = {"block.count": 1, "block.0.name": "vda", "block.0.path": "/x"}
    assert not has_block(held)
    records = {"read": RECORD, "held": held, "diskless": {"block.count": 0}, "other": {"vcpu.maximum": 1}}
    answer = Answer(frozenset(("BLOCK",)), {uuid: (0.0, record) for uuid, record in records.items()})
    assert skipped(answer) == ["held"]


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("qemu:///system", False),
        ("qemu+unix:///system?socket=/x", False),
        ("test:///default", False),
        ("qemu+ssh://root@host/system", True),
        ("qemu://host/system", True),
        ("qemu+ssh:///system", True),
        ("qemu+ext:///system?command=nc", True),
    ],
)
def test_what_may_be_another_host_is_remote(uri: str, remote: bool) -> None:
    assert is_remote(uri) is remote


def test_a_guests_report_is_stale_when_it_stops_moving() -> None:
    mono, wall = 1000.0, 50_000.0
    fresh = Freshness(lambda: mono, lambda: wall)
    assert not fresh.is_fresh("a", 0, 10)
    assert not fresh.is_fresh("a", None, 10)
    assert fresh.is_fresh("a", 49_990, 10)
    mono, wall = 1025.0, 50_025.0
    assert not fresh.is_fresh("a", 49_990, 10)
    assert fresh.is_fresh("a", 50_024, 10)
    assert not fresh.is_fresh("b", 40_000, 10)  # old, and not known to move
    assert fresh.is_fresh("b", 40_001, 10)  # another clock than ours, but it moves


def test_a_hanging_call_is_left_to_itself_and_only_so_many_are() -> None:
    go = threading.Event()
    bounded = Bounded("test", 2)
    for _ in range(2):
        with pytest.raises(Late, match="no answer within"):
            bounded.call(go.wait, 0.02)
    begun = time.monotonic()
    with pytest.raises(Late, match="do not return") as late:
        bounded.call(lambda: 1, 5)
    assert time.monotonic() - begun < 1
    assert late.value.call is None
    go.set()
    end = time.monotonic() + 5
    while bounded.hanging and time.monotonic() < end:
        pass
    assert bounded.call(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        bounded.call(lambda: 1 // 0, 5)
    bounded.close()


def test_a_suspect_waits_longer_each_time_and_is_forgiven() -> None:
    quarantine = Quarantine()
    quarantine.add(["a"], 0)
    assert "a" in quarantine
    assert (quarantine.due(9), quarantine.due(10)) == (None, "a")
    quarantine.add(["a"], 10)
    assert (quarantine.due(29), quarantine.due(30)) == (None, "a")
    quarantine.release("a")
    assert "a" not in quarantine
    quarantine.add(["a"], 40)
    assert quarantine.due(79) is None
    quarantine.hurry(50)
    assert quarantine.due(50) == "a"
    quarantine.keep([])
    assert len(quarantine) == 0


class FakeError(Exception):
    pass


class FakeDomain:
    def __init__(self, uuid: str) -> None:
        self.uuid = uuid

    def UUIDString(self) -> str:
        return self.uuid


class FakeConnection:
    """As libvirt with NOWAIT: the first call that meets a hanging VM hangs, later ones skip it."""

    def __init__(self, hanging: dict[str, threading.Event], held: set[str]) -> None:
        self.hanging = hanging
        self.held = held

    def domainListGetStats(self, domains: list[FakeDomain], flags: int, _more: int) -> list[Any]:
        answers = []
        for domain in domains:
            record: dict[str, object] = {"block.count": 1, "block.0.name": "vda"}
            event = self.hanging.get(domain.uuid)
            if event is not None and domain.uuid not in self.held:
                self.held.add(domain.uuid)
                event.wait()
                self.held.discard(domain.uuid)
            elif event is None:
                record |= {"block.0.rd.reqs": 1, "balloon.rss": 1}
            answers.append((domain, record))
        return answers


class FakeLink:
    error = FakeError
    uri = "fake:///"

    def __init__(self, hanging: dict[str, threading.Event]) -> None:
        self.calls = Bounded("fake", 3)
        self.held: set[str] = set()
        self.hanging = hanging
        self.connection = FakeConnection(hanging, self.held)
        self.retired = 0

    def retire(self) -> None:
        self.retired += 1
        self.connection = FakeConnection(self.hanging, self.held)

    def text(self, error: BaseException) -> str:
        return str(error)


def test_the_guard_finds_who_hangs_and_asks_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk.DEADLINE_S", 0.1)
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk._STUCK_S", 0.0)
    hanging = {"b": threading.Event()}
    link = FakeLink(hanging)
    bulk = Bulk(link)  # type: ignore[arg-type]
    handles = {uuid: FakeDomain(uuid) for uuid in "abcd"}
    assert bulk.ask(handles, handles, ["BLOCK"]) is None
    assert (link.retired, bulk.reason) == (1, "libvirt's bulk call: no answer within 0.1 s")
    may, answers = bulk.ready(handles)
    assert may
    assert "b" in bulk.quarantine
    assert {uuid for answer in answers for uuid, (_, record) in answer.records.items() if has_block(record)} == set(
        "acd"
    )
    awake = [uuid for uuid in handles if uuid not in bulk.quarantine]
    answer = bulk.ask(handles, awake, ["BLOCK"])
    assert answer is not None
    assert set(answer.records) == set("acd")
    hanging.pop("b").set()  # it wakes up
    end = time.monotonic() + 5
    while "b" in bulk.quarantine and time.monotonic() < end:
        bulk.collect()
        bulk.ready(handles)
    assert "b" not in bulk.quarantine
    assert bulk.reason is None


def test_at_most_three_calls_hang_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk.DEADLINE_S", 0.05)
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk._STUCK_S", 0.0)
    hanging = {uuid: threading.Event() for uuid in "abcdefgh"}
    events = list(hanging.values())
    link = FakeLink(hanging)
    bulk = Bulk(link)  # type: ignore[arg-type]
    handles = {uuid: FakeDomain(uuid) for uuid in "abcdefgh"}
    for _ in range(10):
        bulk.collect()
        may, _ = bulk.ready(handles)
        if may:
            bulk.ask(handles, [uuid for uuid in handles if uuid not in bulk.quarantine], ["BLOCK"])
    assert link.calls.hanging == 3
    assert len(link.held) == 3
    assert "do not return" in (bulk.reason or "")
    for event in events:
        event.set()
    hanging.clear()
    end = time.monotonic() + 5
    while time.monotonic() < end and (link.calls.hanging or bulk.quarantine):
        bulk.collect()
        bulk.ready(handles)
    assert len(bulk.quarantine) == 0
    answer = bulk.ask(handles, handles, ["BLOCK"])
    assert answer is not None
    assert len(answer.records) == 8


def test_an_event_that_can_not_be_followed_up_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = LibvirtConnector(Settings(), remote=True)
    link = connector._link

    def poll(timeout: float, wake: int | None = None) -> bool:
        time.sleep(min(timeout, 0.05))
        return False

    monkeypatch.setattr(link, "poll", poll)
    monkeypatch.setattr(link, "check", lambda: False)  # no connection: its changes stay to be read
    link._event(None, FakeDomain("a"))
    assert connector.wait(5, 0)
    connector.discover()
    assert link.changed == {"a"}
    assert not connector.wait(0.06, 0)


class FakeLibvirt(FakeConnection):
    """A connection of a lane: it lists all, and counts itself."""

    def __init__(self, link: FakeLink, uuids: str, opened: list[FakeLibvirt]) -> None:
        super().__init__(link.hanging, link.held)
        self.uuids = uuids
        self.asked: list[str] = []
        self.closed = threading.Event()
        opened.append(self)

    def listAllDomains(self, _flags: int) -> list[FakeDomain]:
        return [FakeDomain(uuid) for uuid in self.uuids]

    def domainListGetStats(self, domains: list[FakeDomain], flags: int, _more: int) -> list[Any]:
        self.asked += [domain.uuid for domain in domains]
        return super().domainListGetStats(domains, flags, _more)

    def close(self) -> None:
        self.closed.set()


def lanes_of(link: FakeLink, uuids: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Lanes, Bulk, list[FakeLibvirt]]:
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk.DEADLINE_S", 0.1)
    monkeypatch.setattr("proxtop.connectors.libvirt_lanes.DEADLINE_S", 0.1)
    monkeypatch.setattr("proxtop.connectors.libvirt_bulk._STUCK_S", 0.0)
    opened: list[FakeLibvirt] = []
    monkeypatch.setattr("libvirt.openReadOnly", lambda uri: FakeLibvirt(link, uuids, opened))
    bulk = Bulk(link)  # type: ignore[arg-type]
    return Lanes(link, bulk), bulk, opened  # type: ignore[arg-type]


def test_side_by_side_no_vm_is_asked_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    lanes, bulk, opened = lanes_of(FakeLink({}), "abcdefg", monkeypatch)
    lanes.begin("abcdef")  # g is stopped: nobody asks for it
    answers = [*lanes.primed(), *lanes.balloons()]
    read = [(part, uuid) for answer in answers for part in answer.parts for uuid in answer.records]
    assert sorted(read) == sorted((part, uuid) for part in ("BLOCK", "BALLOON") for uuid in "abcdef")
    assert sorted(uuid for answer in lanes.again() for uuid in answer.records) == list("abcdef")
    shares = [set(connection.asked) for connection in opened]
    assert sum(map(len, shares)) == len(set.union(*shares)) == 6
    lanes.close()
    assert all(connection.closed.wait(5) for connection in opened)
    assert bulk.reason is None


def test_a_vm_that_hangs_side_by_side_costs_its_share_alone_and_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    link = FakeLink({"b": threading.Event()})
    lanes, bulk, _ = lanes_of(link, "abcdef", monkeypatch)
    lanes.begin("abcdef")
    assert {uuid for answer in lanes.primed() for uuid in answer.records} == set("acdf")
    assert {uuid for answer in lanes.balloons() for uuid in answer.records} == set("acdf")
    assert link.calls.hanging == 1  # of the three that may
    assert {uuid for answer in lanes.again() for uuid in answer.records} == set("acdf")
    lanes.close()
    handles = {uuid: FakeDomain(uuid) for uuid in "abcdef"}
    may, answers = bulk.ready(handles)
    assert may
    assert "b" in bulk.quarantine
    assert {uuid for answer in answers for uuid, (_, record) in answer.records.items() if has_block(record)} == {"e"}
    link.hanging.pop("b").set()


def test_a_share_whose_connection_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    link = FakeLink({})
    tries = threading.Semaphore(2)

    def refuse(uri: str) -> FakeLibvirt:
        if not tries.acquire(blocking=False):
            raise FakeError("no more clients")
        return FakeLibvirt(link, "abcdef", [])

    monkeypatch.setattr("libvirt.openReadOnly", refuse)
    bulk = Bulk(link)  # type: ignore[arg-type]
    lanes = Lanes(link, bulk)  # type: ignore[arg-type]
    lanes.begin("abcdef")
    read = {uuid for answer in lanes.primed() for uuid in answer.records}
    assert len(lanes.failed) == 2
    assert read == set("abcdef") - set(lanes.failed)
    assert bulk.reason == "libvirt's bulk call: no more clients"
