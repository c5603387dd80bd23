"""The lab keeps its promises: without that, no figure of any other test that uses it says anything."""

from __future__ import annotations

import os
import pathlib
import time

import pytest

from tests.lab import Guest, Lab, LabError, Spec
from tests.lab.host import wait_for
from tests.lab.scenes import READ_RATE, SEND_RATE, WRITE_RATE, BareScene, LibvirtScene, ProxmoxScene

pytestmark = pytest.mark.slow

SPAN_S = 4.0


def counters(guest: Guest) -> dict[str, float]:
    """What the kernel counts of a guest: bytes, and nanoseconds of its vCPU threads."""
    proc = pathlib.Path(f"/proc/{guest.pid}")
    counted = {"at": time.monotonic()}
    for line in (proc / "io").read_text().splitlines():
        key, _, value = line.partition(": ")
        counted[key] = int(value)
    for task in (proc / "task").iterdir():
        name = (task / "comm").read_text().strip()
        counted[name] = int((task / "schedstat").read_text().split()[0])
    counted["sent"] = int(pathlib.Path(f"/sys/class/net/{guest.tap}/statistics/rx_bytes").read_text())
    return counted


def rates(guest: Guest) -> dict[str, float]:
    """Per second, over SPAN_S."""
    first = counters(guest)
    wait_for("the span", lambda: time.monotonic() - first["at"] >= SPAN_S, SPAN_S + 5)
    last = counters(guest)
    return {key: (last[key] - first[key]) / (last["at"] - first["at"]) for key in first.keys() & last.keys()}


def test_a_busy_vcpu_burns_what_its_core_gives_and_the_other_idles(libvirt_guests: LibvirtScene) -> None:
    # The host's other work takes its share: on an idle core this is 1e9.
    measured = rates(libvirt_guests.busy)
    assert measured["CPU 0/TCG"] > 0.3e9
    assert measured["CPU 1/TCG"] < 0.2e9


def test_an_idle_guest_is_idle(libvirt_guests: LibvirtScene) -> None:
    measured = rates(libvirt_guests.web)
    assert measured["CPU 0/TCG"] < 0.1e9
    assert measured["sent"] < 1000


def test_disk_writes_and_network_traffic_are_paced(libvirt_guests: LibvirtScene, bare_guests: BareScene) -> None:
    for guest in (libvirt_guests.odd, bare_guests.plain):
        measured = rates(guest)
        assert measured["write_bytes"] == pytest.approx(WRITE_RATE, rel=0.05)
        assert measured["sent"] == pytest.approx(SEND_RATE, rel=0.05)


def test_disk_reads_reach_the_host(proxmox_host: ProxmoxScene) -> None:
    assert rates(proxmox_host.web)["read_bytes"] == pytest.approx(READ_RATE, rel=0.05)


def test_the_proxmox_tree_is_complete(proxmox_host: ProxmoxScene) -> None:
    root, web, db = proxmox_host
    assert (web.vmid, db.vmid, web.tap) == (101, 102, "tap101i0")
    for guest in (web, db):
        assert (root / f"etc/pve/qemu-server/{guest.vmid}.conf").read_text().count(f"name: {guest.name}\n") == 1
        assert int((root / f"var/run/qemu-server/{guest.vmid}.pid").read_text()) == guest.pid
        assert pathlib.Path(f"/proc/{guest.pid}/comm").read_text() == "kvm\n"
    assert db.qmp("query-balloon")["actual"] == 80 << 20


def test_a_load_can_be_changed_while_a_guest_runs(bare_guests: BareScene) -> None:
    guest = bare_guests.daemon
    with guest.loaded("busy:1"):
        assert "load busy 1" in guest.run("ps")
    assert "load busy" not in guest.run("ps")
    with pytest.raises(LabError, match="failed with 3"):
        guest.run("exit 3")


def test_a_guest_comes_back_with_a_new_process_and_the_same_identity(lab: Lab) -> None:
    (guest,) = lab.boot_bare([Spec("phoenix", vcpus=1)])
    before, uuid = guest.pid, guest.uuid
    guest.restart()
    assert (guest.pid != before, guest.uuid) == (True, uuid)
    pid = guest.pid
    guest.stop()
    assert not guest.running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_many_small_guests_can_be_had_cheaply(lab: Lab) -> None:
    """Benchmarks want 200: then one must take little memory and, when idle, hardly any CPU."""
    guests = lab.boot_bare([Spec(f"small-{number}", vcpus=1, disk_mib=1) for number in range(12)], timeout=110)
    try:
        for guest in guests:
            rollup = pathlib.Path(f"/proc/{guest.pid}/smaps_rollup").read_text()
            (pss_kb,) = (int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            assert pss_kb < 130 << 10
        assert rates(guests[0])["CPU 0/TCG"] < 0.05e9
    finally:
        for guest in guests:
            guest.stop()


def test_a_halted_guest_is_there_at_once_and_costs_nothing(lab: Lab) -> None:
    (guest,) = lab.boot_bare([Spec("halted", vcpus=1, memory_mib=2, disk_mib=1, bootable=False)])
    try:
        assert guest.tap in {path.name for path in pathlib.Path("/sys/class/net").iterdir()}
        assert rates(guest)["CPU 0/TCG"] < 0.01e9
    finally:
        guest.stop()
