"""The connectors on real guests: what they tell is true, and a guest that hangs costs nobody but itself."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from proxtop.connectors import Connector, ConnectorError, Settings, create
from proxtop.connectors import processes as connector_processes
from proxtop.connectors.libvirt import LibvirtConnector
from proxtop.model import Domain, Domains, Statistics
from tests.lab import Guest, Lab, Spec
from tests.lab.host import BRIDGE, wait_for
from tests.lab.libvirt import virsh
from tests.lab.scenes import READ_RATE, WRITE_RATE, BareScene, LibvirtScene, ProxmoxScene

BOUND_S = 1.0
"""What any call may take, whatever hangs."""

CYCLE_S = 2.0

pytest.importorskip("libvirt")


class Driver:
    """Calls a connector as its worker does, and holds it to its bound."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.wake, self._end = os.pipe()
        self.slowest = 0.0
        self.statistics: dict[str, Statistics] = {}

    def bounded(self, call: Callable[[], object]) -> None:
        begun = time.monotonic()
        call()
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def discover(self) -> Domains:
        found: list[Domains] = []
        self.bounded(lambda: found.append(self.connector.discover()))
        return found[0]

    def domain(self, guest: Guest) -> Domain | None:
        return next((domain for domain in self.discover().domains if domain.uuid == guest.spec.uuid), None)

    def read(self, *, prime: bool = False) -> None:
        def call() -> None:
            self.statistics = {part.part: part for part in self.connector.statistics(prime=prime)}

        self.bounded(call)

    def cycle(self) -> None:
        """Waits for one interval, whatever events come; then reads."""
        end = time.monotonic() + CYCLE_S
        while (left := end - time.monotonic()) > 0:
            if self.connector.wait(left, self.wake):
                self.discover()
        self.discover()
        self.read()

    def row(self, part: str, guest: Guest, name: str = "") -> tuple[float, dict[str, object]] | None:
        """The time and the values of a row, None where there is none."""
        table = self.statistics[part].table
        row = guest.spec.uuid + (f"/{name}" if name else "")
        if row not in table.ids or table.at is None:
            return None
        place = table.ids.index(row)
        at = table.at[place]
        assert at is not None
        return at, {column: values[place] for column, values in table.columns.items()}

    def rate(self, guest: Guest, disk: str, column: str, cycles: int = 2) -> float:
        first = self.row("block", guest, disk)
        for _ in range(cycles):
            self.cycle()
        last = self.row("block", guest, disk)
        assert first is not None
        assert last is not None
        before, after = first[1][column], last[1][column]
        assert isinstance(before, int)
        assert isinstance(after, int)
        return (after - before) / (last[0] - first[0])

    def close(self) -> None:
        self.connector.close()
        os.close(self.wake)
        os.close(self._end)


@contextlib.contextmanager
def driven(name: str, settings: Settings) -> Iterator[Driver]:
    connector = create(name, settings)
    connector.open()
    driver = Driver(connector)
    try:
        driver.discover()
        driver.read(prime=True)
        yield driver
        assert driver.slowest < BOUND_S
    finally:
        driver.close()


@contextlib.contextmanager
def stopped(*guests: Guest) -> Iterator[None]:
    pids = [guest.pid for guest in guests]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def libvirt() -> Iterator[Driver]:
    with driven("libvirt", Settings(interval=CYCLE_S)) as driver:
        yield driver


def test_libvirt_tells_what_its_guests_are(libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    for guest in libvirt_guests:
        domain = libvirt.domain(guest)
        assert domain is not None
        assert domain.name == guest.name
        assert domain.pid == guest.pid
        assert (domain.cores, domain.memory_kb) == (guest.spec.vcpus, guest.spec.memory_mib << 10)
        assert [disk.source for disk in domain.disks] == [str(guest.disk_path)]
        assert domain.nics is not None
        assert [(nic.name, nic.mac, nic.swapped) for nic in domain.nics] == [(guest.tap, guest.place.mac, True)]
        assert domain.reason is None


def test_libvirt_reads_the_disk_load_and_the_balloon(libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    assert libvirt.rate(libvirt_guests.odd, "vda", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
    _, block = libvirt.row("block", libvirt_guests.odd, "vda") or (0.0, {})
    assert block["capacity"] == libvirt_guests.odd.spec.disk_mib << 20
    for guest in libvirt_guests:
        _, balloon = libvirt.row("balloon", guest) or (0.0, {})
        available, unused = balloon["available_kb"], balloon["unused_kb"]
        assert isinstance(available, int)
        assert isinstance(unused, int)
        assert 0 < unused < available < guest.spec.memory_mib << 10


def test_nothing_new_is_the_same_object(libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    assert libvirt.discover() is libvirt.discover()


def test_a_stopped_guest_delays_nobody(libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    web, busy, odd = libvirt_guests
    with stopped(web):
        assert libvirt.rate(odd, "vda", "wr_bytes", cycles=3) == pytest.approx(WRITE_RATE, rel=0.15)
        assert libvirt.row("block", web, "vda") is None  # older than two refreshes by now
        assert libvirt.row("block", busy, "vda") is not None
        assert libvirt.slowest < BOUND_S
    libvirt.cycle()
    assert libvirt.row("block", web, "vda") is not None
    assert libvirt.statistics["block"].reason is None


@pytest.mark.slow
def test_a_guest_that_hangs_unseen_is_found_left_out_and_taken_back(
    libvirt_guests: LibvirtScene, libvirt: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, _, odd = libvirt_guests
    monkeypatch.setattr(connector_processes, "_state", lambda stat: "S")
    with stopped(web):
        libvirt.cycle()  # hangs
        libvirt.cycle()  # finds out who
        assert "web" in (libvirt.statistics["block"].reason or "")
        before = libvirt.row("block", odd, "vda")
        assert libvirt.rate(odd, "vda", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
        assert before is not None
    wait_for("the guest to be read again", lambda: (libvirt.cycle(), libvirt.row("block", web, "vda"))[1], 30)
    libvirt.cycle()
    assert libvirt.statistics["block"].reason is None


def test_a_disk_that_is_plugged_in_appears_at_once(
    libvirt_guests: LibvirtScene, libvirt: Driver, tmp_path: pathlib.Path
) -> None:
    guest = libvirt_guests.web
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    image = tmp_path / "more.img"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    image.chmod(0o666)
    libvirt.discover()
    virsh("attach-disk", guest.uuid, str(image), "vdb", "--live")
    try:
        begun = time.monotonic()
        assert libvirt.connector.wait(5, libvirt.wake)
        assert time.monotonic() - begun < 1
        domain = libvirt.domain(guest)
        assert domain is not None
        assert [disk.name for disk in domain.disks] == ["vda", "vdb"]
        libvirt.read()
        _, row = libvirt.row("block", guest, "vdb") or (0.0, {})
        assert row["capacity"] == 1 << 20
    finally:
        virsh("detach-disk", guest.uuid, "vdb", "--live")
    wait_for("the disk to be gone", lambda: "vdb" not in virsh("domblklist", guest.uuid), 30)
    assert libvirt.connector.wait(5, libvirt.wake)
    domain = libvirt.domain(guest)
    assert domain is not None
    assert [disk.name for disk in domain.disks] == ["vda"]


def test_a_nic_that_is_plugged_in_appears_at_once(libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    guest, mac = libvirt_guests.web, "52:54:00:1a:fe:02"
    known = libvirt.domain(guest)
    assert known is not None and known.nics is not None
    virsh("attach-interface", guest.uuid, "bridge", BRIDGE, "--model", "virtio", "--mac", mac, "--live")
    try:
        begun = time.monotonic()
        assert libvirt.connector.wait(5, libvirt.wake)
        assert time.monotonic() - begun < 1
        domain = libvirt.domain(guest)
        assert domain is not None and domain.nics is not None
        assert domain.nics[:-1] == known.nics
        assert (domain.nics[-1].mac, domain.nics[-1].swapped) == (mac, True)
        assert f"{domain.nics[-1].name} " in virsh("domiflist", guest.uuid)
    finally:
        wait_for("the guest to know its NIC", lambda: "eth1" in guest.run("ls /sys/class/net"), 20)
        virsh("detach-interface", guest.uuid, "bridge", "--mac", mac, "--live")
    wait_for("the NIC to be gone", lambda: mac not in virsh("domiflist", guest.uuid), 30)
    assert libvirt.connector.wait(5, libvirt.wake)
    assert libvirt.domain(guest) == known


def test_a_guest_that_comes_and_goes_is_an_event(lab: Lab, libvirt_guests: LibvirtScene, libvirt: Driver) -> None:
    (guest,) = lab.boot_libvirt([Spec("short-lived", disk_mib=0)])
    try:
        assert libvirt.connector.wait(5, libvirt.wake)
        domain = libvirt.domain(guest)
        assert domain is not None
        assert domain.pid == guest.pid
    finally:
        guest.stop()
    assert libvirt.connector.wait(5, libvirt.wake)
    assert libvirt.domain(guest) is None


class Door:
    """Stands between a connector and libvirtd, to be shut or to let nothing through: libvirtd itself is everybody's,
    and a restarted one loses guests with odd names."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.open = threading.Event()
        self._listener: socket.socket | None = None
        self._pairs: list[socket.socket] = []
        self.start()

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.path}"

    def start(self) -> None:
        self.open.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        self.path.unlink()
        assert self._listener is not None
        for one in (self._listener, *self._pairs):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._pairs.clear()
        self.open.set()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect("/run/libvirt/libvirt-sock-ro")
                self._pairs += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while text := source.recv(65536):
                self.open.wait()
                sink.sendall(text)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def door(libvirt_guests: LibvirtScene, tmp_path: pathlib.Path) -> Iterator[Door]:
    door = Door(tmp_path / "door")
    yield door
    door.stop()


def has_row(driver: Driver, guest: Guest) -> bool:
    driver.cycle()
    return driver.row("block", guest, "vda") is not None


@pytest.mark.slow
def test_a_libvirtd_that_goes_and_comes_back_is_found_again(libvirt_guests: LibvirtScene, door: Door) -> None:
    with driven("libvirt", Settings(uri=door.uri, interval=CYCLE_S)) as driver:
        known = {domain.uuid for domain in driver.discover().domains}
        door.stop()
        begun = time.monotonic()
        assert driver.connector.wait(5, driver.wake)  # the loss itself is an event
        assert time.monotonic() - begun < 1
        driver.cycle()
        domains = driver.discover()
        assert {domain.uuid for domain in domains.domains} == known
        assert "cannot connect" in (domains.reason or "")
        assert driver.statistics["block"].reason
        door.start()
        wait_for("the connection", lambda: driver.discover().reason is None, 5)
        driver.cycle()
        assert driver.rate(libvirt_guests.odd, "vda", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
        driver.discover()
        virsh("desc", libvirt_guests.web.uuid, "--live", "words")
        assert driver.connector.wait(5, driver.wake)  # events come over the new connection


@pytest.mark.slow
def test_a_libvirtd_that_says_nothing_more_is_given_up_and_found_again(
    libvirt_guests: LibvirtScene, door: Door
) -> None:
    with driven("libvirt", Settings(uri=door.uri, interval=CYCLE_S)) as driver:
        door.open.clear()
        wait_for("the loss", lambda: (driver.cycle(), "libvirt" in (driver.discover().reason or ""))[1], 40)
        assert driver.discover().domains
        door.stop()
        door.start()
        wait_for("the figures", lambda: has_row(driver, libvirt_guests.odd), 40)
        assert driver.discover().reason is None


def test_no_daemon_is_said_in_one_line(tmp_path: pathlib.Path) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/nobody"
    with pytest.raises(ConnectorError, match=r"^libvirt: cannot connect to qemu.*is libvirtd running\?") as caught:
        create("libvirt", Settings(uri=uri)).open()
    assert "\n" not in str(caught.value)


def test_a_remote_uri_brings_vcpus_and_interfaces_and_no_pid(libvirt_guests: LibvirtScene) -> None:
    connector = LibvirtConnector(Settings(interval=CYCLE_S), remote=True)
    connector.open()
    driver = Driver(connector)
    try:
        domains = driver.discover()
        assert domains.remote
        assert all(domain.pid is None for domain in domains.domains)
        driver.read(prime=True)
        first = driver.row("vcpu", libvirt_guests.busy, "0")
        driver.cycle()
        last = driver.row("vcpu", libvirt_guests.busy, "0")
        assert first is not None
        assert last is not None
        ran, before = last[1]["run_ns"], first[1]["run_ns"]
        assert isinstance(ran, int)
        assert isinstance(before, int)
        assert (ran - before) / (last[0] - first[0]) > 0.2e9
        assert isinstance(last[1]["wait_ns"], int)
        _, nic = driver.row("interface", libvirt_guests.odd, libvirt_guests.odd.tap) or (0.0, {})
        sent, received = nic["tx_bytes"], nic["rx_bytes"]
        assert isinstance(sent, int)
        assert isinstance(received, int)
        assert sent > received  # it sends: the VM's direction, not the tap's
    finally:
        driver.close()


@pytest.fixture
def proxmox(proxmox_host: ProxmoxScene) -> Iterator[Driver]:
    with driven("proxmox", Settings(root=str(proxmox_host.root), interval=CYCLE_S)) as driver:
        yield driver


def test_proxmox_tells_what_its_guests_are(proxmox_host: ProxmoxScene, proxmox: Driver) -> None:
    domains = proxmox.discover()
    assert domains.reason is None
    assert [domain.vmid for domain in domains.domains] == [101, 102]
    for guest, disk in ((proxmox_host.web, "virtio0"), (proxmox_host.db, "scsi0")):
        domain = proxmox.domain(guest)
        assert domain is not None
        assert (domain.name, domain.pid, domain.cores) == (guest.name, guest.pid, guest.spec.vcpus)
        assert domain.memory_kb == guest.spec.memory_mib << 10
        assert [(one.name, one.source) for one in domain.disks] == [(disk, str(guest.disk_path))]
        assert domain.nics is not None
        assert [nic.name for nic in domain.nics] == [guest.tap]


def test_proxmox_reads_loads_and_balloon(proxmox_host: ProxmoxScene, proxmox: Driver) -> None:
    before = proxmox.row("block", proxmox_host.web, "virtio0")
    assert proxmox.rate(proxmox_host.db, "scsi0", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
    after = proxmox.row("block", proxmox_host.web, "virtio0")
    assert before is not None
    assert after is not None
    one, other = before[1]["rd_bytes"], after[1]["rd_bytes"]
    assert isinstance(one, int)
    assert isinstance(other, int)
    assert (other - one) / (after[0] - before[0]) == pytest.approx(READ_RATE, rel=0.15)
    _, balloon = proxmox.row("balloon", proxmox_host.db) or (0.0, {})
    assert balloon["actual_kb"] == 80 << 10
    assert after[1]["capacity"] == proxmox_host.web.spec.disk_mib << 20


@pytest.mark.slow
def test_proxmox_leaves_a_held_monitor_and_a_stopped_guest_alone(proxmox_host: ProxmoxScene, proxmox: Driver) -> None:
    web, db = proxmox_host.web, proxmox_host.db
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(proxmox_host.root / f"var/run/qemu-server/{web.vmid}.qmp"))
        proxmox.cycle()
        assert "no answer" in (proxmox.statistics["block"].reason or "")
        assert proxmox.rate(db, "scsi0", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
    wait_for("the monitor to be asked again", lambda: (proxmox.cycle(), not proxmox.statistics["block"].reason)[1], 30)
    with stopped(web):
        assert proxmox.rate(db, "scsi0", "wr_bytes") == pytest.approx(WRITE_RATE, rel=0.15)
        assert proxmox.statistics["block"].reason is None
    assert db.qmp("query-status")["running"]  # its monitor is free for others


def test_bare_guests_are_known_by_their_command_lines(bare_guests: BareScene) -> None:
    with driven("qemu", Settings(interval=CYCLE_S)) as bare:
        for guest in bare_guests:
            domain = next((one for one in bare.discover().domains if one.pid == guest.pid), None)
            assert domain is not None
            assert domain.name == guest.name
            assert domain.cores == guest.spec.vcpus
            assert [disk.source for disk in domain.disks] == [str(guest.disk_path)]
            assert domain.nics is not None
            assert [nic.name for nic in domain.nics] == [guest.tap]
        assert bare.statistics == {}
