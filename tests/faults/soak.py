"""A supervised fleet for an hour or as long as you like: memory, descriptors and latency of every worker must not
grow.

`python -m tests.faults.soak --minutes 60` (make soak): a line a minute, then the verdict and exit status 1 where
something grew. The first tenth is a start and does not count; then the first fifth is compared with the last one, each
by its median, so that a single bad moment decides nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxtop.model import Stamp
from tests.faults.reliability.bench import Bench, resident_kb
from tests.faults.rig import Rig

MEMORY_KB = 512
"""How much a process may seem to grow: allocators keep a little more as time goes by, then no more."""

LATENCY_S = 0.02
_EVERY_S = 2.0
_FIFTH = 5
_WARM = 10
_LEAST = 10


@dataclass
class Series:
    """What was measured of one thing, in the order of time."""

    values: list[float] = field(default_factory=list)

    def growth(self) -> float:
        """The median of the last fifth less that of the first after the start."""
        warm = self.values[len(self.values) // _WARM :]
        part = max(1, len(warm) // _FIFTH)
        return statistics.median(warm[-part:]) - statistics.median(warm[:part])


@dataclass
class Soak:
    """A fleet that is watched for a while, and what was seen."""

    bench: Bench
    memory: dict[str, Series] = field(default_factory=dict)
    descriptors: dict[str, Series] = field(default_factory=dict)
    latency: Series = field(default_factory=Series)
    lost: int = 0

    def run(self, seconds: float) -> None:
        """Watches; says how it is once a minute."""
        fleet = self.bench.fleet
        self.pids = {**fleet.up(), "supervisord": fleet.supervisord(), "proxtopd": fleet.process.pid}
        stamps: list[Stamp] = []
        fleet.seen.clear()
        begin = measured = told = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            fleet.take()
            for came, stamp, _ in fleet.seen:
                self.latency.values.append(came - stamp.mono)
                stamps.append(stamp)
            fleet.seen.clear()  # an hour of them would take its own toll
            if now - measured >= _EVERY_S:
                measured = now
                self._measure()
            if now - told >= 60:
                told = now
                print(f"{(now - begin) / 60:5.0f} min  {self._now()}", flush=True)
        self.lost = fleet.reader.tracker.lost + missing(stamps)

    def _measure(self) -> None:
        for name, pid in self.pids.items():
            self.memory.setdefault(name, Series()).values.append(resident_kb(pid))
            self.descriptors.setdefault(name, Series()).values.append(len(os.listdir(f"/proc/{pid}/fd")))

    def _now(self) -> str:
        total = sum(series.values[-1] for series in self.memory.values())
        latest = statistics.median(self.latency.values[-60:]) * 1000
        return f"{total / 1024:.1f} MB resident in all, a cycle is there after {latest:.1f} ms"

    def grown(self) -> list[str]:
        """What grew by more than it may, in words."""
        found = []
        for name, series in self.memory.items():
            if (kb := series.growth()) > MEMORY_KB:
                found.append(f"{name}: {kb:.0f} kB of memory")
        for name, series in self.descriptors.items():
            if (number := series.growth()) > 0:
                found.append(f"{name}: {number:g} descriptors")
        if (seconds := self.latency.growth()) > LATENCY_S:
            found.append(f"latency: {seconds * 1000:.1f} ms")
        if self.lost:
            found.append(f"{self.lost} cycles or frames were lost")
        restarted = [name for name, pid in self.bench.fleet.pids().items() if self.pids[name] != pid]
        if restarted:
            found.append(f"{', '.join(restarted)} did not live through it")
        if len(self.memory["cpu"].values) < _LEAST:
            found.append("too short to tell")
        return found


def missing(stamps: Sequence[Stamp]) -> int:
    """Snapshots that never came."""
    return sum(after.seq - before.seq - 1 for before, after in itertools.pairwise(stamps))


def main() -> int:
    """Soaks; the exit status."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    with Rig() as rig:
        soak = Soak(Bench(rig))
        soak.run(given.minutes * 60)
        for name in soak.memory:
            memory, descriptors = soak.memory[name], soak.descriptors[name]
            print(f"{name:14} {memory.values[-1] / 1024:6.1f} MB, grown by {memory.growth():6.0f} kB; "
                  f"{descriptors.values[-1]:3.0f} descriptors, {descriptors.growth():+g}")  # fmt: skip
        print(
            f"latency: median {statistics.median(soak.latency.values) * 1000:.1f} ms, {len(soak.latency.values)} cycles"
        )
        found = soak.grown()
    print(f"grown: {'; '.join(found)}" if found else "nothing has grown, nothing was lost")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
