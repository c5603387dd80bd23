"""What the collectors share: the VMs' processes, tables out of rows, and the reason why a sample is degraded."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from proxtop.kernel.batch import Batch, Outcome
from proxtop.kernel.cgroup import Hierarchies, parse_mountinfo
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.model import VM, Columns, Inventory, Statistics, Table

Row = Sequence[Any]
T = TypeVar("T")

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


class Members:
    """The VMs that are still there with their processes, which are None where none is known: `ids` and `gens` are the
    VMs' own. It is the same object while the inventory stays the same and nothing was closed."""

    __slots__ = ("closings", "gens", "ids", "inventory", "pairs", "whole")

    def __init__(self, inventory: Inventory, pairs: list[tuple[VM, Process | None]], closings: int) -> None:
        self.inventory = inventory
        self.pairs = pairs
        self.closings = closings
        self.ids = [vm.uuid for vm, _ in pairs]
        self.gens = [vm.gen for vm, _ in pairs]
        self.whole = all(process is not None for _, process in pairs)


class _Seen:
    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: Members | None = None


def processes(inventory: Inventory, files: Files, reasons: Reasons) -> Members:
    """The VMs with their processes; none has one on a remote host without procfs. Processes of VMs that left the
    inventory are closed."""
    seen = files.memory(_Seen)
    before = seen.members
    if before is not None and before.inventory is inventory and before.closings == files.closings:
        return before
    if before is None or before.inventory is not inventory:
        files.keep({vm.gen for vm in inventory.vms if vm.gen is not None})
    closings = files.closings
    pairs: list[tuple[VM, Process | None]] = []
    for vm in inventory.vms:
        if vm.pid is None or vm.start is None or unseen(inventory, files):
            pairs.append((vm, None))
            continue
        try:
            process = files.process(vm.pid, vm.start)
        except KernelError as error:
            reasons.add(error)
            closings = -1  # tried and told again each time
            continue
        if process is not None:
            pairs.append((vm, process))
    seen.members = Members(inventory, pairs, closings)
    return seen.members


class Sheet:
    """The file of that name of each VM's process, read in one go."""

    __slots__ = ("_batch", "_members", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._members: Members | None = None
        self._batch: Batch | None = None

    def read(self, members: Members, files: Files) -> list[Outcome]:
        """What they say, as long as `members`; None too for a VM whose process is not known."""
        if self._batch is None or self._members is not members:
            opened = [process.file(self._name) for _, process in members.pairs if process is not None]
            self._members, self._batch = members, Batch(files, [(None, opened)])
        _, texts = self._batch.read()
        if members.whole:
            return texts
        found = iter(texts)
        return [None if process is None else next(found) for _, process in members.pairs]


def all_of(parse: Callable[[list[bytes]], T | None], texts: list[Outcome]) -> T | None:
    """What `parse` makes of all texts at once; None where one of them is no text, or not as it should be."""
    return parse(texts) if all(text.__class__ is bytes for text in texts) else None  # type: ignore[arg-type]


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
