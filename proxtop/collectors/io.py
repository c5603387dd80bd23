"""I/O of each VM's process, from /proc/PID/io (kernel: Documentation/filesystems/proc.rst, 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, EPERM

from proxtop.catalog.io import FAMILY, FIELDS
from proxtop.collectors.base import NO_PROCFS, Reasons, Row, processes, table
from proxtop.kernel.errors import FileError, ParseError
from proxtop.kernel.files import Files
from proxtop.kernel.pid_io import parse_io
from proxtop.model import Inventory, Sample, Statistics

_UNPRIVILEGED = "needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (run as root)"
_UNKNOWN = (None,) * len(FIELDS)


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """Counters of every VM at one instant; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    rows: list[Row] = []
    for vm, process in processes(inventory, files, reasons):
        if process is None:
            reasons.add(NO_PROCFS)
            rows.append((vm.uuid, None, *_UNKNOWN))
            continue
        try:
            text = process.read("io")
            if text is not None:
                rows.append((vm.uuid, vm.gen, *parse_io(text)))
            elif not process.gone:
                reasons.add("no /proc/PID/io on this kernel (CONFIG_TASK_IO_ACCOUNTING)")
                rows.append((vm.uuid, vm.gen, *_UNKNOWN))
        except FileError as error:
            reasons.add(_UNPRIVILEGED if error.errno in (EACCES, EPERM) else error)
            rows.append((vm.uuid, vm.gen, *_UNKNOWN))
        except ParseError as error:
            reasons.add(error)
            rows.append((vm.uuid, vm.gen, *_UNKNOWN))
    return Sample(FAMILY.name, {"vm": table(("gen", *FIELDS), rows)}, 0.0, reasons.text)


__all__ = ["FAMILY", "sample"]
