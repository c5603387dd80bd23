"""Cycles as they come → the scene: a history for each host, the age of what is shown, pauses. No I/O; time comes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from proxtop.bus.topics import CLUSTER, HOST
from proxtop.model import EMPTY, Profiles, Snapshot, Stamp, Status, Table, Value
from proxtop.tui.cluster import Cluster, Heard, HostLine, merged, settle
from proxtop.tui.history import LIMIT_BYTES, Entry, History
from proxtop.tui.scene import Scene
from proxtop.tui.state import State
from proxtop.tui.theme import Levels
from proxtop.tui.views import ANOMALY, VIEWS
from proxtop.view import View

_OLD = 2.0
"""Intervals after which what is shown is old."""
_OLD_STEPS = 3.0
"""Steps of a profiler after which its scores are."""
_FIRST_INTERVAL_S = 2.0
_WHOLE = 0.01
"""Cycles are behind in whole ones: of hosts with other intervals one begins while another still lasts."""
_GONE_S = 60.0
"""Seconds after which the VMs of a lost host go, where no aggregator says how many."""


def complete(snapshot: Snapshot, view: View | None, scores: Mapping[str, Value] | None = None) -> Snapshot:
    """The snapshot with a table of the host and one of VMs, be they empty; the host's figures over the devices that
    --netdev and --storedev name, where there is a view that has them; and the scores of the VMs, where a profiler gives
    them."""
    tables = {"host": EMPTY, "vm": EMPTY, **snapshot.tables}
    if scores is not None:
        vms = tables["vm"]
        tables["vm"] = Table(vms.ids, {**vms.columns, ANOMALY.name: [scores.get(key) for key in vms.ids]}, vms.at)
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
    cycles. `base` is the interval of a fleet that others use too, `moved` its new one when it changed. `only` are the
    VMs that --vm names, `view` chooses the devices of the host's figures."""

    asked: tuple[str, ...]
    levels: Levels
    sparks: str
    view: View | None = None
    only: tuple[str, ...] = ()
    interval: float | None = None
    base: float | None = None
    link: str = ""
    moved: float | None = None
    notes: tuple[str, ...] = ()
    nodes: dict[str, Node] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    gone: float = _GONE_S
    _scores: dict[str, tuple[float, dict[str, Value]]] = field(default_factory=dict)
    _homes: dict[str, str] = field(default_factory=dict)
    _changes: int = 0
    _step: float = 0.0
    _merged: tuple[Any, Snapshot, tuple[str, ...]] | None = None
    _unpacked: tuple[Entry, Snapshot] | None = None

    def add(self, stamp: Stamp, snapshot: Snapshot, now: float) -> None:
        """Takes a cycle that came now."""
        snapshot = complete(snapshot, self.view, self._scored(stamp.node, now))
        node = self.nodes.get(stamp.node)
        if node is None:
            node = self.nodes[stamp.node] = Node(stamp, snapshot, now, self.interval or _FIRST_INTERVAL_S)
            for known in self.nodes.values():
                known.history.share(LIMIT_BYTES // len(self.nodes))
        elif self.interval is not None:
            self._follow((stamp.cycle - node.stamp.cycle) / 1000)
            node.interval = self.interval
        elif stamp.cycle > node.stamp.cycle and snapshot.span > 0:
            node.interval = (stamp.cycle - node.stamp.cycle) / 1000
        node.stamp, node.snapshot, node.came = stamp, snapshot, now
        node.history.add(stamp, snapshot, now)
        self._changes += 1

    def score(self, node: str, told: Profiles, now: float) -> None:
        """Takes how unusual a host's VMs are; it is shown with the cycles that come before it is old."""
        table = told.tables.get("vm", EMPTY)
        scores = dict(zip(table.ids, table.columns.get(ANOMALY.name, ()), strict=False))
        self._scores[node] = now + _OLD_STEPS * told.step, scores

    def _scored(self, node: str, now: float) -> dict[str, Value] | None:
        """The scores of a host's VMs, None where no profiler gives them, or none does any more."""
        until, scores = self._scores.get(node, (0.0, None))
        return scores if now < until else None

    def _follow(self, step: float) -> None:
        """Somebody may change the interval of a fleet that others use too: two steps of another length tell."""
        if self.interval == self.base and step > 0 and step == self._step != self.interval:
            self.interval = self.base = self.moved = step
        self._step = step

    def hear(self, status: Status, now: float) -> None:
        """Takes what an aggregator tells of a host, or of them all."""
        name = status.actor.removeprefix(HOST)
        if status.actor == CLUSTER:
            gone = status.info.get("gone")
            self.gone = float(gone) if isinstance(gone, int | float) else _GONE_S
        elif name != status.actor:
            self.heard[name] = Heard(status, now)
            if status.state == "removed":
                del self.heard[name]
                self.nodes.pop(name, None)
                self._changes += 1

    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts."""
        return tuple(sorted(self.nodes.keys() | self.heard.keys()))

    def together(self, state: State) -> bool:
        """Whether all hosts are shown in one: where there are several, none is chosen, and the view is one of VMs."""
        view = VIEWS[state.view]
        several = len(self.nodes.keys() | self.heard.keys()) > 1
        return several and state.node not in self.nodes and view.scope == "vm" and (
            state.overlay != "vm" and state.view != "contention"
        )  # fmt: skip

    def shown(self, state: State) -> Node | None:
        """The host that is shown: the chosen one, else that of the selected VM, else the first."""
        for name in (state.node, self._home(state.selected)):
            if name is not None and name in self.nodes:
                return self.nodes[name]
        return self.nodes[min(self.nodes)] if self.nodes else None

    def _home(self, vm: str | None) -> str | None:
        """The host that a VM is on: where it was when all were shown in one, unless it has gone to another since."""
        home = self._homes.get(vm or "")
        if home is None or (home in self.nodes and vm in self.nodes[home].snapshot.tables["vm"].ids):
            return home
        found = (name for name in sorted(self.nodes) if vm in self.nodes[name].snapshot.tables["vm"].ids)
        return next(found, home)

    def old_at(self, state: State) -> float | None:
        """The second at which what is shown becomes old, None while there is nothing."""
        node = self.shown(state)
        return None if node is None else node.came + _OLD * node.interval

    def scene(self, state: State, now: float) -> Scene:
        """What the screen shows in this state."""
        empty = Scene(
            link=self.link, base=self.base, asked=self.asked, only=self.only, nodes=self.hosts(),
            notes=self.notes, levels=self.levels, sparks=self.sparks, memo=self.memo,
        )  # fmt: skip
        if self.together(state):
            return self._all(empty, state, now)
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

    def _all(self, empty: Scene, state: State, now: float) -> Scene:
        """All hosts in one."""
        newest = max(self.nodes.values(), key=lambda node: node.stamp.cycle, default=None)
        lines = [self._line(name, newest, now) for name in empty.nodes]
        lost = frozenset(line.name for line in lines if line.lost)
        there = [name for name in sorted(self.nodes) if name not in lost or now - self.nodes[name].came < self.gone]
        key = (self._changes, lost, tuple(there), state.paused, state.expanded)
        if self._merged is None or self._merged[0] != key:
            found = [(name, self._then(self.nodes[name], state.paused)) for name in there]
            twice = settle(self._homes, found, lost)
            self._merged = key, merged(found, self._homes, state.expanded), self._told(found, twice)
        if newest is None:
            return replace(empty, cluster=Cluster(tuple(lines)))
        snapshot, twice_told = self._merged[1:]
        behind = until = None
        stamp, history = newest.stamp, newest.history
        if state.paused is not None and (entry := history.find(state.paused)) is not None:
            stamp, behind, until = entry.stamp, newest.came - entry.at, entry.at
        latest = max(node.came for node in self.nodes.values())
        age = now - latest if len(lost) == len(lines) else None
        order = tuple(sorted(lines, key=lambda line: (not line.lost, not line.behind, line.name)))
        return replace(
            empty, snapshot=snapshot, stamp=stamp, behind=behind, age=age, history=history, until=until,
            cluster=Cluster(order, twice_told),
        )  # fmt: skip

    def _line(self, name: str, newest: Node | None, now: float) -> HostLine:
        node, heard = self.nodes.get(name), self.heard.get(name)
        interval = node.interval if node is not None else heard.status.interval if heard else _FIRST_INTERVAL_S
        since = now - node.came if node is not None else None
        if heard is not None and (told := heard.number("age")) is not None:
            since = min(since if since is not None else math.inf, told + now - heard.came)
        lost = since is None or since >= _OLD * interval or (heard is not None and heard.status.state != "running")
        behind = None
        if node is not None and newest is not None:
            behind = max(0, int((newest.stamp.cycle - node.stamp.cycle) / 1000 / interval + _WHOLE))
        figures = node.snapshot.tables["host"] if node is not None else EMPTY
        return HostLine(
            name=name, age=since, lost=lost, behind=behind, interval=interval,
            lag=heard.number("lag") if heard else None, offset=heard.number("offset") if heard else None,
            frames_lost=heard.status.lost if heard else 0, reason=(heard.status.reason or "") if heard else "",
            vms=len(node.snapshot.tables["vm"].ids) if node is not None else None,
            figures={key: column[0] for key, column in figures.columns.items() if column},
        )  # fmt: skip

    def _then(self, node: Node, paused: float | None) -> Snapshot:
        """The host's snapshot, or that of the moment at which the screen is paused."""
        entry = node.history.find(paused) if paused is not None else None
        return node.snapshot if entry is None else entry.snapshot()

    def _told(self, found: list[tuple[str, Snapshot]], twice: dict[str, list[str]]) -> tuple[str, ...]:
        """The VMs that several hosts have, in words."""
        names: dict[str, str] = {}
        for _, snapshot in found if twice else ():
            vms = snapshot.tables["vm"]
            names.update(zip(vms.ids, map(str, vms.columns.get("name", vms.ids)), strict=True))
        return tuple(f"{names[key]} is on {' and '.join(nodes)}" for key, nodes in sorted(twice.items()))

    def _unpack(self, entry: Entry) -> Snapshot:
        if self._unpacked is None or self._unpacked[0] is not entry:
            self._unpacked = entry, entry.snapshot()
        return self._unpacked[1]
