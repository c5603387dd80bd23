"""I/O of each VM's process, from /proc/PID/io (kernel: Documentation/filesystems/proc.rst, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from errno import EACCES, EPERM
from typing import Any

from proxtop.catalog.io import FAMILY, FIELDS
from proxtop.collectors.base import NO_PROCFS, Members, Reasons, Row, Sheet, all_of, processes, table
from proxtop.kernel.batch import Outcome
from proxtop.kernel.errors import FileError, ParseError
from proxtop.kernel.files import Files
from proxtop.kernel.pid_io import parse_io, parse_ios
from proxtop.model import Inventory, Sample, Statistics, Table

_UNPRIVILEGED = "needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (run as root)"
_UNKNOWN = (None,) * len(FIELDS)


class _Io(Sheet):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("io")


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """Counters of every VM at one instant; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    members = processes(inventory, files, reasons)
    texts = files.memory(_Io).read(members, files)
    counters = all_of(parse_ios, texts)
    if counters is not None:
        columns: dict[str, Any] = {"gen": members.gens, **dict(zip(FIELDS, counters, strict=True))}
        vms = Table(members.ids, columns)
    else:
        vms = table(("gen", *FIELDS), _rows(members, texts, reasons))
    return Sample(FAMILY.name, {"vm": vms}, 0.0, reasons.text)


def _rows(members: Members, texts: list[Outcome], reasons: Reasons) -> Iterator[Row]:
    for (vm, process), text in zip(members.pairs, texts, strict=True):
        if process is None:
            reasons.add(NO_PROCFS)
            yield vm.uuid, None, *_UNKNOWN
        elif isinstance(text, FileError):
            reasons.add(_UNPRIVILEGED if text.errno in (EACCES, EPERM) else text)
            yield vm.uuid, vm.gen, *_UNKNOWN
        elif text is not None:
            try:
                yield vm.uuid, vm.gen, *parse_io(text)
            except ParseError as error:
                reasons.add(error)
                yield vm.uuid, vm.gen, *_UNKNOWN
        elif not process.gone:
            reasons.add("no /proc/PID/io on this kernel (CONFIG_TASK_IO_ACCOUNTING)")
            yield vm.uuid, vm.gen, *_UNKNOWN


__all__ = ["FAMILY", "sample"]
