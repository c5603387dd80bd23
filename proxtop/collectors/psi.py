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
        host = _values([_read(file, reasons) for file in opened])
        if host == _UNKNOWN:
            reasons.add(_OFF)
    plan = files.memory(_Plan)
    plan.adopt(inventory)
    rows: list[Row] = []
    for vm, process in processes(inventory, files, reasons):
        values = _UNKNOWN
        if process is not None:
            values = _values([_read(file, reasons) for file in plan.files(vm, process, files)])
            if values == _UNKNOWN and process.ended():
                continue
        rows.append((vm.uuid, vm.gen, *values))
    if rows and host != _UNKNOWN and all(row[2:] == _UNKNOWN for row in rows):
        reasons.add(_NO_CGROUP)
    tables = {"host": host_table(files, dict(zip(_NAMES, host, strict=True))), "vm": table(("gen", *_NAMES), rows)}
    return Sample(FAMILY.name, tables, 0.0, reasons.text)


def _read(file: File | None, reasons: Reasons) -> Lines:
    if file is None:
        return None, None
    try:
        text = file.read()
        # a cgroup that is no more, or whose cgroup.pressure is 0, has nothing to say
        return (None, None) if text is None else parse_pressure(text)
    except FileError as error:
        if error.errno != EOPNOTSUPP:
            reasons.add(error)
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

    __slots__ = ("_files", "_inventory")

    def __init__(self) -> None:
        self._inventory: Inventory | None = None
        self._files: dict[str, tuple[Process, str | None, list[File | None]]] = {}

    def adopt(self, inventory: Inventory) -> None:
        """Forgets the VMs that left."""
        if inventory is not self._inventory:
            self._inventory = inventory
            uuids = {vm.uuid for vm in inventory.vms}
            self._files = {uuid: entry for uuid, entry in self._files.items() if uuid in uuids}

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


__all__ = ["FAMILY", "sample"]
