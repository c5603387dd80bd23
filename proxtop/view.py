"""What the user asked to see of a snapshot: families, fields, VMs, and the devices that the host figures stand for.

Columns keep the catalog's order for a whole run, whatever comes or goes: a value that is missing is None in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from proxtop import catalog, totals
from proxtop.catalog import Metric, Scope
from proxtop.model import EMPTY, Snapshot, Table, Value
from proxtop.options import Options

VM_PARTS: tuple[Scope, ...] = ("vcpu", "thread", "disk", "nic")
HOST_PARTS: tuple[Scope, ...] = ("device", "interface")

_OWNERS: tuple[tuple[Scope, str], ...] = (("device", "disk"), ("interface", "net"))
_FRIENDLY = {"device": "disk_device_name", "interface": None}
_OPTIONS = {"device": "--storedev", "interface": "--netdev"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table: `metrics` names the columns, `columns` has a list per metric, each as long as `ids`."""

    metrics: tuple[Metric, ...]
    ids: list[str]
    columns: list[list[Value]]

    def find(self, name: str) -> list[Value] | None:
        """The column of that metric, None where it is not shown."""
        for metric, column in zip(self.metrics, self.columns, strict=True):
            if metric.name == name:
                return column
        return None


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown of one cycle.

    `host` has one row, `vm` one per VM with its name in `names`, sorted by name, then UUID. `parts` has a table each of
    VM_PARTS and HOST_PARTS, with --verbose only. `stale` and `degraded` map families to reasons. `missing` are the
    names of --vm, --netdev and --storedev that match nothing now, each with its option (--vm: where there are VMs).
    """

    host: Rows
    vm: Rows
    names: list[str]
    parts: dict[Scope, Rows]
    span: float
    stale: dict[str, str]
    degraded: dict[str, str]
    reason: str | None
    missing: tuple[str, ...]


class View:
    """Selects from snapshots what was asked for; the same fields in the same order every time."""

    def __init__(
        self,
        families: Collection[str] = catalog.DEFAULT_FAMILIES,
        *,
        verbose: bool = False,
        vms: Sequence[str] = (),
        netdev: Sequence[str] = (),
        storedev: Sequence[str] = (),
        human: bool = False,
    ) -> None:
        self.families = tuple(name for name in catalog.FAMILIES if name in families)
        self.verbose = verbose
        self.human = human
        self._vms = tuple(vms)
        self._devices: dict[Scope, tuple[str, ...]] = {"device": tuple(storedev), "interface": tuple(netdev)}
        self._metrics = {
            scope: tuple(catalog.metrics(scope, self.families, verbose=verbose)) for scope in catalog.SCOPES
        }
        self._known = frozenset(metric.name for metric in catalog.FAMILIES["mem"].metrics if metric.scope == "host")

    @classmethod
    def of(cls, options: Options) -> View:
        """The view that these options ask for."""
        return cls(
            options.families,
            verbose=options.verbose,
            vms=options.vms,
            netdev=options.netdev,
            storedev=options.storedev,
            human=options.human,
        )

    def metrics(self, scope: Scope) -> tuple[Metric, ...]:
        """The metrics shown for rows of that table, in their order."""
        return self._metrics[scope]

    def select(self, snapshot: Snapshot) -> Selection:
        """What is shown of this snapshot."""
        host_table = snapshot.tables.get("host", EMPTY)
        self._learn(host_table)
        chosen, missing = self._chosen(snapshot)
        vm_table = snapshot.tables.get("vm", EMPTY)
        order, names = self._order(vm_table)
        return Selection(
            host=self._host(host_table, snapshot, chosen),
            vm=self._rows("vm", vm_table, order),
            names=names,
            parts=self._parts(snapshot, {vm_table.ids[row] for row in order}, chosen) if self.verbose else {},
            span=snapshot.span,
            stale={name: text for name, text in snapshot.stale.items() if name in self.families},
            degraded={name: text for name, text in snapshot.degraded.items() if name in self.families},
            reason=snapshot.reason,
            missing=(*self._unmatched(vm_table), *missing),
        )

    def _learn(self, host: Table) -> None:
        """Keys of /proc/meminfo that the catalog does not know come after those that it does, once seen for ever."""
        if not self.verbose or "mem" not in self.families:
            return
        fresh = [name for name in host.columns if name.startswith("ram_") and name not in self._known]
        if not fresh:
            return
        self._known |= frozenset(fresh)
        shown = self._metrics["host"]
        end = max(place for place, metric in enumerate(shown) if metric.name.startswith("ram_")) + 1
        extra = tuple(
            Metric(name, "host", "KB", "gauge", name[4:].upper(), "/proc/meminfo", f"{name[4:]} of /proc/meminfo", True)
            for name in fresh
        )
        self._metrics["host"] = (*shown[:end], *extra, *shown[end:])

    def _chosen(self, snapshot: Snapshot) -> tuple[dict[Scope, list[str]], tuple[str, ...]]:
        """The ids of the devices that were asked for by name, and the names that no device has."""
        chosen: dict[Scope, list[str]] = {}
        missing: list[str] = []
        for scope, family in _OWNERS:
            table = snapshot.tables.get(scope)
            if self._devices[scope] and family in self.families:
                chosen[scope] = []
                if table is not None:
                    chosen[scope], absent = totals.chosen(table, self._devices[scope], _FRIENDLY[scope])
                    missing += (f"{_OPTIONS[scope]}={name}" for name in absent)
        return chosen, tuple(missing)

    def _host(self, table: Table, snapshot: Snapshot, chosen: dict[Scope, list[str]]) -> Rows:
        own = dict(table.columns)
        if (names := chosen.get("device")) is not None:
            own.update(totals.host_devices(snapshot.tables.get("device", EMPTY), names))
        if (names := chosen.get("interface")) is not None:
            own.update(totals.host_interfaces(snapshot.tables.get("interface", EMPTY), names))
        metrics = self._metrics["host"]
        return Rows(metrics, table.ids[:1] or [""], [(own.get(metric.name) or [None])[:1] for metric in metrics])

    def _order(self, vms: Table) -> tuple[list[int], list[str]]:
        """(the rows that are shown, sorted by name, then UUID; their names)"""
        named = _named(vms)
        rows = [
            row
            for row, (key, name) in enumerate(zip(vms.ids, named, strict=True))
            if not self._vms or any(_is(glob, key, name) for glob in self._vms)
        ]
        rows.sort(key=lambda row: (named[row], vms.ids[row]))
        return rows, [named[row] for row in rows]

    def _unmatched(self, vms: Table) -> tuple[str, ...]:
        """The globs of --vm that no VM has; none on a host without VMs, where that says it all."""
        if not self._vms or not vms.ids:
            return ()
        named = list(zip(vms.ids, _named(vms), strict=True))
        return tuple(f"--vm={glob}" for glob in self._vms if not any(_is(glob, key, name) for key, name in named))

    def _rows(self, scope: Scope, table: Table, rows: list[int]) -> Rows:
        metrics = self._metrics[scope]
        all_of_them = rows == list(range(len(table.ids)))
        columns: list[list[Value]] = []
        for metric in metrics:
            column = table.columns.get(metric.name)
            if column is None:
                columns.append([None] * len(rows))
            else:
                columns.append(column if all_of_them else [column[row] for row in rows])
        return Rows(metrics, table.ids if all_of_them else [table.ids[row] for row in rows], columns)

    def _parts(self, snapshot: Snapshot, vms: set[str], chosen: dict[Scope, list[str]]) -> dict[Scope, Rows]:
        parts: dict[Scope, Rows] = {}
        for scope in (*VM_PARTS, *HOST_PARTS):
            if not self._metrics[scope]:
                continue
            table = snapshot.tables.get(scope, EMPTY)
            if scope in VM_PARTS:
                rows = [row for row, key in enumerate(table.ids) if key.partition("/")[0] in vms]
            elif scope in chosen:
                wanted = frozenset(chosen[scope])
                rows = [row for row, key in enumerate(table.ids) if key in wanted]
            else:
                rows = list(range(len(table.ids)))
            parts[scope] = self._rows(scope, table, rows)
        return parts


def _named(vms: Table) -> list[str]:
    names = vms.columns.get("name") or [None] * len(vms.ids)
    return [name if isinstance(name, str) else "" if name is None else str(name) for name in names]


def _is(glob: str, uuid: str, name: str) -> bool:
    return fnmatchcase(name, glob) or fnmatchcase(uuid, glob)
