"""A thousand VMs out of a generated tree: what they cost, whether cycles keep time, whether every value is right."""

from __future__ import annotations

import pathlib
import tempfile
import threading
import time

from bench import known, watch
from bench.figures import Figure, note
from bench.fleet import Fleet
from bench.tree import Host
from proxtop.model import Sample, Snapshot

VMS = 1000
CPU_BAR_S = 0.15
NODE = "thousand"
CHECKED_CYCLES = 5
SETTLING = 3
"""Cycles until all counters moved once, and once only, between two samples."""

_UNCHECKED = ("disk_device_currentops", "disk_device_type", "net_host_type", "net_host_speed")
"""Gauges that the tree moves like counters, and what the tree's /sys does not tell in one way."""


class Mover(threading.Thread):
    """Has the host's counters gain halfway between two cycles, when nobody reads."""

    def __init__(self, host: Host) -> None:
        super().__init__(daemon=True)
        self._host = host
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(1.5 - time.time() % 1):
            self._host.step()

    def stop(self) -> None:
        """Ends it."""
        self._end.set()
        self.join()


def measure(problems: list[str]) -> list[Figure]:
    """The figures; values that are wrong are problems."""
    note(f"{VMS} VMs out of a generated tree")
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-", dir=tmpfs()) as directory:
        host = Host(pathlib.Path(directory), VMS)
        mover = Mover(host)
        mover.start()
        try:
            roots = ("--procfs", str(host.procfs), "--sysfs", str(host.sysfs), "--node", NODE)
            fleet = Fleet("qemu", options=roots)
            load = watch.load()
            costs = fleet.costs(parts=2)
            compared, partial, wrong = _check(fleet, host)
        finally:
            mover.stop()
            host.close()
    problems += (f"a wrong value: {text}" for text in wrong[:20])

    def figure(name: str, value: float, unit: str = "", bar: float | None = None) -> Figure:
        return Figure(f"{VMS} VMs of a generated tree, all counters moving", name, value, unit, bar, load)

    cpu = sum(costs.cpu.values())
    return [
        figure("CPU a cycle", cpu, "s", CPU_BAR_S),
        *(figure(f"  of it {name}", seconds * 1000, "ms") for name, seconds in sorted(costs.cpu.items())),
        figure("cycles that were late, or lacked a family", costs.gaps + partial, "", 0),
        figure("values compared", compared),
        figure("values that are wrong", len(wrong), "", 0),
    ]


def _check(fleet: Fleet, host: Host) -> tuple[int, int, list[str]]:
    """Of some cycles all values against the tree's: (values compared, cycles that lacked a family, what was wrong)."""
    last: dict[str, float] = {}
    seconds: dict[str, float] = {}
    compared, partial, found = 0, 0, list[str]()
    snapshots = 0
    for message in fleet.bodies(SETTLING + CHECKED_CYCLES):
        if isinstance(message.body, Sample):
            seconds[message.part] = message.stamp.mono - last.get(message.part, 0.0)
            last[message.part] = message.stamp.mono
        elif isinstance(message.body, Snapshot) and (snapshots := snapshots + 1) > SETTLING:
            if message.body.stale:
                partial += 1
                continue
            number, wrong = known.wrong(message.body, known.expected(host, seconds, NODE), _UNCHECKED)
            compared += number
            found += wrong
    return compared, partial, found


def tmpfs() -> str | None:
    """A directory in memory, None where there is none that is known."""
    return "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
