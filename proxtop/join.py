"""Joins a cycle: one sample of every family → one snapshot. No I/O: time comes in as an argument.

A cycle closes when every live family has reported, at the latest a set fraction of the interval after its first
sample (the first one is given a little more). What is missing then is stale, never repeated as new. The order of
things is the order of monotonic times: a wall clock that is set back neither stalls nor doubles anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from proxtop import derive
from proxtop.derive import Derivation, Reading
from proxtop.model import Columns, Inventory, Sample, Snapshot, Stamp, Table, Value

CLOSE_AFTER = 0.5
"""The fraction of the interval after which a cycle closes with what is there."""

FIRST_PATIENCE_S = 1.0
"""The least that the first cycle is waited for: the workers have only just started."""

_PATIENCE = 2
"""Cycles for which a family that does not report is waited for."""


@dataclass(frozen=True, slots=True)
class _Derived:
    """A family's part of a cycle, worked out as it came: the last one to come is all that is left to do then. `span` is
    the seconds that its rates cover, None where it has none."""

    mono: float
    span: float | None
    tables: Mapping[str, Table]
    reason: str | None


@dataclass(slots=True)
class _Member:
    """A family: its derivation, its last reading and whether it is being waited for."""

    derivation: Derivation
    epoch: int = 0
    before: Reading | None = None
    missed: int = 0

    def prime(self, stamp: Stamp, sample: Sample) -> None:
        """Takes a base for the first rates. A priming sample may come in parts, as the connector's figures come in:
        the later part adds its tables, which carry times of their own."""
        before = self.before
        if before is not None and before.sample.prime and self.epoch == stamp.epoch:
            tables = {**before.sample.tables, **sample.tables}
            self.before = Reading(before.mono, replace(sample, tables=tables))
        else:
            self.epoch, self.before = stamp.epoch, Reading(stamp.mono, sample)

    def take(self, stamp: Stamp, sample: Sample) -> _Derived:
        """Its rates since its last reading, none across a restart; the base of the next ones."""
        after = Reading(stamp.mono, sample)
        before = self.before if self.epoch == stamp.epoch else None
        tables = self.derivation.derive(before, after)
        self.epoch, self.before = stamp.epoch, after
        return _Derived(stamp.mono, None if before is None else after.mono - before.mono, tables, sample.reason)


@dataclass(slots=True)
class _Cycle:
    """A cycle that is open: since when, and what has come for it, by family."""

    opened: float
    parts: dict[str, _Derived] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed cycle: its number, the monotonic second of its data, and the snapshot."""

    cycle: int
    mono: float
    snapshot: Snapshot


class Joiner:
    """Collects the samples of one host and closes its cycles."""

    def __init__(self, families: Iterable[str], interval: float) -> None:
        self.interval = interval
        self.late = 0
        self._members = {name: _Member(derive.create(name)) for name in families}
        self._inventory: Inventory | None = None
        self._node = ""
        self._open: dict[int, _Cycle] = {}
        self._closed = 0.0
        self._closed_cycle = 0

    def inventory(self, node: str, inventory: Inventory) -> None:
        """The VMs from now on."""
        self._node = node
        self._inventory = inventory

    def sample(self, stamp: Stamp, sample: Sample, now: float) -> None:
        """Takes a family's sample. The first is a base for rates and makes no cycle: it may be a replay of one that was
        shown. One that comes after its cycle closed is the base of the next rates."""
        member = self._members.get(sample.family)
        if member is None:
            return
        self._node = stamp.node
        if sample.prime or member.before is None:
            member.prime(stamp, sample)
            return
        cycle = self._open.get(stamp.cycle)
        if cycle is not None or (stamp.mono > self._closed and not self._past(stamp)):
            if cycle is None:
                cycle = self._open[stamp.cycle] = _Cycle(now)
            cycle.parts[sample.family] = member.take(stamp, sample)
            return
        self.late += 1
        member.missed = 0  # it lives: it is waited for again
        if stamp.mono > member.before.mono:
            member.epoch, member.before = stamp.epoch, Reading(stamp.mono, sample)

    def _past(self, stamp: Stamp) -> bool:
        """Whether that cycle was due before the last closed one: a worker that was stopped or began anew. Where the
        wall clock itself lies before the last cycle it was set back, and its cycles are new."""
        return stamp.cycle <= self._closed_cycle <= stamp.time * 1000

    def deadline(self) -> float | None:
        """The monotonic second at which the oldest open cycle closes whatever has come; None when none is open."""
        if not self._open:
            return None
        patience = CLOSE_AFTER * self.interval if self._closed else max(FIRST_PATIENCE_S, CLOSE_AFTER * self.interval)
        return min(cycle.opened for cycle in self._open.values()) + patience

    def close(self, now: float) -> Closed | None:
        """The oldest open cycle, if it is complete or its time is over."""
        if not self._open or self._inventory is None:
            return None
        number = min(self._open, key=lambda key: self._open[key].opened)
        cycle = self._open[number]
        waited = {name for name, member in self._members.items() if member.missed < _PATIENCE}
        if not waited <= cycle.parts.keys() and len(self._open) == 1:
            deadline = self.deadline()
            if deadline is not None and now < deadline:
                return None
        del self._open[number]
        return self._join(number, cycle, self._inventory)

    def _join(self, number: int, cycle: _Cycle, inventory: Inventory) -> Closed:
        families: dict[str, Mapping[str, Table]] = {}
        stale: dict[str, str] = {}
        degraded: dict[str, str] = {}
        spans: list[float] = []
        mono = max(part.mono for part in cycle.parts.values())
        for name, member in self._members.items():
            part = cycle.parts.get(name)
            if part is None:
                member.missed += 1
                stale[name] = "no sample in this cycle"
                continue
            member.missed = 0
            families[name] = part.tables
            if part.span is not None:
                spans.append(part.span)
            if part.reason is not None:
                degraded[name] = part.reason
        self._closed = max(self._closed, mono)
        self._closed_cycle = number
        snapshot = Snapshot(
            tables=_tables(self._node, inventory, families),
            span=spans[0] if spans else 0.0,
            families=tuple(self._members),
            connector=inventory.connector,
            stale=stale,
            degraded=degraded,
            reason=inventory.reason,
        )
        return Closed(number, mono, snapshot)


def _tables(node: str, inventory: Inventory, families: Mapping[str, Mapping[str, Table]]) -> dict[str, Table]:
    vms = inventory.vms
    ids = [vm.uuid for vm in vms]
    host: Columns = {}
    columns: Columns = {
        "name": [vm.name for vm in vms],
        "pid": [vm.pid for vm in vms],
        "vmid": [vm.vmid for vm in vms],
    }
    tables: dict[str, Table] = {"host": Table([node], host), "vm": Table(ids, columns)}
    for derived in families.values():
        for scope, table in derived.items():
            if scope == "host":
                host.update(table.columns)
            elif scope == "vm":
                columns.update(_aligned(ids, table))
            else:
                tables[scope] = table
    reasons: list[Value] = [vm.reason for vm in vms]
    if any(reasons):
        columns["reason"] = reasons
    return tables


def _aligned(ids: list[str], table: Table) -> Columns:
    """The table's columns in the order of these ids; a row that it lacks is unknown."""
    if table.ids == ids:
        return table.columns
    places = {row: place for place, row in enumerate(table.ids)}
    order = [places.get(row, -1) for row in ids]
    return {name: [None if place < 0 else column[place] for place in order] for name, column in table.columns.items()}
