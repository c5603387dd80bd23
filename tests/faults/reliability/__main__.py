"""Writes docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import sys
from collections.abc import Iterator

from tests.faults.reliability import bus, processes, world
from tests.faults.reliability.bench import WORKERS, Bench, Row
from tests.faults.rig import ROOT, Rig

FILE = ROOT / "docs" / "reliability.md"

FAULTS = (
    processes.all_killed, processes.supervisord_killed, processes.supervisord_stopped, processes.proxtopd_killed,
    processes.again_and_again, bus.reader_stopped, bus.silent_connections, bus.descriptors_exhausted, bus.out_of_memory,
    bus.rubbish, world.disk_full,
)  # fmt: skip


def everything(rig: Rig, *, churn: int = 1000) -> Iterator[Row]:
    """Every fault in turn on one fleet; those that need another one on that."""
    bench = Bench(rig, prefix=world.small_disk(rig))
    for name in WORKERS:
        yield processes.killed(bench, name)
    for name in WORKERS:
        yield processes.stopped(bench, name)
    for fault in FAULTS:
        yield fault(bench)
    yield world.vm_cycles(bench, churn)


HEAD = """\
# Faults and what becomes of them

Written by `make reliability` from a run on {machine}: a supervised fleet of all families with a printer, at an
interval of 1 s, watching a real QEMU. Each fault was made for real, and asserted to stay within its bounds; the same
functions are tests (`tests/faults/reliability`). *Lost* is what a reader of the bus never got or got without a family;
*shown* is what the frames and `proxtopd status` said; *all right after* is the time from the fault until a cycle came
in which nothing was missing, including the time that it took to notice: a worker counts as hung when it has not beaten
for five intervals.

| fault | lost | shown | all right after |
|---|---|---|---|
"""


def main() -> int:
    """Writes docs/reliability.md."""
    parser = argparse.ArgumentParser(prog="make reliability")
    parser.add_argument("--output", default=str(FILE))
    parser.add_argument("--churn", type=int, default=1000)
    given = parser.parse_args()
    cores = os.cpu_count()
    lines = [HEAD.format(machine=f"Linux {platform.release()}, {cores} cores, Python {platform.python_version()}")]
    with Rig() as rig:
        for row in everything(rig, churn=given.churn):
            lines.append(_line(row))
            print(_line(row), end="", flush=True)
    library = world.faketime()
    if library is None:
        print("the clock is not set: install libfaketime", file=sys.stderr)
        return 1
    with Rig() as rig:
        for row in world.clock_stepped(rig, library):
            lines.append(_line(row))
            print(_line(row), end="", flush=True)
    pathlib.Path(given.output).write_text("".join(lines))
    return 0


def _line(row: Row) -> str:
    return f"| {row.fault} | {row.lost} | {row.shown} | {row.seconds:.1f} s |\n"


if __name__ == "__main__":
    sys.exit(main())
