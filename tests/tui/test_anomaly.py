"""The column of a profiler's scores is there while a profiler runs, and only then."""

from __future__ import annotations

import pathlib

from proxtop.model import Profiles, Snapshot, Table
from proxtop.tui.live import Live
from proxtop.tui.screen import render
from proxtop.tui.state import State
from proxtop.tui.text import SPARKS
from proxtop.tui.theme import Levels
from tests.tui.feed import Feed
from tests.tui.recorded import many
from tests.tui.terminal import Terminal

STEP_S = 20.0


class Shown:
    """A screen of three VMs whose cycles come by hand."""

    def __init__(self) -> None:
        self.live = Live((), Levels(), SPARKS, interval=2.0)
        self.count = 0
        self.now = 0.0
        self.snapshot: Snapshot = many(3)[1]
        self.cycle()

    def cycle(self) -> None:
        self.now += 2.0
        stamp, self.snapshot = many(3, self.count)
        self.count += 1
        self.live.add(stamp, self.snapshot, self.now)

    def score(self, *values: float | None) -> None:
        ids = self.snapshot.tables["vm"].ids
        self.live.score("pve1", Profiles({"vm": Table(ids, {"profile_anomaly": list(values)})}, STEP_S), self.now)

    def lines(self, view: str = "all", **state: object) -> list[list[tuple[str, str]]]:
        frame = render(State(view=view, **state), self.live.scene(State(), self.now), 160, 40)  # type: ignore[arg-type]
        return frame.lines

    def text(self, view: str = "all") -> str:
        return "\n".join("".join(part for _, part in line) for line in self.lines(view))


def test_without_a_profiler_there_is_no_such_column() -> None:
    assert "ANOM" not in Shown().text()


def test_the_scores_of_a_profiler_are_the_first_column_of_numbers() -> None:
    shown = Shown()
    node = next(iter(shown.live.nodes))
    assert node == "pve1"
    shown.score(0.25, 7.75, None)
    shown.cycle()
    for view in ("all", "cpu"):
        text = shown.text(view)
        head = next(line for line in text.splitlines() if "ANOM" in line)
        assert head.split().index("ANOM") < head.split().index("%USED" if "%USED" in head.split() else "%USEDv")
        assert "7.8" in text
    assert "ANOM" not in shown.text("mem")


def test_an_unusual_vm_is_a_warning() -> None:
    shown = Shown()
    shown.score(0.0, 6.0, 9.5)
    shown.cycle()
    styles = {part.strip(): style for line in shown.lines() for style, part in line if part.strip() in ("6.0", "9.5")}
    assert styles == {"6.0": "warn", "9.5": "crit"}


def test_scores_of_a_profiler_that_ended_go() -> None:
    shown = Shown()
    shown.score(0.0, 6.0, 1.0)
    shown.cycle()
    assert "ANOM" in shown.text()
    shown.now += 3 * STEP_S
    shown.cycle()
    assert "ANOM" not in shown.text()


def test_scores_on_the_bus_are_on_the_terminal(tmp_path: pathlib.Path) -> None:
    with Feed(tmp_path / "bus.sock", scored=True) as feed, Terminal("--bus", feed.uri, size=(160, 50)) as terminal:
        terminal.wait("ANOM")
        text = terminal.wait("7.5")
        assert "4.5" in text and "1.5" in text
        terminal.keys("q")
        terminal.ended()
