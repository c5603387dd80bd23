"""Many hosts as one: their VMs in one table, and how each host is heard. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxtop import catalog
from proxtop.model import Columns, Snapshot, Status, Table, Value

NODE = "node"
"""The column of the VMs' table that says on which host each is."""


@dataclass(frozen=True, slots=True)
class HostLine:
    """A host as it is heard. `age`: seconds since its last cycle came, where that is too long ago: it is lost, None
    where it is not; `behind`: cycles that it is behind the newest one of all; `lag`: seconds from the instant of its
    last cycle until that was here; `offset`: seconds by which its clock is ahead of the aggregator's; `lost`: frames
    that never came. `figures` are those of its host panel, `interval` its seconds between cycles."""

    name: str
    age: float | None
    lost: bool
    behind: int | None = None
    lag: float | None = None
    offset: float | None = None
    frames_lost: int = 0
    reason: str = ""
    vms: int | None = None
    interval: float = 2.0
    figures: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The hosts, those in trouble first; `twice` are the VMs that more than one of them has, as NAME on HOST, HOST."""

    hosts: tuple[HostLine, ...]
    twice: tuple[str, ...] = ()

    def named(self, name: str) -> HostLine:
        """The host of that name."""
        return next((host for host in self.hosts if host.name == name), HostLine(name, None, True))

    @property
    def lost(self) -> frozenset[str]:
        """The names of the hosts that are lost."""
        return frozenset(host.name for host in self.hosts if host.lost)


@dataclass(frozen=True, slots=True)
class Heard:
    """What an aggregator tells of a host, and when that came (monotonic seconds)."""

    status: Status
    came: float

    def number(self, name: str) -> float | None:
        """A figure of it."""
        value = self.status.info.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def settle(homes: dict[str, str], hosts: Sequence[tuple[str, Snapshot]], lost: frozenset[str]) -> dict[str, list[str]]:
    """Says for each VM on which host it is at home: where it was, as long as that host is not lost and still has it, so
    that one that migrates has one row all the time, and nobody takes another's VM away by naming it. `homes` is brought
    up to date; what returns are the VMs that several live hosts have, with those hosts."""
    found: dict[str, list[str]] = {}
    for node, snapshot in hosts:
        for key in snapshot.tables["vm"].ids:
            found.setdefault(key, []).append(node)
    for key in homes.keys() - found.keys():
        del homes[key]
    twice = {}
    for key, nodes in found.items():
        live = [node for node in nodes if node not in lost]
        if homes.get(key) not in (live or nodes):
            homes[key] = (live or nodes)[0]
        if len(live) > 1:
            twice[key] = live
    return twice


def merged(hosts: Sequence[tuple[str, Snapshot]], homes: Mapping[str, str], expanded: frozenset[str]) -> Snapshot:
    """One snapshot of all these hosts: a table of the hosts and one of the VMs, each at home; the parts of those VMs
    alone that are expanded."""
    families = {name: None for _, snapshot in hosts for name in snapshot.families}
    ordered = tuple(name for name in catalog.FAMILIES if name in families)
    vms, figures = [], []
    for node, snapshot in hosts:
        table = snapshot.tables["vm"]
        places = [place for place, key in enumerate(table.ids) if homes.get(key) == node]
        vms.append((node, table, None if len(places) == len(table.ids) else places))
        figures.append((node, Table([node], {k: c[:1] for k, c in snapshot.tables["host"].columns.items()}), None))
    tables = {"vm": _joined(vms), "host": _joined([entry for entry in figures if entry[1].columns])}
    for scope in ("vcpu", "disk", "nic", "thread") if expanded else ():
        parts = []
        for node, snapshot in hosts:
            found = snapshot.tables.get(scope)
            if found is not None:
                places = [
                    place
                    for place, key in enumerate(found.ids)
                    if (owner := key.partition("/")[0]) in expanded and homes.get(owner) == node
                ]
                parts.append((node, found, places))
        tables[scope] = _joined(parts)
    spans = [snapshot.span for _, snapshot in hosts]
    return Snapshot(tables, max(spans, default=0.0), ordered, "cluster")


def _joined(parts: Sequence[tuple[str, Table, list[int] | None]]) -> Table:
    """Tables one below the other, with a column that says whose rows they are; places None takes all rows."""
    ids: list[str] = []
    nodes: list[Value] = []
    names: dict[str, None] = {}
    for node, table, places in parts:
        chosen = table.ids if places is None else [table.ids[place] for place in places]
        ids += chosen
        nodes += [node] * len(chosen)
        names.update(dict.fromkeys(table.columns))
    columns: Columns = {NODE: nodes}
    for name in names:
        values: list[Value] = []
        for _, table, places in parts:
            column = table.columns.get(name)
            if column is None:
                values += [None] * (len(table.ids) if places is None else len(places))
            else:
                values += column if places is None else [column[place] for place in places]
        columns[name] = values
    return Table(ids, columns)
