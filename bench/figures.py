"""Figures: a table of them, and how they compare with those of the committed run."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

RESULTS = pathlib.Path(__file__).with_name("results.json")
TIMES = frozenset({"s", "ms"})
"""Units of what is faster on a faster machine."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. `bar` is the most that it may be, None where none is set; `load` the machine's load average
    when it was measured."""

    section: str
    name: str
    value: float
    unit: str = ""
    bar: float | None = None
    load: float | None = None

    @property
    def key(self) -> str:
        """What names it in every run."""
        return f"{self.section}: {self.name}"

    @property
    def held(self) -> bool | None:
        """Whether it is within its bar, None where it has none."""
        return None if self.bar is None else self.value <= self.bar


@dataclass(frozen=True, slots=True)
class Run:
    """What one run found: the machine, and the figures by their keys."""

    machine: Mapping[str, object]
    figures: Mapping[str, Figure]


def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def committed() -> Run:
    """The run whose results are committed; an empty one where there is none."""
    command = ["git", "show", f"HEAD:./{RESULTS.name}"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    return _parsed(done.stdout) if done.returncode == 0 else Run({}, {})


def _parsed(text: str) -> Run:
    content = json.loads(text)
    figures = (Figure(**entry) for entry in content["figures"])
    return Run(content["machine"], {figure.key: figure for figure in figures})


def save(machine: Mapping[str, object], figures: Iterable[Figure]) -> None:
    """Writes them."""
    content = {"machine": dict(machine), "figures": [asdict(figure) for figure in figures]}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def report(figures: Sequence[Figure], before: Mapping[str, Figure], faster: float) -> None:
    """The table: value, bar, and the ratio to the committed figure. `faster` is how many times as long this machine
    takes as that of the committed run: times are compared as if it took the same."""
    section = None
    for figure in figures:
        if figure.section != section:
            section = figure.section
            say(f"\n{section:58} {'value':>9} {'':4} {'bar':>7} {'':5} {'to the committed':>17}")
        bar = "" if figure.bar is None else f"{figure.bar:g}"
        verdict = {None: "", True: "held", False: "OVER"}[figure.held]
        old = before.get(figure.key)
        ratio = ""
        if old is not None and old.value:
            ratio = f"x {figure.value / old.value / (faster if figure.unit in TIMES else 1.0):.2f}"
        say(f"  {figure.name:56} {figure.value:9.3f} {figure.unit:4} {bar:>7} {verdict:5} {ratio:>17}")
    over = [figure for figure in figures if figure.held is False]
    say(f"\n{len([figure for figure in figures if figure.held])} bars held, {len(over)} not")
    for figure in over:
        say(f"  over: {figure.key}: {figure.value:.3f} {figure.unit} (bar {figure.bar:g})")
