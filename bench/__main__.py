"""`python -m bench`: what proxtop costs on real guests, beside a floor and beside its peers; see docs/performance.md.

Guests are booted once, more and more of them. Bars and figures are compared as they are; times are compared with those
of the committed run as if both machines were as fast: by what a read of a kept descriptor and its parsing cost on each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

from bench import figures, hosts, profiler, simulator, thousand, tui, watch
from bench.figures import Figure, note, say
from bench.floor import BARS_SET_AT_US, Floor, work_us
from tests.lab import LabError

SIZES = (1, 10, 50, 100, 200)
PARTS = ("libvirt", "proxmox", "thousand", "screen", "profiler", "cluster")


def main() -> int:
    """0; 1 where a value was wrong or something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, joined by commas: %(default)s")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of VMs under libvirt: %(default)s")
    parser.add_argument("--against", metavar="REV", help="only compare with that commit, in turn: ratios")
    given = parser.parse_args()
    problems: list[str] = []
    if given.against is not None:
        revision = _commit(parser, given.against)
        with _told("against", problems):
            figures.report(hosts.beside(revision), {}, 1.0)
        return 1 if problems else 0
    parts = given.only.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--only {given.only}: parts are {', '.join(PARTS)}")
    if not all(size.isdecimal() and int(size) > 0 for size in given.sizes.split(",")):
        parser.error(f"--sizes {given.sizes}: numbers of VMs, joined by commas")
    sizes = sorted(map(int, given.sizes.split(",")))
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-") as directory:
        floor = Floor(pathlib.Path(directory))
        machine = _machine(floor)
        measures: dict[str, Callable[[], list[Figure]]] = {
            "libvirt": lambda: hosts.libvirt(sizes, floor),
            "proxmox": lambda: hosts.proxmox(),
            "thousand": lambda: thousand.measure(problems),
            "screen": tui.measure,
            "profiler": profiler.measure,
            "cluster": lambda: simulator.measure(problems),
        }
        for part in parts:
            with _told(part, problems):
                found += measures[part]()
    before = figures.committed()
    read_us = float(machine["read_us"])
    say(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}")
    say(f"one read of a kept descriptor: {read_us:.2f} us; {read_us / BARS_SET_AT_US:.1f} x that of the machine where"
        " the bars were set; figures and bars are compared as they are")  # fmt: skip
    figures.report(found, before.figures, _slower(machine, before.machine))
    if set(parts) == set(PARTS) and tuple(sizes) == SIZES:
        figures.save(machine, found)
    for problem in problems:
        say(f"problem: {problem}")
    return 1 if problems else 0


def _commit(parser: argparse.ArgumentParser, revision: str) -> str:
    """The short name of that commit of this repository."""
    command = ["git", "rev-parse", "--short", "--verify", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        parser.error(f"--against {revision}: no commit of this repository")
    return done.stdout.strip()


def _slower(machine: Mapping[str, object], before: Mapping[str, object]) -> float:
    """How many times as long this machine takes as that one: by a read with its parsing in Python, where that was
    measured on both; else by a read alone."""
    for key in ("work_us", "read_us"):
        now, then = machine.get(key), before.get(key)
        if isinstance(now, int | float) and isinstance(then, int | float):
            return now / then
    return 1.0


def _machine(floor: Floor) -> dict[str, str | int | float]:
    text = pathlib.Path("/proc/cpuinfo").read_text()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "read_us": round(floor.read_us(), 3),
        "work_us": round(work_us(), 3),
        "load": watch.load(),
    }


@contextlib.contextmanager
def _told(part: str, problems: list[str]) -> Iterator[None]:
    """What can't be measured is said, and the rest is measured none the less."""
    try:
        yield
    except (LabError, AssertionError, OSError, subprocess.CalledProcessError) as error:
        problems.append(f"{part}: {type(error).__name__}: {error}")
        note(problems[-1])


if __name__ == "__main__":
    sys.exit(main())
