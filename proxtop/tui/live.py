"""Cycles as they come → the scene: a history for each host, the age of what is shown, pauses. No I/O; time comes in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from proxtop.model import EMPTY, Snapshot, Stamp, Table
from proxtop.tui.history import Entry, History
from proxtop.tui.scene import Scene
from proxtop.tui.state import State
from proxtop.tui.theme import Levels
from proxtop.view import View

_OLD = 2.0
"""Intervals after which what is shown is old."""


def narrowed(snapshot: Snapshot, view: View) -> Snapshot:
    """The snapshot with those VMs only that --vm names, and the host's figures over the devices that --netdev and
    --storedev name."""
    chosen = view.select(snapshot)
    host, vm = snapshot.tables.get("host", EMPTY), snapshot.tables.get("vm", EMPTY)
    figures = {metric.name: column for metric, column in zip(chosen.host.metrics, chosen.host.columns, strict=True)}
    kept = set(chosen.vm.ids)
    rows = [place for place, key in enumerate(vm.ids) if key in kept]
    columns = {name: [column[place] for place in rows] for name, column in vm.columns.items()}
    tables = {
        **snapshot.tables,
        "host": Table(host.ids, {**host.columns, **figures}),
        "vm": Table([vm.ids[place] for place in rows], columns),
    }
    return replace(snapshot, tables=tables)


@dataclass(slots=True)
class Live:
    """The data behind the screen."""

    asked: tuple[str, ...]
    levels: Levels
    sparks: str
    view: View | None = None
    histories: dict[str, History] = field(default_factory=dict)
    newest: dict[str, tuple[Stamp, Snapshot]] = field(default_factory=dict)
    came: float | None = None
    interval: float = 2.0
    base: float | None = None
    link: str = ""
    notes: tuple[str, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict)
    _unpacked: tuple[Entry, Snapshot] | None = None

    def add(self, stamp: Stamp, snapshot: Snapshot, now: float) -> None:
        """Takes a cycle that came now."""
        bare = {name: EMPTY for name in ("host", "vm") if name not in snapshot.tables}
        if bare:
            snapshot = replace(snapshot, tables={**snapshot.tables, **bare})
        if self.view is not None:
            snapshot = narrowed(snapshot, self.view)
        self.newest[stamp.node] = stamp, snapshot
        self.histories.setdefault(stamp.node, History()).add(stamp, snapshot, now)
        self.came = now

    def old_at(self) -> float | None:
        """The second at which what is shown becomes old, None while there is nothing."""
        return None if self.came is None else self.came + _OLD * self.interval

    def scene(self, state: State, now: float) -> Scene:
        """What the screen shows in this state."""
        nodes = tuple(sorted(self.newest))
        node = state.node if state.node in self.newest else nodes[0] if nodes else None
        empty = Scene(
            link=self.link, interval=self.interval, base=self.base, asked=self.asked, nodes=nodes, notes=self.notes,
            levels=self.levels, sparks=self.sparks, memo=self.memo,
        )  # fmt: skip
        if node is None:
            return empty
        history = self.histories[node]
        stamp, snapshot = self.newest[node]
        old = self.old_at()
        age = now - self.came if self.came is not None and old is not None and now >= old else None
        behind = until = None
        if state.paused is not None and (entry := history.find(state.paused)) is not None:
            stamp, snapshot = entry.stamp, self._unpack(entry)
            newest = history.find(None)
            behind = newest.at - entry.at if newest is not None else 0.0
            until = entry.at
        return replace(empty, snapshot=snapshot, stamp=stamp, behind=behind, age=age, history=history, until=until)

    def _unpack(self, entry: Entry) -> Snapshot:
        if self._unpacked is None or self._unpacked[0] is not entry:
            self._unpacked = entry, entry.snapshot()
        return self._unpacked[1]
