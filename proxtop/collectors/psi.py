"""Pressure stall information of the host, and of each VM's cgroup (v2 only; kernel:
Documentation/accounting/psi.rst)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import EOPNOTSUPP

from proxtop.catalog.psi import AVERAGES, FAMILY, RESOURCES, TOTALS
from proxtop.collectors.base import NO_PROCFS, Reasons, Row, hierarchies, host_table, processes, table, unseen
from proxtop.kernel.errors import FileError, KernelError
from proxtop.kernel.files import File, Files, Process
from proxtop.kernel.pressure import Pressure, parse_pressure
from proxtop.model import VM, Inventory, Sample, Statistics

_OFF = "PSI is off on this host (kernel 4.20+, psi=1)"
_NO_CGROUP = "no pressure of VMs: it needs cgroup v2 (4.20+) with a cgroup for each VM"
_NAMES = (*AVERAGES, *TOTALS)
_LINES = tuple(
    (position, kind)
    for position, (name, _) in enumerate(RESOURCES)
    for kind in (0, 1)
    if f"psi_{('some', 'full')[kind]}_{name}_us" in TOTALS
)
"""(resource, 0 for some or 1 for full) in the order of the catalog's columns."""
Values = tuple[float | int | None, ...]
Lines = tuple[Pressure | None, Pressure | None]

_UNKNOWN: Values = (None,) * len(_NAMES)


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """The kernel's averages and total stall times; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    host = _UNKNOWN
    if unseen(inventory, files):
        reasons.add(NO_PROCFS)
    else:
        opened = [files.file(f"{files.procfs}/pressure/{file}") for _, file in RESOURCES]
        host = _values([_parse(_read(file, reasons), reasons) for file in opened])
        if host == _UNKNOWN:
            reasons.add(_OFF)
    plan = files.memory(_Plan)
    plan.adopt(inventory)
    rows: list[Row] = []
    for vm, process in processes(inventory, files, reasons):
        values = _UNKNOWN
        if process is not None:
            values = plan.values(vm, process, files, reasons)
            if values == _UNKNOWN and process.ended():
                continue
        rows.append((vm.uuid, vm.gen, *values))
    if rows and host != _UNKNOWN and all(row[2:] == _UNKNOWN for row in rows):
        reasons.add(_NO_CGROUP)
    tables = {"host": host_table(files, dict(zip(_NAMES, host, strict=True))), "vm": table(("gen", *_NAMES), rows)}
    return Sample(FAMILY.name, tables, 0.0, reasons.text)


def _read(file: File | None, reasons: Reasons) -> bytes | None:
    """None for what is not there: a cgroup that is no more, or whose cgroup.pressure is 0."""
    if file is None:
        return None
    try:
        return file.read()
    except FileError as error:
        if error.errno != EOPNOTSUPP:
            reasons.add(error)
    return None


def _parse(text: bytes | None, reasons: Reasons) -> Lines:
    if text is None:
        return None, None
    try:
        return parse_pressure(text)
    except KernelError as error:
        reasons.add(error)
    return None, None


def _values(read: list[Lines]) -> Values:
    if not read:
        return _UNKNOWN
    lines = [read[position][kind] for position, kind in _LINES]
    averages = [value for line in lines for value in (line[:3] if line is not None else (None, None, None))]
    return (*averages, *(None if line is None else line[3] for line in lines))


class _Plan:
    """The pressure files of every VM's cgroup."""

    __slots__ = ("_files", "_inventory", "_last")

    def __init__(self) -> None:
        self._inventory: Inventory | None = None
        self._files: dict[str, tuple[Process, str | None, list[File | None]]] = {}
        self._last: dict[str, tuple[list[bytes | None], Values]] = {}

    def adopt(self, inventory: Inventory) -> None:
        """Forgets the VMs that left."""
        if inventory is not self._inventory:
            self._inventory = inventory
            uuids = {vm.uuid for vm in inventory.vms}
            self._files = {uuid: entry for uuid, entry in self._files.items() if uuid in uuids}
            self._last = {uuid: entry for uuid, entry in self._last.items() if uuid in uuids}

    def files(self, vm: VM, process: Process, files: Files) -> list[File | None]:
        """By RESOURCES; none for a VM in no cgroup of its own."""
        entry = self._files.get(vm.uuid)
        if entry is None or entry[0] is not process or entry[1] != vm.cgroup:
            where = hierarchies(files)
            paths = [where.pressure(vm.cgroup, file) for _, file in RESOURCES] if vm.cgroup is not None else []
            # irq is missing before 6.1, and all of them in v1
            there = [path is not None and os.access(path, os.F_OK) for path in paths]
            opened = [process.file(path) if path and yes else None for path, yes in zip(paths, there, strict=True)]
            entry = self._files[vm.uuid] = (process, vm.cgroup, opened)
        return entry[2]

    def values(self, vm: VM, process: Process, files: Files, reasons: Reasons) -> Values:
        """What they say. The files of a VM that nothing holds up do not change: they are not parsed again."""
        texts = [_read(file, reasons) for file in self.files(vm, process, files)]
        last = self._last.get(vm.uuid)
        if last is not None and last[0] == texts:
            return last[1]
        lines = [_parse(text, reasons) for text in texts]
        values = _values(lines)
        if all(text is None or any(found) for text, found in zip(texts, lines, strict=True)):
            self._last[vm.uuid] = texts, values  # what can't be parsed is told each time
        return values


__all__ = ["FAMILY", "sample"]
