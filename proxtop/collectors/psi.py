"""Pressure stall information of the host, and of each VM's cgroup (v2 only; kernel:
Documentation/accounting/psi.rst)."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Mapping, Sequence
from errno import EOPNOTSUPP
from typing import Any

from proxtop.catalog.psi import AVERAGES, FAMILY, RESOURCES, TOTALS, WINDOWS
from proxtop.collectors.base import NO_PROCFS, Members, Reasons, all_of, hierarchies, host_table, processes, unseen
from proxtop.kernel.batch import Batch, Outcome
from proxtop.kernel.cgroup import Hierarchies
from proxtop.kernel.errors import FileError, KernelError
from proxtop.kernel.files import File, Files, Process
from proxtop.kernel.pressure import Pressure, parse_pressure, parse_pressures
from proxtop.model import Inventory, Sample, Statistics, Table

_OFF = "PSI is off on this host (kernel 4.20+, psi=1)"
_NO_CGROUP = "no pressure of VMs: it needs cgroup v2 (4.20+) with a cgroup for each VM"
_KINDS = ("some", "full")
_LINES = tuple([kind for kind in (0, 1) if f"psi_{_KINDS[kind]}_{name}_us" in TOTALS] for name, _ in RESOURCES)
"""Of each resource the lines that count: 0 for some, 1 for full."""

_COLUMNS = tuple(
    [f"psi_{_KINDS[kind]}_{name}_{end}" for kind in kinds for end in (*WINDOWS, "us")]
    for (name, _), kinds in zip(RESOURCES, _LINES, strict=True)
)
"""Of each resource its columns: four for each line, as Pressure has them."""

_NAMES = (*AVERAGES, *TOTALS)
_NOTHING = (None,) * 4
_CALM = b" avg10=0.00 avg60=0.00 avg300=0.00 "
_FEW = 4
"""Fewer than one in so many texts that are new are parsed one by one, more all at once."""

_WORTH = 4
"""Where there are so many VMs for each cgroup that holds some, that one's files are worth reading too."""

_SETTLED_S = 5.0
"""For so long averages have to be 0 before they are known to stay so: the kernel works them out every 2 s, from totals
that may have moved before."""

_AGAIN_S = 10.0
"""After so many seconds all files are read again, come what may."""

Lines = tuple[Pressure | None, Pressure | None]


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """The kernel's averages and total stall times; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    host: dict[str, Any] = dict.fromkeys(_NAMES)
    seen = not unseen(inventory, files)
    if seen:
        for (_, file), kinds, names in zip(RESOURCES, _LINES, _COLUMNS, strict=True):
            lines = _parse(_outcome(files.file(f"{files.procfs}/pressure/{file}")), reasons)
            host.update(zip(names, _values(lines, kinds), strict=True))
        seen = any(value is not None for value in host.values())
        if not seen:
            reasons.add(_OFF)
    else:
        reasons.add(NO_PROCFS)
    vms = files.memory(_Plan).vms(processes(inventory, files, reasons), files, reasons)
    if vms.ids and seen and all(value is None for name in _NAMES for value in vms.columns[name]):
        reasons.add(_NO_CGROUP)
    return Sample(FAMILY.name, {"host": host_table(files, host), "vm": vms}, 0.0, reasons.text)


def _outcome(file: File) -> Outcome:
    try:
        return file.read()
    except FileError as error:
        return error


def _parse(outcome: Outcome, reasons: Reasons) -> Lines:
    """Nothing for what is not there: a cgroup that is no more, or whose cgroup.pressure is 0."""
    try:
        if isinstance(outcome, FileError):
            raise outcome
        return (None, None) if outcome is None else parse_pressure(outcome)
    except KernelError as error:
        if not isinstance(error, FileError) or error.errno != EOPNOTSUPP:
            reasons.add(error)
    return None, None


def _values(lines: Lines, kinds: list[int]) -> list[Any]:
    """The values of the lines that count, in one row."""
    return [value for kind in kinds for value in lines[kind] or _NOTHING]


def _is_calm(text: Outcome) -> bool:
    """Whether nothing was held up of late: all averages are 0."""
    return isinstance(text, bytes) and text.count(_CALM) == text.count(b"\n")


class _Above:
    """The pressure files of the cgroup that holds VMs' cgroups. A task that stalls stalls each cgroup above its own as
    well (kernel/sched/psi.c), so while the totals here stand still, so do those of all VMs below."""

    __slots__ = ("_paths", "_totals", "still")

    def __init__(self, paths: list[str | None]) -> None:
        self._paths = paths
        self._totals: list[tuple[int | None, ...] | None] = [None] * len(paths)
        self.still = [False] * len(paths)

    def read(self, files: Files) -> None:
        """Before the VMs' own: what they say of a stall after this is read again at the next pass."""
        for position, path in enumerate(self._paths):
            totals = None
            with contextlib.suppress(KernelError):
                if path is not None and (text := files.file(path).read()) is not None:
                    totals = tuple(line and line.total_us for line in parse_pressure(text))
            self.still[position] = totals is not None and totals == self._totals[position]
            self._totals[position] = totals

    def close(self, files: Files) -> None:
        """It holds no VMs any more."""
        for path in filter(None, self._paths):
            files.forget(path)


class _Resource:
    """One resource's files of all VMs, and what they said last."""

    __slots__ = ("_batch", "_kinds", "_places", "_settled", "_texts", "_until", "columns", "missing")

    def __init__(self, kinds: list[int], opened: list[File | None], files: Files) -> None:
        self._kinds = kinds
        self._places = [place for place, file in enumerate(opened) if file is not None]
        self._batch = Batch(files, [(None, [file for file in opened if file is not None])])
        self._texts: list[Outcome] | None = None
        self._settled = math.inf
        self._until = 0.0
        self.missing = False
        self.columns: list[list[Any]] = [[None] * len(opened) for _ in range(4 * len(kinds))]

    def read(self, now: float, reasons: Reasons, *, still: bool) -> None:
        """Brings `columns` up to date; `still` says that no total has moved. Files whose averages are 0 and stay so are
        not read then; those that say what they said are not parsed."""
        if still and now < self._until and now > self._settled + _SETTLED_S:
            return
        if now >= self._until:
            self._until = now + _AGAIN_S
        _, texts = self._batch.read()
        before = self._texts
        if texts == before:
            return
        self._settled = now if all(map(_is_calm, texts)) else math.inf
        self._texts = texts
        self.missing = None in texts
        if before is not None:
            news = [place for place, (text, old) in enumerate(zip(texts, before, strict=True)) if text != old]
            if _FEW * len(news) < len(texts):
                self._parse(texts, news, [list(column) for column in self.columns], reasons)
                return
        if len(texts) == len(self.columns[0]):
            parse = functools.partial(parse_pressures, names=[_KINDS[kind].encode() for kind in self._kinds])
            if (lines := all_of(parse, texts)) is not None:
                self.columns = [column for line in lines for column in line]
                return
        empty: list[list[Any]] = [[None] * len(column) for column in self.columns]
        self._parse(texts, range(len(texts)), empty, reasons)

    def _parse(self, texts: list[Outcome], news: Sequence[int], columns: list[list[Any]], reasons: Reasons) -> None:
        """Puts what the files at these places say into the columns, which are those of now then."""
        self.columns = columns
        for place in news:
            text, row = texts[place], self._places[place]
            lines = _parse(text, reasons)
            if text is not None and lines == (None, None):
                self._texts = None  # what can't be read or parsed is told each time
            for column, value in zip(columns, _values(lines, self._kinds), strict=True):
                column[row] = value


class _Plan:
    """The pressure files of every VM's cgroup."""

    __slots__ = ("_above", "_again", "_alone", "_files", "_members", "_resources")

    def __init__(self) -> None:
        self._again = 0.0
        self._members: Members | None = None
        self._files: dict[str, tuple[Process, str | None, list[File | None]]] = {}
        self._above: dict[str, _Above] = {}
        self._alone = True
        self._resources: list[_Resource] = []

    def vms(self, members: Members, files: Files, reasons: Reasons) -> Table:
        """A row for each VM that is still there."""
        now = files.clock()
        if members is not self._members or self._turned_on(files, now):
            self._adopt(members, files)
        for above in self._above.values():
            above.read(files)
        columns: dict[str, Any] = {"gen": members.gens}
        for position, (resource, names) in enumerate(zip(self._resources, _COLUMNS, strict=True)):
            # the first files are read each time: they tell of a VM that left
            may = position > 0 and not self._alone and not self._resources[0].missing
            still = may and all(above.still[position] for above in self._above.values())
            resource.read(now, reasons, still=still)
            columns.update(zip(names, resource.columns, strict=True))
        left = self._left(members, columns)
        if not left:
            return Table(members.ids, columns)
        kept = [place for place in range(len(members.ids)) if place not in left]
        return Table(
            [members.ids[place] for place in kept],
            {name: [column[place] for place in kept] for name, column in columns.items()},
        )

    def _turned_on(self, files: Files, now: float) -> bool:
        """Whether there are files now that were not there: a cgroup's are hidden while its cgroup.pressure is 0."""
        if now < self._again:
            return False
        self._again = now + _AGAIN_S
        if hierarchies(files).unified is None:  # v1 has none
            return False
        missing = [(uuid, entry) for uuid, entry in self._files.items() if None in entry[2]]
        late = [uuid for uuid, (process, cgroup, opened) in missing if _opened(cgroup, process, files) != opened]
        for uuid in late:
            del self._files[uuid]
        return bool(late)

    def _left(self, members: Members, columns: Mapping[str, list[Any]]) -> set[int]:
        """The places of VMs whose process ended; of one that has any pressure it has not."""
        if None not in columns[_COLUMNS[0][0]]:
            return set()
        first = zip(*(columns[names[0]] for names in _COLUMNS), strict=True)
        return {
            place
            for place, (known, (_, process)) in enumerate(zip(first, members.pairs, strict=True))
            if known.count(None) == len(known) and process is not None and process.ended()
        }

    def _adopt(self, members: Members, files: Files) -> None:
        """Other VMs, or other processes of theirs."""
        self._members = members
        where = hierarchies(files)
        held: set[str] = set()
        opened: list[list[File | None]] = []
        known, self._files = self._files, {}
        for vm, process in members.pairs:
            if process is None:
                opened.append([None] * len(RESOURCES))
                continue
            entry = known.get(vm.uuid)
            if entry is None or entry[0] is not process or entry[1] != vm.cgroup:
                entry = process, vm.cgroup, _opened(vm.cgroup, process, files)
            self._files[vm.uuid] = entry
            opened.append(entry[2])
            if vm.cgroup is not None:
                held.add(os.path.dirname(vm.cgroup))
        self._alone = len(held) * _WORTH > len(opened)
        if self._alone:
            held.clear()
        for parent in self._above.keys() - held:
            self._above.pop(parent).close(files)
        for parent in held - self._above.keys():
            self._above[parent] = _Above(_there(where, parent))
        columns = zip(*opened, strict=True) if opened else [()] * len(RESOURCES)
        self._resources = [_Resource(kinds, list(column), files) for kinds, column in zip(_LINES, columns, strict=True)]


def _opened(cgroup: str | None, process: Process, files: Files) -> list[File | None]:
    """By RESOURCES; none for a VM in no cgroup of its own."""
    paths = [None] * len(RESOURCES) if cgroup is None else _there(hierarchies(files), cgroup)
    return [None if path is None else process.file(path) for path in paths]


def _there(where: Hierarchies, cgroup: str) -> list[str | None]:
    """The pressure files of a cgroup, by RESOURCES: irq is missing before 6.1, and all of them in v1."""
    paths = (where.pressure(cgroup, file) for _, file in RESOURCES)
    return [path if path is not None and os.access(path, os.F_OK) else None for path in paths]


__all__ = ["FAMILY", "sample"]
