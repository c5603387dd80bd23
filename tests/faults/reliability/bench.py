"""The fleet that is broken, and how what happens is measured."""

from __future__ import annotations

import itertools
import pathlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from proxtop.model import Snapshot
from tests.faults.rig import Machine, Rig
from tests.faults.supervised import Supervised

INTERVAL_S = 1.0
FAMILIES = ("cpu", "mem", "disk", "net", "io", "psi", "host")
WORKERS = ("broker", "connector", "lookup", "aggregator", *FAMILIES, "printer-file")
HUNG_S = 5 * INTERVAL_S
BACK_S = 2 + INTERVAL_S
"""From a fault being noticed to all being right again."""

LOAD_S = 4.0
"""What a machine adds on which others work too. More than that where it is slow: as long as the bench's own fleet took
from its start to its first whole cycle, which is the same work."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `noticed` is how long the fault may stay unnoticed, part of `seconds`."""

    fault: str
    lost: str
    shown: str
    seconds: float
    noticed: float = 0.0


class Bench:
    """A fleet of all workers with a printer, at one second, and the machine that it watches."""

    def __init__(self, rig: Rig, *settings: str, interval: float = INTERVAL_S, **options: object) -> None:
        self.rig = rig
        self.machine: Machine = rig.machine("busy")
        self.lines = rig.folder / "small" / "cycles.json"
        self.lines.parent.mkdir(exist_ok=True)
        printer = f"PROXTOP_PRINTER_FILE=json file {self.lines} --verbose --vm={self.machine.uuid}"
        self.fleet = Supervised(rig.folder, printer, *settings, interval=interval, **options)  # type: ignore[arg-type]
        rig.callback(self.fleet.close)
        begin = time.monotonic()
        self.fleet.up()
        self.start_s = time.monotonic() - begin

    def whole(self, snapshot: Snapshot) -> bool:
        """Whether nothing is missing in a cycle."""
        table = snapshot.tables["vm"]
        if snapshot.stale or self.machine.uuid not in table.ids:
            return False
        place = table.ids.index(self.machine.uuid)
        return all(
            name in table.columns and table.columns[name][place] is not None
            for name in ("cpu_total", "ram_rss", "io_RDOPS")
        )

    def broken(self, fault: str, act: Callable[[], object], *, again: tuple[str, ...], noticed: float = 0.0) -> Row:
        """Breaks something, waits until workers `again` are others and all is right: what was lost and shown."""
        fleet = self.fleet
        before = fleet.up()
        fleet.until("a whole cycle", self.whole)
        first = len(fleet.seen) - 1
        begin = time.monotonic()
        act()
        for name in again:
            fleet.replaced(name, before[name])
        after_all = time.monotonic()
        fleet.until("a whole cycle again", lambda snapshot: self.whole(snapshot))
        fleet.up()
        seen = fleet.seen[first:]
        ill = [place for place, (came, _, snapshot) in enumerate(seen) if not self.whole(snapshot) and came > begin]
        right = seen[ill[-1] + 1][0] if ill else next(came for came, _, _ in seen if came > begin)
        gap, number = self._gap(seen)
        if gap:
            right = max(right, number)
        if not ill and not gap and not again:
            right = begin
        reasons = {text for _, _, snapshot in seen for text in snapshot.stale.values()}
        reasons |= {snapshot.reason for _, _, snapshot in seen if snapshot.reason}
        stale = sorted({name for _, _, snapshot in seen for name in snapshot.stale})
        lost = f"{gap} cycles" if gap != 1 else "1 cycle"
        if stale:
            part = sum(bool(snapshot.stale) for _, _, snapshot in seen)
            lost += f"; {', '.join(stale) if len(stale) < 4 else 'several families'} stale in {part}"
        shown = "; ".join(sorted(map(_short, reasons))) or "nothing"
        ended = {fleet.status()[name]["ended"] for name in again}
        if again:
            shown += f"; status: {', '.join(sorted(map(str, ended)))}"
            assert after_all - begin < noticed + 60
        return Row(fault, lost, shown, max(0.0, right - begin), noticed)

    def _gap(self, seen: list[tuple[float, object, Snapshot]]) -> tuple[int, float]:
        """How many cycles never came, and when the one after the last gap did."""
        gap, came = 0, 0.0
        step = round(self.fleet.interval * 1000)
        for (_, before, _), (when, after, _) in itertools.pairwise(seen):
            missing = round((after.cycle - before.cycle) / step) - 1  # type: ignore[attr-defined]
            if missing > 0:
                gap, came = gap + missing, when
        return gap, came


def _short(text: str) -> str:
    text = re.sub(r"started again at [\d:]+", "started again at …", text)
    return re.sub(r"\d+\.\d+ s", "… s", text)


def in_time(bench: Bench, row: Row) -> Row:
    """The same, if it was in time."""
    assert row.seconds <= row.noticed + BACK_S + LOAD_S + 2 * bench.start_s, row
    return row


def resident_kb(pid: int) -> int:
    """The resident memory of a process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])
