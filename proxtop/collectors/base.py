"""What the collectors share: the VMs' processes, tables out of rows, and the reason why a sample is degraded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from proxtop.kernel.cgroup import Hierarchies, parse_mountinfo
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.model import VM, Columns, Inventory, Statistics, Table

Row = Sequence[Any]

UNNAMED = "localhost"
"""Id of the host's row where neither --node nor PROCFS tells its name."""


NO_PROCFS = "needs that host's /proc (--procfs, --sysfs)"
"""Why a remote host's figures are missing."""


class Reasons:
    """Why a sample is degraded: the first reason, and how many others there are beside it. What is so for as long as
    the host is a remote one comes after what happened to it."""

    __slots__ = ("_all", "_family")

    def __init__(self, family: str) -> None:
        self._family = family
        self._all: dict[str, None] = {}

    def add(self, reason: str | KernelError | None) -> None:
        """Notes a reason, once; None is none."""
        if reason is not None:
            self._all[str(reason)] = None

    @property
    def text(self) -> str | None:
        """One line, None without any."""
        if not self._all:
            return None
        more = f" (and {len(self._all) - 1} more)" if len(self._all) > 1 else ""
        return f"{self._family}: {min(self._all, key=NO_PROCFS.__eq__)}{more}"


def unseen(inventory: Inventory, files: Files) -> bool:
    """Whether the VMs' host is another one than the one whose /proc is at hand: then what /proc says is of the wrong
    host, and null."""
    return inventory.remote and files.here


class _Seen:
    __slots__ = ("inventory",)

    def __init__(self) -> None:
        self.inventory: Inventory | None = None


def processes(inventory: Inventory, files: Files, reasons: Reasons) -> Iterator[tuple[VM, Process | None]]:
    """The VMs that are still there with their processes, which are None on a remote host without procfs. Processes of
    VMs that left the inventory are closed."""
    if unseen(inventory, files):
        yield from ((vm, None) for vm in inventory.vms)
        return
    seen = files.memory(_Seen)
    if seen.inventory is not inventory:
        files.keep({vm.gen for vm in inventory.vms if vm.gen is not None})
        seen.inventory = inventory
    for vm in inventory.vms:
        if vm.pid is None or vm.start is None:
            yield vm, None
            continue
        try:
            process = files.process(vm.pid, vm.start)
        except KernelError as error:
            reasons.add(error)
            continue
        if process is not None:
            yield vm, process


def table(names: Sequence[str], rows: Iterable[Row], at: list[float | None] | None = None) -> Table:
    """Rows of (id, values by names…) in columns."""
    turned = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(len(names) + 1)]
    return Table(turned[0], dict(zip(names, turned[1:], strict=True)), at)


def host_table(files: Files, columns: Mapping[str, Any]) -> Table:
    """The host's one row."""
    return Table([files.node or UNNAMED], {name: [value] for name, value in columns.items()})


def picked(statistics: Statistics | None, uuids: Container[str]) -> tuple[list[str], list[int]]:
    """(ids, places) of the rows that belong to these VMs; none of a part that the connector did not send."""
    if statistics is None:
        return [], []
    ids = statistics.table.ids
    places = [place for place, row in enumerate(ids) if row.partition("/")[0] in uuids]
    return [ids[place] for place in places], places


def taken(statistics: Statistics | None, names: Iterable[str], places: Sequence[int]) -> Columns:
    """Those places of the columns; unknown where the connector has no such column."""
    columns = {} if statistics is None else statistics.table.columns
    result: Columns = {}
    for name in names:
        column = columns.get(name)
        result[name] = [None] * len(places) if column is None else [column[place] for place in places]
    return result


def times(statistics: Statistics | None, places: Sequence[int]) -> list[float | None]:
    """The rows' own times."""
    at = None if statistics is None else statistics.table.at
    return [None] * len(places) if at is None else [at[place] for place in places]


class _Mounted:
    __slots__ = ("hierarchies",)

    def __init__(self) -> None:
        self.hierarchies: Hierarchies | None = None


def hierarchies(files: Files) -> Hierarchies:
    """Where the host's cgroups are mounted, read once: as its PID 1 sees it, on the local host else as this process."""
    mounted = files.memory(_Mounted)
    if mounted.hierarchies is None:
        text = None
        for pid in ("1", "self") if files.local else ("1",):
            try:
                text = text or files.once(f"{files.procfs}/{pid}/mountinfo")
            except KernelError:
                continue
        mounted.hierarchies = parse_mountinfo(text or b"", files.sysfs)
    return mounted.hierarchies
