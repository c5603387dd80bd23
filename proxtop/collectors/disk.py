"""Disks: the host's block devices, the connector's block statistics, the images where they can be seen, and each VM's
wait for block I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxtop.catalog.disk import BLOCKSTATS, FAMILY
from proxtop.collectors.base import NO_PROCFS, Reasons, Row, picked, processes, table, taken, times, unseen
from proxtop.kernel.diskstats import FIELDS, DiskStats, parse_diskstats
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.kernel.images import Image, look
from proxtop.kernel.pid_stat import parse_blkio_ticks
from proxtop.kernel.sys_block import describe, is_partition
from proxtop.model import EMPTY, Columns, Disk, Inventory, Sample, Statistics, Table

_STATISTICS = tuple(column.name for column in BLOCKSTATS)
_UNUSED_HIDDEN = ("loop", "ram", "zram")
_NAMES_EVERY_S = 30.0
_LOOK_EVERY_S = 5.0


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """The host's devices, the VMs' disks as read last (each row with its time), and the VMs."""
    reasons = Reasons(FAMILY.name)
    accounted = _accounted(inventory, files)
    rows: list[Row] = []
    for vm, process in processes(inventory, files, reasons).pairs:
        ticks = None
        if process is not None and accounted:
            try:
                ticks = _blkio_ticks(process)
                if process.gone:
                    continue
            except KernelError as error:
                reasons.add(error)
        rows.append((vm.uuid, vm.gen, ticks))
    block = source.get("block")
    if block is not None:
        reasons.add(block.reason)
    elif any(vm.disks for vm in inventory.vms):
        reasons.add("no block statistics from the connector yet")
    tables = {
        "device": _devices(inventory, files, reasons),
        "disk": _disks(inventory, block, files),
        "vm": table(("gen", "blkio_ticks"), rows),
    }
    return Sample(FAMILY.name, tables, 0.0 if block is None else block.refresh, reasons.text)


def _accounted(inventory: Inventory, files: Files) -> bool:
    """Whether the kernel may account delays: kernel.task_delayacct is not 0. A kernel before 5.14 has no such file and
    may account them or not."""
    if unseen(inventory, files):
        return False
    try:
        text = files.proc("sys/kernel/task_delayacct")
    except KernelError:
        return False
    return text is None or text.strip() != b"0"


def _blkio_ticks(process: Process) -> int | None:
    """None too for 0: a process that started before the accounting stays there, however long it waits."""
    text = process.read("stat")
    return None if text is None else parse_blkio_ticks(text) or None


def _disks(inventory: Inventory, block: Statistics | None, files: Files) -> Table:
    vms = {vm.uuid: vm for vm in inventory.vms}
    known = {f"{vm.uuid}/{disk.name}": disk for vm in inventory.vms for disk in vm.disks}
    ids, places = picked(block, vms)
    disks = [known.get(row) for row in ids]
    columns = taken(block, _STATISTICS, places)
    _fill_in(columns, disks, files)
    columns["gen"] = [vms[row.partition("/")[0]].gen for row in ids]
    columns["source"] = [None if disk is None else disk.source for disk in disks]
    columns["device"] = [None if disk is None else disk.device for disk in disks]
    return Table(ids, columns, times(block, places))


def _fill_in(columns: Columns, disks: Sequence[Disk | None], files: Files) -> None:
    """The sizes that hypervisors do not tell, of images that can be looked at: a device's is its own affair, a file's
    blocks QEMU knows best."""
    images = files.memory(_Images).look(files, [None if disk is None else disk.image for disk in disks])
    allocation, physical = columns["allocation"], columns["physical"]
    for place, image in enumerate(images):
        if image is not None:
            physical[place] = image.size
            if image.device or allocation[place] is None:
                allocation[place] = image.taken


class _Images:
    """What images were seen to be last: each is looked at again after a while."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, Image | None]] = {}

    def look(self, files: Files, paths: Sequence[str | None]) -> list[Image | None]:
        """Of each path its image; those that are not asked for are forgotten."""
        now = files.clock()
        before, self._seen = self._seen, {}
        for path in paths:
            if path is not None and path not in self._seen:
                known = before.get(path)
                fresh = known is not None and now - known[0] < _LOOK_EVERY_S
                self._seen[path] = known if fresh and known is not None else (now, look(path, files.sysfs or ""))
        return [None if path is None else self._seen[path][1] for path in paths]


def _devices(inventory: Inventory, files: Files, reasons: Reasons) -> Table:
    if unseen(inventory, files):
        reasons.add(NO_PROCFS)
        return EMPTY
    try:
        text = files.proc("diskstats")
        if text is None:
            reasons.add(f"{files.procfs}/diskstats: not there")
            return EMPTY
        stats = parse_diskstats(text)
    except KernelError as error:
        reasons.add(error)
        return EMPTY
    names = files.memory(_Names)
    names.adopt(files, stats.names)
    used = _used(stats)
    places = [place for place in names.whole if used[place] or not stats.names[place].startswith(_UNUSED_HIDDEN)]
    ids = [stats.names[place] for place in places]
    described = [names.described[name] for name in ids]
    columns: Columns = {"name": [name for name, _ in described], "type": [kind for _, kind in described]}
    for name, column in zip(FIELDS, stats.columns, strict=True):
        columns[name] = [column[place] for place in places]
    return Table(ids, columns)


def _used(stats: DiskStats) -> list[bool]:
    reads, writes = stats.columns[FIELDS.index("reads")], stats.columns[FIELDS.index("writes")]
    return [read + written > 0 for read, written in zip(reads, writes, strict=True)]


class _Names:
    """The whole devices by their place in diskstats, with friendly names and types. A volume may be renamed, or another
    one take its number, without a change of the kernel's names: so they are all looked up again by turns."""

    __slots__ = ("_at", "_next", "_table", "described", "whole")

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.described: dict[str, tuple[str, str]] = {}
        self._table: list[str] = []
        self._at = 0.0
        self._next = 0

    def adopt(self, files: Files, table: list[str]) -> None:
        """Looks up what is new; of the rest as many as are due."""
        now = files.clock()
        if table != self._table:
            known = self.described
            members = set(table)
            self._table = table
            self.whole = [place for place, name in enumerate(table) if not is_partition(files.sysfs, name, members)]
            whole = (table[place] for place in self.whole)
            self.described = {name: known.get(name) or describe(files.sysfs, name) for name in whole}
        elif self.described:
            names = list(self.described)
            due = min(len(names), int((now - self._at) * len(names) / _NAMES_EVERY_S))
            if not due:
                return
            for _ in range(due):
                name = names[self._next % len(names)]
                self.described[name] = describe(files.sysfs, name)
                self._next += 1
        self._at = now


__all__ = ["FAMILY", "sample"]
