"""Hosts of real guests: booted once, more and more of them, and measured at each size."""

from __future__ import annotations

import pathlib
import statistics
import tempfile
from collections.abc import Sequence

from bench import against, daemon, monitors, peers, watch
from bench.figures import Figure, note
from bench.fleet import Costs, Fleet, p95
from bench.floor import Floor, files
from tests.lab import Guest, Lab, Spec, host

FULL = 100
"""The number of VMs at which bars are set."""

CPU_BAR_S = 0.020
LIBVIRTD_BAR_S = 0.065
LATENCY_BAR_MS = 8.0
MEMORY_BAR_MB = 70.0
FRAME_BAR_KB = 40.0
START_BARS_S = {10: 0.4, 100: 0.6}
FLOOR_BAR = 2.0
GROWTH_BAR = 1.2
FLOOR_CYCLES = 15
LATENCY_CYCLES = 25
STARTS = 7


def libvirt(sizes: Sequence[int], floor: Floor) -> list[Figure]:
    """Everything that is measured under libvirt."""
    found: list[Figure] = []
    shares: dict[int, float] = {}
    with Lab() as lab:
        guests: list[Guest] = []
        for size in sizes:
            note(f"libvirt: booting up to {size} guests")
            guests += lab.boot_libvirt(_specs("bench", len(guests), size))
            section, fleet = f"libvirt, {size} VMs", Fleet("libvirt")
            note(f"{section}: costs")
            load = watch.load()
            costs = fleet.costs()
            shares[size] = sum(costs.cpu.values()) / size
            found += _costs(section, costs, size, load)
            if size in START_BARS_S:
                found.append(_start(section, fleet, START_BARS_S[size]))
            if size == FULL:
                found += _full(section, fleet, floor, guests)
                note(f"{section}: proxtopd")
                found += daemon.measure(section, "libvirt", size)
                found += peers.compare(size)
        host.sweep(lab.run_dir)  # all at once: the lab ends one after the other
    if {50, 200} <= shares.keys():
        ratio = shares[200] / shares[50]
        found.append(Figure("growth", "CPU a VM at 200 VMs to that at 50", ratio, "x", GROWTH_BAR))
    return found


def beside(revision: str) -> list[Figure]:
    """Another commit beside this one, under libvirt and in a Proxmox layout."""
    with Lab() as lab:
        note(f"libvirt: booting {FULL} guests")
        lab.boot_libvirt(_specs("bench", 0, FULL))
        found = against.measure(revision, "libvirt")
        host.sweep(lab.run_dir)
    with tempfile.TemporaryDirectory(prefix="proxtop-pve-") as root, Lab() as lab:
        note(f"proxmox: booting {FULL} guests")
        lab.boot_proxmox(pathlib.Path(root), _specs("pve", 0, FULL))
        found += against.measure(revision, "proxmox", PROXTOP_ROOT=root)
        host.sweep(lab.run_dir)
    return found


def proxmox() -> list[Figure]:
    """The layout of a Proxmox VE host: its QMP sockets, and the fleet on it."""
    with tempfile.TemporaryDirectory(prefix="proxtop-pve-") as root, Lab() as lab:
        note(f"proxmox: booting {FULL} guests")
        lab.boot_proxmox(pathlib.Path(root), _specs("pve", 0, FULL))
        section, load = f"proxmox, {FULL} VMs", watch.load()
        note(f"{section}: costs")
        found = _costs(section, Fleet("proxmox", PROXTOP_ROOT=root).costs(), FULL, load)
        found += monitors.measure(pathlib.Path(root), FULL)  # the guests are through with their starts by now
        host.sweep(lab.run_dir)
        return found


def _specs(name: str, there: int, wanted: int) -> list[Spec]:
    """Idle guests that take next to nothing: halted, with two vCPUs, a disk and a NIC."""
    return [
        Spec(f"{name}-{number:03}", bootable=False, memory_mib=2, disk_mib=1) for number in range(there, wanted)
    ]  # fmt: skip


def _costs(section: str, costs: Costs, size: int, load: float) -> list[Figure]:
    assert costs.vms == size, f"{costs.vms} VMs seen, not {size}"
    full = size == FULL
    found: list[Figure] = []

    def add(name: str, value: float, unit: str = "", bar: float | None = None) -> None:
        found.append(Figure(section, name, value, unit, bar if full else None, load))

    add("CPU of the whole fleet a cycle", sum(costs.cpu.values()), "s", CPU_BAR_S)
    for name, seconds in sorted(costs.cpu.items()):
        add(f"  of it {name}", seconds * 1000, "ms")
    if costs.libvirtd:
        add("CPU of libvirtd a cycle", costs.libvirtd, "s", LIBVIRTD_BAR_S)
    add("wake-ups a second", sum(costs.wakes.values()))
    add("memory (PSS) of the private fleet, client included", sum(costs.memory.values()), "MB", MEMORY_BAR_MB)
    if full:
        for name, size_mb in sorted(costs.memory.items()):
            add(f"  memory of {name}", size_mb, "MB")
    found.append(Figure(section, "cycles that were late", costs.gaps, "", 0, load))
    return found


def _start(section: str, fleet: Fleet, bar: float) -> Figure:
    note(f"{section}: start")
    load = watch.load()
    return Figure(section, "from command to first line", statistics.median(fleet.start() for _ in range(STARTS)), "s",
                  bar, load)  # fmt: skip


def _full(section: str, fleet: Fleet, floor: Floor, guests: Sequence[Guest]) -> list[Figure]:
    note(f"{section}: latency and frames")
    load, delays = watch.load(), fleet.delays(LATENCY_CYCLES)
    found = [
        Figure(section, "last family's frame to snapshot decoded, median", statistics.median(delays), "ms", None, load),
        Figure(section, "last family's frame to snapshot decoded, 95 %", p95(delays), "ms", LATENCY_BAR_MS, load),
        Figure(section, "a snapshot frame, default families", Fleet("libvirt", ()).frame() / 1000, "KB", FRAME_BAR_KB),
        Figure(section, "a snapshot frame, all families", fleet.frame() / 1000, "KB"),
    ]
    note(f"{section}: the family cpu alone, and the floor")
    load = watch.load()
    paths = files(guest.pid for guest in guests)
    alone = Fleet("libvirt", ("--cpu",)).costs().cpu["cpu"]
    spent, reads = floor.run(paths, FLOOR_CYCLES, 1000)
    found.append(Figure(section, "the floor a cycle: C, the same files", spent / FLOOR_CYCLES * 1000, "ms", None, load))
    found.append(Figure(section, "files read by the floor a cycle", reads / FLOOR_CYCLES))
    found.append(Figure(section, "family cpu alone to the floor", alone / (spent / FLOOR_CYCLES), "x", FLOOR_BAR, load))
    return found
