"""Another commit beside this one: the same guests, in turn, in one run. What a change brought is a ratio of these."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from bench import watch
from bench.figures import Figure, note
from bench.fleet import Fleet

_TURNS = 3
_STARTS = 9


def measure(revision: str, connector: str, **env: str) -> list[Figure]:
    """Ratios to that commit of what a fleet costs on the VMs that run now: below 1 is cheaper. Medians of turns, each a
    pair."""
    section = f"{connector}, to {revision}"
    load = watch.load()
    with _checkout(revision) as tree:
        path = f"{tree}:{tree / 'services'}"
        new, old = Fleet(connector, **env), Fleet(connector, PYTHONPATH=path, **env)
        alone = [Fleet(connector, ("--cpu",), **{**env, **other}) for other in ({}, {"PYTHONPATH": path})]
        note(f"{section}: costs, in {_TURNS} turns")
        pairs = [(new.costs(), old.costs()) for _ in range(_TURNS)]
        note(f"{section}: the family cpu alone")
        cpu = [(alone[0].costs().cpu["cpu"], alone[1].costs().cpu["cpu"]) for _ in range(_TURNS)]
        note(f"{section}: starts")
        starts = [(new.start(), old.start()) for _ in range(_STARTS)]
    sums: dict[str, Sequence[tuple[float, float]]] = {
        "CPU of the whole fleet": [(sum(a.cpu.values()), sum(b.cpu.values())) for a, b in pairs],
        **{f"  of it {name}": [(a.cpu[name], b.cpu[name]) for a, b in pairs] for name in sorted(pairs[0][0].cpu)},
        "CPU of the family cpu alone": cpu,
        "memory (PSS) of the private fleet": [(sum(a.memory.values()), sum(b.memory.values())) for a, b in pairs],
        "wake-ups a second": [(sum(a.wakes.values()), sum(b.wakes.values())) for a, b in pairs],
        "from command to first line": starts,
    }
    return [
        Figure(section, name, statistics.median(a / b for a, b in found), "x", None, load)
        for name, found in sums.items()
        if all(b for _, b in found)
    ]


@contextlib.contextmanager
def _checkout(revision: str) -> Iterator[pathlib.Path]:
    """That commit's tree, compiled."""
    with tempfile.TemporaryDirectory(prefix="proxtop-against-") as directory:
        tree = pathlib.Path(directory) / "tree"
        tree.mkdir()
        archive = subprocess.run(["git", "archive", revision, "proxtop", "services"], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
        subprocess.run([sys.executable, "-m", "compileall", "-q", tree], check=True)
        yield tree
