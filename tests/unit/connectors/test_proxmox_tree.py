"""A Proxmox VE host as a tree of text: who runs, what it is, and when its monitor is asked."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from proxtop.connectors import ConnectorError, Settings, create, detect
from proxtop.connectors.bounded import Late
from proxtop.connectors.monitors import Monitors, Target
from proxtop.connectors.proxmox import ProxmoxConnector
from proxtop.connectors.qemu import QemuConnector
from proxtop.connectors.qmp import Query, Session
from proxtop.model import DiskConfig, NicConfig

STAT = "{pid} (kvm) {state} 1" + " 0" * 13 + " 20 0 3 0 {start} 1000 10" + " 0" * 22 + "\n"


class Host:
    """Writes a host's files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.run = root / "var/run/qemu-server"
        self.conf = root / "etc/pve/qemu-server"
        for directory in (self.proc, self.run, self.conf):
            directory.mkdir(parents=True)

    @property
    def settings(self) -> Settings:
        return Settings(procfs=str(self.proc), sysfs=str(self.root / "sys"), root=str(self.root))

    def process(self, pid: int, *arguments: str, program: str = "/usr/bin/kvm", state: str = "S") -> None:
        directory = self.proc / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "cmdline").write_bytes("\0".join((program, *arguments, "")).encode(errors="surrogateescape"))
        (directory / "stat").write_text(STAT.format(pid=pid, state=state, start=pid * 10))

    def vm(self, vmid: int, pid: int, *arguments: str, config: str | None = "cores: 2\nmemory: 1024\n") -> None:
        pidfile = self.run / f"{vmid}.pid"
        pidfile.write_text(f"{pid}\n")
        self.process(pid, "-id", str(vmid), "-pidfile", f"/var/run/qemu-server/{vmid}.pid", *arguments)
        if config is not None:
            (self.conf / f"{vmid}.conf").write_text(config)

    def end(self, pid: int) -> None:
        for file in (self.proc / str(pid)).iterdir():
            file.unlink()
        (self.proc / str(pid)).rmdir()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_is_detected_and_opened_by_its_directories(host: Host, tmp_path: Path) -> None:
    assert detect(host.settings) == "proxmox"
    create("proxmox", host.settings).open()
    with pytest.raises(
        ConnectorError, match=r"^proxmox: .*/var/run/qemu-server: No such file.*; is this a Proxmox VE host"
    ):
        create("proxmox", Settings(root=str(tmp_path / "nowhere"))).open()
    with pytest.raises(ConnectorError, match="no connector is called 'xen'"):
        create("xen", host.settings)


def test_disks_are_what_qemu_opened_else_what_is_configured(host: Host) -> None:
    host.vm(
        100, 11,
        "-name", "web,debug-threads=on", "-smbios", "type=1,uuid=0F3B3C6A-2F1C-4A52-9C1D-0123456789AB",
        "-drive", "file=/dev/pve/vm-100-disk-0,if=none,id=drive-scsi0",
        "-netdev", "type=tap,id=net0,ifname=tap100i0",
        config="name: renamed\ncores: 2\nscsi0: l:vm-100-disk-0\nscsi1: l:vm-100-disk-1\n"
        "net0: virtio=BC:24:11:00:00:01\nnet3: e1000=BC:24:11:00:00:02\n[PENDING]\ncores: 9\n",
    )  # fmt: skip
    (domain,) = create("proxmox", host.settings).discover().domains
    assert (domain.name, domain.vmid, domain.pid, domain.cores) == ("renamed", 100, 11, 2)
    assert domain.uuid == "0f3b3c6a-2f1c-4a52-9c1d-0123456789ab"
    assert domain.disks == (DiskConfig("scsi0", "/dev/pve/vm-100-disk-0"), DiskConfig("scsi1", "l:vm-100-disk-1"))
    assert domain.nics == (NicConfig("tap100i0", "BC:24:11:00:00:01"), NicConfig("tap100i3", "BC:24:11:00:00:02"))


def test_a_disk_that_moved_is_not_where_qemu_opened_it(host: Host) -> None:
    """Its device's figures are not the disk's any more."""
    opened = "file=/dev/pve/vm-100-disk-0,if=none,id=drive-scsi0"
    host.vm(100, 11, "-drive", opened, config="scsi0: l:vm-100-disk-0\n")
    connector = create("proxmox", host.settings)
    sources = []
    for volume in ("l:vm-100-disk-0", "l:vm-100-disk-0,size=9G", "fast:vm-100-disk-0,size=9G", "fast:vm-100-disk-0"):
        (host.conf / "100.conf").write_text(f"scsi0: {volume}\n")
        sources.append(connector.discover().domains[0].disks[0].source)
    assert sources == ["/dev/pve/vm-100-disk-0"] * 2 + ["fast:vm-100-disk-0"] * 2
    (host.conf / "100.conf").write_text("scsi0: l:vm-100-disk-3\n")
    late = create("proxmox", host.settings).discover().domains[0]
    assert late.disks == (DiskConfig("scsi0", "l:vm-100-disk-3"),)


def test_a_pid_file_is_believed_only_when_the_process_names_it(host: Host) -> None:
    host.vm(100, 11)
    host.vm(101, 12)
    (host.run / "102.pid").write_text("12")  # 101's process
    (host.run / "103.pid").write_text("99")  # nobody's
    (host.run / "104.pid").write_text("junk")
    (host.run / "\u0661.pid").write_text("11")
    host.process(13, "/usr/bin/kvm", "-pidfile", "/var/run/qemu-server/105.pid", program="/bin/grep")
    (host.run / "105.pid").write_text("13")
    assert [domain.vmid for domain in create("proxmox", host.settings).discover().domains] == [100, 101]


def test_nothing_new_is_the_same_object_and_a_change_is_another(host: Host) -> None:
    host.vm(100, 11)
    connector = create("proxmox", host.settings)
    first = connector.discover()
    assert connector.discover() is first
    path = host.conf / "100.conf"
    path.write_text("cores: 3\n")
    os.utime(path, ns=(1, 1))
    second = connector.discover()
    assert (second.domains[0].cores, first.domains[0].cores) == (3, 2)
    host.vm(200, 22)
    assert [domain.vmid for domain in connector.discover().domains] == [100, 200]
    host.end(11)
    assert [domain.vmid for domain in connector.discover().domains] == [200]


def test_a_second_change_within_the_second_of_the_first_is_seen(host: Host) -> None:
    """pmxcfs' times of change are whole seconds."""
    host.vm(100, 11)
    path = host.conf / "100.conf"
    written = int(time.time()) * 1_000_000_000
    os.utime(path, ns=(written, written))
    connector = create("proxmox", host.settings)
    assert connector.discover().domains[0].cores == 2
    path.write_text("cores: 3\nmemory: 1024\n")
    os.utime(path, ns=(written, written))
    assert connector.discover().domains[0].cores == 3


def test_two_vms_of_one_uuid_are_two(host: Host) -> None:
    """As after a backup was restored under another number."""
    given = "0f3b3c6a-2f1c-4a52-9c1d-0123456789ab"
    host.vm(101, 11, "-smbios", f"type=1,uuid={given}")
    connector = create("proxmox", host.settings)
    assert [domain.uuid for domain in connector.discover().domains] == [given]
    host.vm(100, 12, "-smbios", f"type=1,uuid={given}")
    domains = connector.discover()
    uuids = {domain.vmid: domain.uuid for domain in domains.domains}
    assert uuids[101] == given != uuids[100]
    (host.conf / "101.conf").write_text("cores: 7\n")
    os.utime(host.conf / "101.conf", ns=(1, 1))
    host.end(11)
    host.vm(101, 13, "-smbios", f"type=1,uuid={given}")
    assert {domain.vmid: domain.uuid for domain in connector.discover().domains} == uuids


def test_a_new_pid_file_wakes_the_wait(host: Host) -> None:
    connector = create("proxmox", host.settings)
    connector.discover()
    wake, end = os.pipe()
    assert not connector.wait(0.01, wake)
    host.vm(100, 11)
    assert connector.wait(5, wake)
    connector.discover()
    os.write(end, b"x")
    assert not connector.wait(5, wake)
    os.close(wake)
    os.close(end)


def test_without_a_configuration_the_command_line_is_all_there_is(host: Host) -> None:
    host.vm(100, 11, "-name", "a\ttab", "-smp", "3", config=None)
    domains = create("proxmox", host.settings).discover()
    assert "100.conf" in (domains.reason or "")
    (domain,) = domains.domains
    assert (domain.name, domain.cores, domain.reason) == ("a\ttab", 3, "its configuration can't be read")


def test_bare_vms_of_one_name_differ_and_keep_their_uuids(host: Host) -> None:
    host.process(1, "-name", "x", "-hda", "/a")
    host.process(2, "-name", "x", "-hda", "/b")
    host.process(3, "-name", "x", "-hda", "/b")
    host.process(4, "-uuid", "0F3B3C6A-2F1C-4A52-9C1D-0123456789AB", "-netdev", "tap,fd=3,id=n")
    host.process(5, "-uuid", "0F3B3C6A-2F1C-4A52-9C1D-0123456789AB")
    host.process(6, "-machine", "none,accel=kvm")
    host.process(7, "-name", "z", state="Z")
    connector = QemuConnector(host.settings)
    domains = connector.discover()
    uuids = {domain.pid: domain.uuid for domain in domains.domains}
    assert list(uuids) == [1, 2, 3, 4]
    assert len(set(uuids.values())) == 4
    assert uuids[4] == "0f3b3c6a-2f1c-4a52-9c1d-0123456789ab"
    assert domains.reason == "PID 5 has the UUID of PID 4 and is left out"
    assert domains.domains[3].nics is None
    assert "tap" in (domains.domains[3].reason or "")
    host.end(2)
    assert {domain.pid: domain.uuid for domain in connector.discover().domains} == {
        pid: uuid for pid, uuid in uuids.items() if pid != 2
    }
    restarted = QemuConnector(host.settings)
    assert {domain.pid: domain.uuid for domain in restarted.discover().domains}[1] == uuids[1]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeRun:
    """In qmp.run's place: notes who is asked what; those in `deaf` do not answer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deaf: set[str] = set()
        self.asked: list[tuple[float, str, tuple[Query, ...]]] = []

    def __call__(self, sessions: Iterable[Session], timeout: float, until: float, **_options: object) -> list[Session]:
        done = []
        for session in sessions:
            self.asked.append((self.clock.now, session.path, tuple(session.queries)))
            session.begun = session.ended = self.clock.now
            if session.path in self.deaf:
                session.failure = "no answer"
            else:
                stats = [{"device": "drive-scsi0", "stats": {"rd_bytes": int(self.clock.now)}}]
                image = [{"device": "drive-scsi0", "inserted": {"image": {"virtual-size": 7}}}]
                answers = {"query-blockstats": stats, "query-block": image, "query-balloon": {"actual": 1 << 20}}
                session.replies = {
                    query: answers[query.command] for query in session.queries if query.command in answers
                }
            done.append(session)
        return done

    def times(self, path: str) -> list[float]:
        return [at for at, asked, _ in self.asked if asked == path]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun(clock)
    monkeypatch.setattr("proxtop.connectors.qmp.run", fake)
    return fake


def target(uuid: str, *, locked: bool = False, asleep: bool = False, gen: int = 1) -> Target:
    return Target(uuid, gen, uuid, ("scsi0",), "/machine/peripheral/balloon0", locked, lambda: asleep)


def test_no_monitor_is_asked_more_often_than_every_two_seconds(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(0.5, clock)
    monitors.statistics([target("a"), target("b")], prime=True)
    for _ in range(60):
        clock.now += 0.5
        monitors.statistics([target("a"), target("b")])
    for path in "ab":
        times = asked.times(path)
        gaps = [later - earlier for earlier, later in itertools.pairwise(times[1:])]  # but for the two of a start
        assert min(gaps) >= 2 - 0.05
        assert len(times) >= 14
    assert set(asked.times("a")[2:]) != set(asked.times("b")[2:])  # not everyone in the same cycle


def test_balloon_and_sizes_are_asked_seldom_and_by_turns(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(2, clock)
    targets = [target(name) for name in "abcde"]
    monitors.statistics(targets, prime=True)
    asked.asked.clear()
    for _ in range(30):
        clock.now += 2
        block, balloon = monitors.statistics(targets)
    assert (block.refresh, balloon.refresh) == (2, 10)
    commands = [query.command for _, _, queries in asked.asked for query in queries]
    assert commands.count("query-blockstats") == 150
    assert commands.count("query-balloon") == 30
    assert commands.count("query-block") == 5
    assert [queries[-1].command for _, _, queries in asked.asked if len(queries) > 2] == ["qom-get"] * 30
    assert block.table.columns["capacity"] == [7] * 5
    assert block.table.at == [clock.now] * 5
    assert balloon.table.columns["actual_kb"] == [1024] * 5
    assert balloon.table.columns["unused_kb"] == [None] * 5


def test_who_does_not_answer_is_asked_ever_more_seldom_and_its_row_ages_out(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(2, clock)
    monitors.statistics([target("a"), target("b")], prime=True)
    asked.deaf.add("a")
    asked.asked.clear()
    for _ in range(100):
        clock.now += 2
        block, _ = monitors.statistics([target("a"), target("b")])
    assert len(asked.times("a")) <= 8
    assert len(asked.times("b")) == 100
    assert block.table.ids == ["b/scsi0"]
    assert block.reason == "QMP of a: no answer"
    asked.deaf.clear()
    for _ in range(31):
        clock.now += 2
        block, _ = monitors.statistics([target("a"), target("b")])
    assert block.table.ids == ["a/scsi0", "b/scsi0"]
    assert block.reason is None


def test_a_locked_vm_is_left_in_peace_and_a_stopped_one_not_asked(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(2, clock)
    targets = [target("a", locked=True), target("b", asleep=True), target("c")]
    for _ in range(30):
        clock.now += 2
        monitors.statistics(targets)
    assert [len(asked.times(path)) for path in "abc"] == [2, 0, 30]


def test_another_process_of_a_vm_has_no_rows_of_the_last_one(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(2, clock)
    monitors.statistics([target("a")], prime=True)
    asked.deaf.add("a")
    block, _ = monitors.statistics([target("a", gen=2)])
    assert block.table.ids == []


def test_the_size_of_a_disk_that_is_plugged_in_is_asked_at_once(clock: Clock, asked: FakeRun) -> None:
    monitors = Monitors(2, clock)
    none = dataclasses.replace(target("a"), disks=())
    monitors.statistics([none], prime=True)
    for plugged in (none, target("a")):
        clock.now += 2
        block, _ = monitors.statistics([plugged])
    assert block.table.columns["capacity"] == [7]


def test_a_config_that_hangs_is_said_and_the_last_one_stands(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.vm(100, 11)
    connector = ProxmoxConnector(host.settings)
    first = connector.discover()

    def late(*_arguments: object) -> None:
        raise Late("no answer")

    monkeypatch.setattr(connector._reader, "call", late)
    second = connector.discover()
    assert second.domains == first.domains
    assert "does not answer" in (second.reason or "")
