"""Screens as text: drawn from recorded snapshots, with keys pressed, and compared with a golden file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxtop.tui import keys
from proxtop.tui.frame import Frame
from proxtop.tui.live import Live
from proxtop.tui.screen import render
from proxtop.tui.state import State
from proxtop.tui.text import SPARKS, width
from proxtop.tui.theme import Levels
from tests.tui.recorded import HERE, Cycle, recorded

SIZES = ((80, 24), (160, 50))
_UPDATE = os.environ.get("PROXTOP_UPDATE_GOLDEN") == "1"


class Drawn:
    """The screen's core with data, without a terminal. Time is what the test says."""

    def __init__(
        self, size: tuple[int, int] = (80, 24), cycles: Sequence[Cycle] | None = None, **state: object
    ) -> None:
        self.size = size
        self.now = 1000.0
        self.live = Live((), Levels(), SPARKS, interval=2.0)
        self.state = replace(State(), **state)  # type: ignore[arg-type]
        for stamp, snapshot in recorded() if cycles is None else cycles:
            self.feed(stamp, snapshot)

    def feed(self, *cycle: object) -> None:
        """A cycle comes, two seconds after the one before."""
        stamp, snapshot = cycle
        self.now += 2.0
        self.live.add(stamp, snapshot, self.now)  # type: ignore[arg-type]

    def press(self, *names: str) -> Drawn:
        """These keys, one after the other."""
        for name in names:
            self.state = keys.press(name, self.state, self.frame)
        return self

    @property
    def frame(self) -> Frame:
        """The screen of now."""
        return render(self.state, self.live.scene(self.state, self.now), *self.size)

    @property
    def lines(self) -> list[str]:
        """Its text."""
        return ["".join(text for _, text in line).rstrip() for line in self.frame.lines]

    @property
    def text(self) -> str:
        """Its text in one."""
        return "\n".join(self.lines)

    def spans(self, *styles: str) -> list[tuple[str, str]]:
        """(style, text) of what has one of these styles."""
        return [(s, t.strip()) for line in self.frame.lines for s, t in line if s in styles and t.strip()]


def check(drawn: Drawn, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen is as in fixtures/golden; PROXTOP_UPDATE_GOLDEN=1 writes it."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    columns, rows = drawn.size
    frame = drawn.frame
    assert len(frame.lines) == rows
    for line in frame.lines:
        assert sum(width(text) for _, text in line) <= columns
    marks = [f"{style}: {text}" for style, text in drawn.spans("warn", "crit", "selected", "sorted", "bad", "note")]
    text = "\n".join([*drawn.lines, "-" * columns, *marks]) + "\n"
    file = HERE / "fixtures" / "golden" / f"{name}-{columns}x{rows}.txt"
    if _UPDATE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"{file.name}; PROXTOP_UPDATE_GOLDEN=1 takes the new screen over"
