"""A libvirt of another host, as a whole: by its URI alone, with that host's /proc, and when the line breaks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e import reference
from tests.e2e.elsewhere import Elsewhere, Mounts, Port
from tests.e2e.running import Proxtop
from tests.e2e.test_truth import (
    MB,
    NS_TO_PERCENT,
    Watch,
    assert_half_busy,
    assert_memory,
    assert_process_io,
    assert_sends,
    domain,
    wait_busy,
    watch,
)
from tests.lab import Guest
from tests.lab.scenes import SEND_RATE, WRITE_RATE, LibvirtScene

CYCLES = 7
BLOCK = 1 << 16
OF_LIBVIRT = ("cpu_total", "cpu_steal", "disk_writes", "disk_mbwrite", "disk_size_capacity", "net_transmittedBytes")
"""What can't be had of a remote host while its libvirt is away."""


@pytest.fixture(scope="module")
def port(libvirt_guests: LibvirtScene) -> Iterator[Port]:
    with Port() as port:
        yield port


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Mounts:
    return Mounts(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def remote(libvirt_guests: LibvirtScene, port: Port) -> Watch:
    """By the URI alone."""
    wait_busy(libvirt_guests.busy, 1)
    return watch(libvirt_guests, "-c", port.uri, block=[libvirt_guests.odd], cycles=CYCLES, start=Elsewhere)


@pytest.fixture(scope="module")
def mounted(libvirt_guests: LibvirtScene, port: Port, mounts: Mounts) -> Watch:
    """With that host's /proc and /sys."""
    start = functools.partial(Elsewhere, mounts=mounts)
    return watch(libvirt_guests, "-c", port.uri, block=[libvirt_guests.odd], cycles=CYCLES, start=start)


def assert_disk(seen: Watch, guest: Guest, device: str | None) -> None:
    """O_DIRECT: what the guest writes, in blocks of 64 KiB, is what its process writes."""
    written = seen.mean(guest, "disk_mbwrite") * MB
    low, high = seen.bounds(f"{guest.name}.write_bytes", 0.03, least=20_000)
    assert WRITE_RATE / 2 < low <= written <= high
    assert seen.mean(guest, "disk_writes") == pytest.approx(written / BLOCK, rel=0.02)
    assert seen.mean(guest, "disk_mbread") * MB < WRITE_RATE / 20
    for vm in seen.vms(guest):
        assert 0 < vm["disk_lat_wr"] < 1000
        assert vm["disk_size_capacity"] == guest.spec.disk_mib * MB
        assert [(disk["disk"], disk["disk_device"]) for disk in vm["disks"]] == [("vda", device)]
        assert (vm["disk_ioutil"] is None) == (device is None)


def test_cpu_and_steal_of_a_remote_guest(remote: Watch, libvirt_guests: LibvirtScene) -> None:
    assert_half_busy(remote, libvirt_guests.busy)


def test_disk_and_network_of_a_remote_guest(remote: Watch, libvirt_guests: LibvirtScene) -> None:
    assert_disk(remote, libvirt_guests.odd, None)
    assert_sends(remote, libvirt_guests.odd)


def test_memory_of_a_remote_guest(remote: Watch, libvirt_guests: LibvirtScene) -> None:
    for guest in libvirt_guests:
        vm = remote.vms(guest)[-1]
        assert vm["ram_total"] == vm["ram_current"] == guest.spec.memory_mib * 1024
        assert vm["ram_used"] == pytest.approx(reference.guest_used_kb(guest), rel=0.05)


def test_what_a_remote_libvirt_does_not_tell_is_unknown_and_said(remote: Watch, libvirt_guests: LibvirtScene) -> None:
    for line in [remote.first, *remote.lines]:
        assert {line["degraded"][family].split(":")[1] for family in ("cpu", "mem", "disk", "net", "io", "psi")} == {
            " needs that host's /proc (--procfs, --sysfs)"
        }
        assert {key: value for key, value in line["host"].items() if value not in (None, [])} == {}
        for guest in libvirt_guests:
            vm = domain(line, guest)
            own = ("ram_rss", "ram_swap", "cpu_other_total", "cpu_other_steal", "disk_ioutil")
            names = [name for name in vm if name.startswith(("io_", "psi_"))]
            assert len(names) > 10
            assert {vm[name] for name in (*own, *names)} == {None}
            assert (vm.get("pid"), vm["threads"]) == (None, [])


def test_with_its_procfs_a_remote_host_is_whole(mounted: Watch, libvirt_guests: LibvirtScene) -> None:
    _, busy, odd = libvirt_guests
    assert_half_busy(mounted, busy)
    assert_sends(mounted, odd)
    assert odd.disk_path is not None
    assert_disk(mounted, odd, reference.host_device(odd.disk_path))
    assert_process_io(mounted, odd)
    for guest in libvirt_guests:
        assert_memory(mounted, guest)
        assert {vm["pid"] for vm in mounted.vms(guest)} == {guest.pid}
        other = (mounted.counted(guest, "process") - mounted.counted(guest, "run")) * NS_TO_PERCENT
        # of the process clock there are ticks alone: each cycle's figure is near it by one or two
        assert mounted.mean(guest, "cpu_other_total") == pytest.approx(other, rel=0.1, abs=1)
    for line in mounted.lines:
        assert {key: line.get(key) for key in ("node", "degraded", "reason", "stale")} == {
            "node": "far", "degraded": None, "reason": None, "stale": None,
        }  # fmt: skip
        assert line["host"]["host_name"] == "far"
        assert {vcpu["vcpu_cpu"] is None for vcpu in domain(line, busy)["vcpus"]} == {False}
        assert {row["role"] for row in domain(line, odd)["threads"]} >= {"emulator", "iothread"}


def until(proxtop: Proxtop, condition: Callable[[dict[str, Any]], bool], most: int = 30) -> dict[str, Any]:
    """The first line of which that is true."""
    lines = []
    for _ in range(most):
        lines.append(proxtop.line().data)
        if condition(lines[-1]):
            break
    else:
        raise AssertionError(f"not within {most} lines: {lines[-1]}")
    cycles = [line["cycle"] for line in lines]
    assert all(0 < after - before <= 2000 for before, after in itertools.pairwise(cycles)), f"it stood still: {cycles}"
    return lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("with_procfs", [False, True], ids=["alone", "with-procfs"])
def test_a_connection_that_breaks_and_comes_back(
    with_procfs: bool, libvirt_guests: LibvirtScene, mounts: Mounts
) -> None:
    busy, odd = libvirt_guests.busy, libvirt_guests.odd
    names, families = (OF_LIBVIRT[2:5], ("disk",)) if with_procfs else (OF_LIBVIRT, ("cpu", "disk", "net"))

    def whole(line: dict[str, Any]) -> bool:
        return "reason" not in line and all(domain(line, odd)[name] is not None for name in OF_LIBVIRT)

    def lost(line: dict[str, Any]) -> bool:
        """Whether what needs libvirt is null, and the line says why."""
        said = [line.get("reason", ""), *(line.get("degraded", {}).get(family, "") for family in families)]
        null = {domain(line, odd)[name] for name in names} == {None}
        return null and all("cannot connect" in text for text in said)

    with Port() as port:
        arguments = ("-f", "0.5", "-p", "json", "--verbose", "-c", port.uri)
        with Elsewhere(*arguments, mounts=mounts if with_procfs else None) as proxtop:
            until(proxtop, whole)
            port.shut()
            line = until(proxtop, lost)
            assert {vm["UUID"] for vm in line["domains"]} >= {guest.uuid for guest in libvirt_guests}
            vm = domain(line, busy)
            assert vm["cpu_cores"] == 2
            if with_procfs:
                assert vm["cpu_total"] > 1 and vm["ram_rss"] > 0 and vm["net_transmittedBytes"] >= 0
            port.open()
            after = [until(proxtop, whole), *(line.data for line in proxtop.lines(3))]
            for metric, rate in (("disk_mbwrite", WRITE_RATE / MB), ("net_transmittedBytes", SEND_RATE)):
                rates = [domain(line, odd)[metric] for line in after]
                assert sum(rates) / 4 == pytest.approx(rate, rel=0.6), f"{metric}: {rates}"
            assert all(1 < domain(line, busy)["cpu_total"] < 60 for line in after)
    assert "Traceback" not in proxtop.stderr
