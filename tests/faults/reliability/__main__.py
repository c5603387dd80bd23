"""Writes docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import re
from collections.abc import Callable, Iterator

from tests.faults.reliability import bus, hypervisor, processes, world
from tests.faults.reliability.bench import WORKERS, Bench, Row
from tests.faults.rig import ROOT, Rig

FILE = ROOT / "docs" / "reliability.md"

FAULTS = (
    processes.all_killed, processes.supervisord_killed, processes.supervisord_stopped, processes.proxtopd_killed,
    processes.again_and_again, bus.reader_stopped, bus.silent_connections, bus.descriptors_exhausted, bus.out_of_memory,
    bus.rubbish, world.disk_full,
)  # fmt: skip

_HEAD = """\
# Faults and what becomes of them

Written by `make reliability` from a run on {machine}: a supervised fleet of all families with a printer, at an
interval of 1 s, watching a real QEMU. Each fault was made for real, and asserted to stay within its bounds; the same
functions are tests (`tests/faults/reliability`). *Lost* is what a reader of the bus never got or got without a family;
*shown* is what the frames and `proxtopd status` said; *all right after* is the time from the fault (or from its end,
where it lasts) until a cycle came in which nothing was missing, including the time that it took to notice: a worker
counts as hung when it has not beaten for five intervals.

| fault | lost | shown | all right after |
|---|---|---|---|
"""


def _fleet(rig: Rig) -> Iterator[Row]:
    bench = Bench(rig, prefix=world.small_disk(rig))
    for name in WORKERS:
        yield processes.killed(bench, name)
    for name in WORKERS:
        yield processes.stopped(bench, name)
    for fault in FAULTS:
        yield fault(bench)
    yield world.vm_cycles(bench)


PARTS: dict[str, Callable[[Rig], Iterator[Row]]] = {
    "fleet": _fleet,
    "libvirtd": hypervisor.libvirtd_away,
    "clock": world.clock_stepped,
}
"""What is measured on a fleet of its own."""


def _alone(fault: Callable[[Bench], Row]) -> Callable[[Rig], Iterator[Row]]:
    """One fault by itself."""

    def part(rig: Rig) -> Iterator[Row]:
        yield fault(Bench(rig, prefix=world.small_disk(rig)))

    return part


ALONE = {fault.__name__: _alone(fault) for fault in FAULTS}


def plain(fault: str) -> str:
    """The name of a fault without its figures."""
    return re.sub(r"\(in .*?\)|\d+", "", fault)


def rows(text: str) -> dict[str, str]:
    """The lines of a document by their fault's plain name."""
    found = re.findall(r"^(\| (?!fault |-)(.*?) \|.*\n)", text, re.MULTILINE)
    return {plain(name): line for line, name in found}


def main() -> int:
    """Measures, and writes the document; with --only the other rows stay as they are."""
    parser = argparse.ArgumentParser(prog="make reliability")
    parser.add_argument("--only", choices=[*PARTS, *ALONE])
    parser.add_argument("--output", type=pathlib.Path, default=FILE)
    given = parser.parse_args()
    machine = (
        f"Linux {platform.release().partition('-')[0]}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    lines = rows(given.output.read_text()) if given.only else {}
    for part in [{**PARTS, **ALONE}[given.only]] if given.only else PARTS.values():
        with Rig() as rig:
            for row in part(rig):
                line = f"| {row.fault} | {row.lost} | {row.shown} | {row.seconds:.1f} s |\n"
                lines[plain(row.fault)] = line
                print(line, end="", flush=True)
    given.output.write_text(_HEAD.format(machine=machine) + "".join(lines.values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
