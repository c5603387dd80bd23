"""The view 'who hurts whom': contention.py's findings as a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxtop import catalog, contention
from proxtop.contention import HOST, Limits, Taker, Takers, Wait
from proxtop.model import EMPTY, Table
from proxtop.tui import cells
from proxtop.tui.history import Entry
from proxtop.tui.scene import Scene
from proxtop.tui.state import State
from proxtop.tui.table import Line, name_cells, named, split_filter
from proxtop.tui.text import fit, width
from proxtop.tui.theme import Levels

_WHAT = {"cpu_steal": "steal", "psi_some_mem": "memory", "psi_some_io": "I/O", "disk_lat_avg": "latency"}
_WHAT_CELLS, _VALUE_CELLS, _NORMAL_CELLS, _WHERE_CELLS = 7, 8, 7, 8
_NORMAL_FROM = 110
_GAP = 2.5
"""Spans of a cycle after which it does not go on where the one before ended."""


@dataclass(frozen=True, slots=True)
class Found:
    """The VMs that wait, and who took what; names by UUID; `told` keeps what was worked out already."""

    waits: list[Wait]
    takers: Takers
    names: Mapping[str, str]
    told: dict[Wait, list[Taker]] = field(default_factory=dict)


def limits(levels: Levels) -> Limits:
    """The thresholds as contention.py wants them."""
    known = Limits()
    steal, memory, io, latency = (
        found[0] if (found := levels.limits(name)) is not None else default
        for name, default in (
            ("cpu_steal", known.steal), ("psi_some_mem", known.memory), ("psi_some_io", known.io),
            ("disk_lat_avg", known.latency_ms),
        )
    )  # fmt: skip
    return Limits(steal=steal, memory=memory, io=io, latency_ms=latency)


def find(scene: Scene, state: State) -> Found:
    """What there is to find in the cycle that is shown and those before it."""
    entries = scene.history.since(600.0, scene.until)
    key = (entries[-1].stamp.epoch, entries[-1].stamp.seq, state.filter) if entries else ()
    if scene.memo.get("key") != key:
        scene.memo.update(key=key, found=_find(entries, scene, state))
    found: Found = scene.memo["found"]
    return found


def _find(entries: Sequence[Entry], scene: Scene, state: State) -> Found:
    window = [_needed(entry) for entry in _together(entries[-contention.WINDOW :])]
    if not window:
        return Found([], Takers([]), {})
    vm = window[-1].get("vm", EMPTY)
    names = {key: str(name) for key, name in zip(vm.ids, vm.columns.get("name", vm.ids), strict=False)}
    found = contention.waits(window[-1], _recent(entries[: -contention.WINDOW]), limits(scene.levels))
    _, wanted = split_filter(state.filter)
    shown = [
        wait
        for wait in found
        if wanted in names.get(wait.vm, "").casefold() and named(scene.only, names.get(wait.vm, ""), wait.vm)
    ]
    return Found(shown, Takers(window), names)


def _together(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The last of these cycles that no gap parts: what ran before a connection was lost took nothing from those that
    wait since."""
    for place in range(len(entries) - 1, 0, -1):
        before, after = entries[place - 1], entries[place]
        if after.rest.span > 0 and after.stamp.cycle - before.stamp.cycle > _GAP * 1000 * after.rest.span:
            return entries[place:]
    return entries


def _needed(entry: Entry) -> dict[str, Table]:
    tables = {}
    for name, columns in contention.NEEDS.items():
        table = entry.tables.get(name)
        if table is not None:
            tables[name] = Table(table.ids, {c: table.columns[c].values() for c in columns if c in table.columns})
    return tables


def _recent(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Each VM's latencies in the cycles before the window: at most 60 of them, evenly spread."""
    found: dict[str, list[float]] = {}
    for entry in entries[:: max(1, len(entries) // 60)]:
        table = entry.tables.get("vm")
        if table is None or (column := table.columns.get("disk_lat_avg")) is None:
            continue
        for key, value in zip(table.ids, column.values(), strict=True):
            if isinstance(value, int | float):
                found.setdefault(key, []).append(value)
    return found


def header(columns: int) -> Line:
    """The heads of the columns."""
    normal = f"{'NORMAL':>{_NORMAL_CELLS}} " if columns >= _NORMAL_FROM else ""
    text = (
        f"{fit('VM', name_cells(columns))} {fit('WAITS', _WHAT_CELLS)} {'VALUE':>{_VALUE_CELLS - 3}}    {normal}"
        f"{fit('WHERE', _WHERE_CELLS)} TAKEN BY"
    )
    return [("head", fit(text, columns))]


def row(found: Found, wait: Wait, scene: Scene, columns: int) -> Line:
    """A VM that waits, and who took what it waits for."""
    metric = catalog.metric("vm", wait.metric)
    assert metric is not None
    line: Line = [
        ("name", fit(found.names.get(wait.vm, wait.vm), name_cells(columns))),
        ("", " " + fit(_WHAT[wait.metric], _WHAT_CELLS) + " "),
        ("crit" if wait.severity >= 2 else "warn", cells.cell(metric, wait.value, _VALUE_CELLS - 3, human=False)),
        ("", fit(f" {metric.unit}", 3) + " "),
    ]
    if columns >= _NORMAL_FROM:
        normal = "" if wait.normal is None else cells.text(metric, wait.normal, human=False)
        line.append(("", f"{normal:>{_NORMAL_CELLS}} "))
    line.append(("", fit(",".join(found.takers.where(wait)) or "host", _WHERE_CELLS) + " "))
    room = columns - sum(width(text) for _, text in line)
    takers = found.told.get(wait)
    if takers is None:
        takers = found.told[wait] = found.takers.of(wait)
    text = "  ".join(f"{_who(found, wait, taker.vm)} {taker.share * 100:.0f}%" for taker in takers[:8])
    return [*line, ("" if text else "dim", fit(text or "nobody", room))]


def _who(found: Found, wait: Wait, vm: str) -> str:
    if vm == HOST:
        return "(host)"
    return "(itself)" if vm == wait.vm else found.names.get(vm, vm)


def nobody(scene: Scene) -> list[str]:
    """What stands where no VM waits."""
    limit = limits(scene.levels)
    lines = [
        "No VM waits.",
        f"A VM waits when its steal reaches {limit.steal:g} %, its memory pressure {limit.memory:g} %,",
        f"its I/O pressure {limit.io:g} %, or its disks take {limit.latency_ms:g} ms",
        f"or {limit.latency_times:g} times what is normal for it.",
    ]
    if scene.snapshot is not None and "psi" not in scene.snapshot.families:
        lines.append("The fleet does not collect pressure: memory and I/O are judged by latency alone (--pressure).")
    return lines
