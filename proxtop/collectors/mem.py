"""Memory: the host's meminfo, each VM's process, and its balloon as the connector read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from proxtop.catalog.mem import FAMILY, MEMINFO_KEYS, meminfo_name
from proxtop.collectors.base import (
    NO_PROCFS,
    Members,
    Reasons,
    Row,
    Sheet,
    all_of,
    host_table,
    processes,
    table,
    times,
    unseen,
)
from proxtop.kernel.batch import Outcome
from proxtop.kernel.errors import FileError, KernelError
from proxtop.kernel.files import PAGE_KB, Files, Process
from proxtop.kernel.meminfo import parse_meminfo
from proxtop.kernel.pid_stat import parse_memories, parse_memory
from proxtop.kernel.pid_status import parse_status
from proxtop.model import EMPTY, Inventory, Sample, Statistics, Table

_PROCESS = ("vsize_kb", "rss_kb", "swap_kb", "minflt", "majflt", "cminflt", "cmajflt")
_BALLOON = ("actual_kb", "available_kb", "unused_kb", "usable_kb", "swap_in_kb", "swap_out_kb")
_UNKNOWN = (None,) * len(_PROCESS)
_NAMES = {key: meminfo_name(key) for key in MEMINFO_KEYS}
_SLACK_S = 0.001


class _Stat(Sheet):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("stat")


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """The host's memory and every VM's; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    host = _host(inventory, files, reasons)
    # most hosts do not swap: then no VM does, and its status, dear to read, has no more to say than its stat
    plain = _is_kernels(files) and host.columns["ram_SwapTotal"] == host.columns["ram_SwapFree"] != [None]
    members = processes(inventory, files, reasons)
    vms = _vms(members, files.memory(_Stat).read(members, files), plain, reasons)
    balloon = source.get("balloon")
    if balloon is not None:
        reasons.add(balloon.reason)
    elif vms.ids:
        reasons.add("no guest statistics from the connector yet")
    _add_balloon(vms, balloon, files.clock())
    tables = {"host": host, "vm": vms}
    return Sample(FAMILY.name, tables, 0.0 if balloon is None else balloon.refresh, reasons.text)


def _is_kernels(files: Files) -> bool:
    """Whether this machine's kernel itself wrote meminfo: lxcfs has a container's there, which may leave swap out. Only
    what is the kernel's is kept open."""
    return files.here and files.file(f"{files.procfs}/meminfo").descriptor >= 0


def _vms(members: Members, texts: list[Outcome], plain: bool, reasons: Reasons) -> Table:
    counters = all_of(parse_memories, texts) if plain else None
    if counters is not None:
        minflt, cminflt, majflt, cmajflt, vsize, rss = counters
        columns: dict[str, Any] = {
            "gen": members.gens,
            "total_kb": [vm.memory_kb for vm, _ in members.pairs],
            "vsize_kb": [size >> 10 for size in vsize],
            "rss_kb": [pages * PAGE_KB for pages in rss],
            "swap_kb": [0] * len(texts),
            "minflt": minflt,
            "majflt": majflt,
            "cminflt": cminflt,
            "cmajflt": cmajflt,
        }
        return Table(members.ids, columns)
    rows: list[Row] = []
    for (vm, process), text in zip(members.pairs, texts, strict=True):
        values: tuple[int | None, ...] | None = _UNKNOWN
        if process is not None:
            try:
                values = _process(process, text, plain)
            except KernelError as error:
                reasons.add(error)
        if values is not None:
            rows.append((vm.uuid, vm.gen, vm.memory_kb, *values))
    return table(("gen", "total_kb", *_PROCESS), rows)


def _process(process: Process, text: Outcome, plain: bool) -> tuple[int | None, ...] | None:
    if isinstance(text, FileError):
        raise text
    if text is None:
        return None
    minflt, cminflt, majflt, cmajflt, vsize, rss = parse_memory(text)
    rss_kb: int | None = rss * PAGE_KB
    swap_kb: int | None = 0
    if not plain:
        text = process.read("status")
        if text is None:
            return None
        rss_kb, swap_kb = parse_status(text)
    return (vsize >> 10, rss_kb, swap_kb, minflt, majflt, cminflt, cmajflt)


def _add_balloon(vms: Table, balloon: Statistics | None, now: float) -> None:
    """Adds the balloon's columns; a reading that is older than two refreshes is unknown."""
    known = EMPTY if balloon is None else balloon.table
    refresh = 0.0 if balloon is None else balloon.refresh
    at = times(balloon, range(len(known.ids)))
    oldest = now - 2 * refresh - _SLACK_S if refresh else -math.inf
    fresh = {
        row: place
        for place, (row, time) in enumerate(zip(known.ids, at, strict=True))
        if time is None or time >= oldest
    }
    places = [fresh.get(row) for row in vms.ids]
    columns = {**{name: known.columns.get(name) for name in _BALLOON}, "balloon_at": at}
    for name, column in columns.items():
        vms.columns[name] = [None if place is None or column is None else column[place] for place in places]


def _host(inventory: Inventory, files: Files, reasons: Reasons) -> Table:
    columns: dict[str, int | None] = dict.fromkeys(_NAMES.values())
    if unseen(inventory, files):
        reasons.add(NO_PROCFS)
        return host_table(files, columns)
    try:
        text = files.proc("meminfo")
        if text is None:
            reasons.add(f"{files.procfs}/meminfo: not there")
        else:
            for key, value in parse_meminfo(text).items():
                columns[_NAMES.get(key) or meminfo_name(key)] = value
    except KernelError as error:
        reasons.add(error)
    return host_table(files, columns)


__all__ = ["FAMILY", "sample"]
