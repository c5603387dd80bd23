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
_FIRST_INTERVAL_S = 2.0


def complete(snapshot: Snapshot, view: View | None) -> Snapshot:
    """The snapshot with a table of the host and one of VMs, be they empty; the host's figures over the devices that
    --netdev and --storedev name, where there is a view that has them."""
    tables = {"host": EMPTY, "vm": EMPTY, **snapshot.tables}
    if view is not None:
        chosen = view.select(snapshot).host
        figures = {metric.name: column for metric, column in zip(chosen.metrics, chosen.columns, strict=True)}
        host = tables["host"]
        tables["host"] = Table(chosen.ids, {**(host.columns if host.ids else {}), **figures})
    return replace(snapshot, tables=tables)


@dataclass(slots=True)
class Node:
    """What is known of a host: its newest cycle, when that came, and the cycles before."""

    stamp: Stamp
    snapshot: Snapshot
    came: float
    interval: float
    history: History = field(default_factory=History)


@dataclass(slots=True)
class Live:
    """The data behind the screen. `interval` is the seconds between cycles where that is known: else it is read off the
    cycles. `base` is the interval of a fleet that others use too. `only` are the VMs that --vm names, `view` chooses
    the devices of the host's figures."""

    asked: tuple[str, ...]
    levels: Levels
    sparks: str
    view: View | None = None
    only: tuple[str, ...] = ()
    interval: float | None = None
    base: float | None = None
    link: str = ""
    notes: tuple[str, ...] = ()
    nodes: dict[str, Node] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)
    _unpacked: tuple[Entry, Snapshot] | None = None

    def add(self, stamp: Stamp, snapshot: Snapshot, now: float) -> None:
        """Takes a cycle that came now."""
        snapshot = complete(snapshot, self.view)
        node = self.nodes.get(stamp.node)
        if node is None:
            node = self.nodes[stamp.node] = Node(stamp, snapshot, now, self.interval or _FIRST_INTERVAL_S)
        elif self.interval is not None:
            node.interval = self.interval
        elif stamp.cycle > node.stamp.cycle and snapshot.span > 0:
            node.interval = (stamp.cycle - node.stamp.cycle) / 1000
        node.stamp, node.snapshot, node.came = stamp, snapshot, now
        node.history.add(stamp, snapshot, now)

    def shown(self, state: State) -> Node | None:
        """The host that is shown: the chosen one, else the first."""
        return self.nodes.get(state.node or "") or (self.nodes[min(self.nodes)] if self.nodes else None)

    def old_at(self, state: State) -> float | None:
        """The second at which what is shown becomes old, None while there is nothing."""
        node = self.shown(state)
        return None if node is None else node.came + _OLD * node.interval

    def scene(self, state: State, now: float) -> Scene:
        """What the screen shows in this state."""
        empty = Scene(
            link=self.link, base=self.base, asked=self.asked, only=self.only, nodes=tuple(sorted(self.nodes)),
            notes=self.notes, levels=self.levels, sparks=self.sparks, memo=self.memo,
        )  # fmt: skip
        node, old = self.shown(state), self.old_at(state)
        if node is None or old is None:
            return empty
        stamp, snapshot, history = node.stamp, node.snapshot, node.history
        behind = until = None
        if state.paused is not None and (entry := history.find(state.paused)) is not None:
            stamp, snapshot = entry.stamp, self._unpack(entry)
            behind, until = node.came - entry.at, entry.at
        age = now - node.came if now >= old else None
        return replace(empty, snapshot=snapshot, stamp=stamp, behind=behind, age=age, history=history, until=until)

    def _unpack(self, entry: Entry) -> Snapshot:
        if self._unpacked is None or self._unpacked[0] is not entry:
            self._unpacked = entry, entry.snapshot()
        return self._unpacked[1]
