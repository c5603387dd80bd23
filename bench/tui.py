"""What the screen costs: `python -m bench.tui [--vms 500]` prints all figures, in ms of CPU of this process alone;
`measure` has the most telling ones for the table of `make bench`.

Cycle: a snapshot off the wire, into the history, drawn, and turned into escape codes. Key: from the key press to the
codes. Real: the program in a terminal (tmux), from a key sent to the screen changed, and its CPU over a while.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import signal
import statistics
import tempfile
import time
from collections.abc import Callable

from bench import watch
from bench.figures import Figure, note, say
from proxtop.bus import topics
from proxtop.bus.frames import decode, encode
from proxtop.model import Snapshot
from proxtop.tui import keys, theme
from proxtop.tui.frame import Frame
from proxtop.tui.live import Live
from proxtop.tui.paint import Painter
from proxtop.tui.screen import render
from proxtop.tui.state import State
from proxtop.tui.text import SPARKS
from proxtop.tui.theme import Levels
from tests.tui.feed import Feed
from tests.tui.recorded import many
from tests.tui.terminal import Terminal

SIZES = ((80, 24), (160, 50), (300, 100))
CYCLES = 40
KEYS = (
    "down",
    "pagedown",
    "end",
    "home",
    ">",
    "r",
    "u",
    "c",
    "m",
    "a",
    "w",
    "enter",
    "escape",
    "f",
    "j",
    "escape",
    "?",
    "?",
)


def spent(work: Callable[[], object]) -> float:
    """The CPU time of this in ms."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


class Report:
    """Figures as they come: printed at once if `loud`, and kept by name."""

    def __init__(self, loud: bool) -> None:
        self._loud = loud
        self.medians: dict[str, float] = {}
        self.single: dict[str, tuple[float, str]] = {}

    def say(self, text: str) -> None:
        """A line of the report."""
        if self._loud:
            say(text)

    def line(self, name: str, figures: list[float]) -> None:
        """Figures of one kind: median, 95th percentile, largest, in ms."""
        figures.sort()
        self.medians[name] = middle = statistics.median(figures)
        self.say(f"{name:44} {middle:7.2f} {figures[int(len(figures) * 0.95)]:7.2f} {figures[-1]:7.2f}")

    def one(self, name: str, value: float, unit: str) -> None:
        """A figure by itself."""
        self.single[name] = value, unit
        self.say(f"{name}: {value:.2f} {unit}")


class _Screen:
    """The core with a state, from a key to the escape codes."""

    def __init__(self, live: Live, painter: Painter, columns: int, rows: int) -> None:
        self.state = State()
        self._live, self._painter, self._size = live, painter, (columns, rows)
        self._frame = self.draw()

    def draw(self) -> Frame:
        """The screen as it is now, painted."""
        frame = render(self.state, self._live.scene(self.state, 80.0), *self._size)
        self._painter.paint(frame.lines, self._size[0])
        return frame

    def press(self, key: str) -> None:
        """Presses a key."""
        self.state = keys.press(key, self.state, self._frame)
        self._frame = self.draw()


def core(vms: int, report: Report) -> None:
    """The core, without a terminal."""
    frames = []
    for number in range(CYCLES):
        stamp, snapshot = many(vms, number)
        frames.append(encode(topics.SNAPSHOT, "", stamp, snapshot))
    report.say(f"{vms} VMs, a frame has {len(frames[0][1]) >> 10} KiB{'median':>24} {'p95':>7} {'max':>7}  (ms of CPU)")
    for columns, rows in SIZES:
        live, painter, state = Live((), Levels(), SPARKS, interval=2.0), Painter(theme.styles(colour=True)), State()
        took: dict[str, list[float]] = {"decode": [], "history": [], "draw": [], "paint": []}
        for number, frame in enumerate(frames):
            start = time.process_time()
            message = decode(frame)
            assert isinstance(message.body, Snapshot)
            first = time.process_time()
            live.add(message.stamp, message.body, number * 2.0)
            second = time.process_time()
            shown = render(state, live.scene(state, number * 2.0), columns, rows)
            third = time.process_time()
            painter.paint(shown.lines, columns)
            last = time.process_time()
            for name, value in zip(took, (first - start, second - first, third - second, last - third), strict=True):
                took[name].append(value * 1000)
        for name, figures in took.items():
            report.line(f"{columns}x{rows} cycle: {name}", list(figures))
        report.line(f"{columns}x{rows} cycle: all", [sum(each) for each in zip(*took.values(), strict=True)])
        screen = _Screen(live, painter, columns, rows)
        for key in KEYS:
            report.line(f"{columns}x{rows} key: {key}", [spent(functools.partial(screen.press, key))])
        report.say(f"{columns}x{rows} history: {live.nodes['pve1'].history.bytes / CYCLES / 1024:.0f} KiB a cycle")


def real(vms: int, interval: float, report: Report) -> None:
    """The program in a terminal: wall time from key to screen, and its share of a core."""
    with (
        tempfile.TemporaryDirectory(prefix="proxtop-bench-") as directory,
        Feed(pathlib.Path(directory) / "bus", vms, interval) as feed,
        Terminal("--bus", feed.uri, size=(300, 100)) as terminal,
    ):
        terminal.wait("web-", timeout=30)
        pid = terminal.python()[0]
        for name, turns in (("c", ("c", "m")), ("u", ("u", "u")), ("?", ("?", "?")), ("End", ("End", "Home"))):
            figures = []
            for _ in range(10):
                for key in turns:
                    shown = terminal.screen()
                    start = time.monotonic()
                    terminal.keys(key)
                    while terminal.screen() == shown:
                        pass
                    figures.append((time.monotonic() - start) * 1000)
            report.line(f"300x100 terminal: key {name} to screen (wall)", figures)
        terminal.keys("a", "Home")
        idle = []
        for _ in range(10):
            start = time.monotonic()
            terminal.screen()
            terminal.keys("F12")
            terminal.screen()
            idle.append((time.monotonic() - start) * 1000)
        report.line("  of that tmux itself: a key and a screen", idle)
        terminal.keys("Space")
        terminal.wait("PAUSED")
        before, began = _cpu(pid), time.monotonic()
        feed.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * interval)
        still = (_cpu(pid) - before) / (time.monotonic() - began)
        feed.process.send_signal(signal.SIGCONT)
        report.one("300x100 terminal: share of a core between cycles", still * 100, "%")
        terminal.keys("Space")
        before, began = _cpu(pid), time.monotonic()
        time.sleep(20 * interval)
        share = (_cpu(pid) - before) / (time.monotonic() - began)
        report.one(f"300x100 terminal: share of a core at a cycle each {interval:g} s", share * 100, "%")
        report.one("300x100 terminal: CPU a cycle", share * interval * 1000, "ms")
        feed.stop()
        terminal.wait("OLD:")
        before, began = _cpu(pid), time.monotonic()
        time.sleep(10)
        aging = (_cpu(pid) - before) / (time.monotonic() - began)
        report.one("300x100 terminal: share of a core while nothing comes but the age of data", aging * 100, "%")
        terminal.keys("q")


def _cpu(pid: int) -> float:
    """The CPU seconds that a process has used (schedstat, ns)."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measure(vms: int = 500, interval: float = 2.0) -> list[Figure]:
    """The CPU of a cycle and of the dearest key by size of the screen; the program in a terminal."""
    note(f"the screen with {vms} VMs")
    report, load = Report(loud=False), watch.load()
    core(vms, report)
    real(vms, interval, report)
    section = f"the screen, {vms} VMs"
    found = []
    for columns, rows in SIZES:
        size = f"{columns}x{rows}"
        keys = {name: value for name, value in report.medians.items() if name.startswith(f"{size} key:")}
        found.append(Figure(section, f"{size}: CPU of a cycle", report.medians[f"{size} cycle: all"], "ms", None, load))
        found.append(Figure(section, f"{size}: CPU of the dearest key", max(keys.values()), "ms", None, load))
    return found + [Figure(section, name, value, unit, None, load) for name, (value, unit) in report.single.items()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vms", type=int, default=500)
    parser.add_argument("--interval", type=float, default=2.0)
    given = parser.parse_args()
    report = Report(loud=True)
    core(given.vms, report)
    real(given.vms, given.interval, report)


if __name__ == "__main__":
    main()
