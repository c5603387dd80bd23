"""Devices → the host's figures: one number over the disks, or the interfaces, that are counted. Pure.

A total stands for the devices whose value is known, and is None where none is: a disk that was plugged in a moment ago
does not blank its host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from proxtop import catalog
from proxtop.model import Columns, Table, Value

_DISK = "disk_device_"
_NET = "net_host_"
_MS = 1000

_OWN_FORMULA = {f"{_DISK}ioutil", f"{_DISK}servicetime", f"{_DISK}await", f"{_DISK}count"}
_DISK_SUMS = tuple(
    metric.name
    for metric in catalog.FAMILIES["disk"].metrics
    if metric.scope == "host" and metric.name not in _OWN_FORMULA
)
_NET_SUMS = tuple(metric.name for metric in catalog.FAMILIES["net"].metrics if metric.scope == "host")


def whole_disks(devices: Table) -> list[str]:
    """The ids of the physical whole disks: what the host's disk figures stand for unless told otherwise."""
    return _of_type(devices, "disk_device_type", "disk")


def physical_interfaces(interfaces: Table) -> list[str]:
    """The ids of the physical interfaces: what the host's network figures stand for unless told otherwise."""
    return _of_type(interfaces, "net_host_type", "physical")


def chosen(table: Table, patterns: Iterable[str], friendly: str | None = None) -> tuple[list[str], list[str]]:
    """(ids that some glob matches, by kernel name or by the column `friendly`; the globs that match nothing)."""
    names = table.columns.get(friendly, []) if friendly else []
    found: set[str] = set()
    missing = []
    for pattern in patterns:
        plain = pattern.removeprefix("/dev/").removeprefix("mapper/")
        hits = {key for key in table.ids if fnmatchcase(key, plain)}
        hits.update(
            key
            for key, name in zip(table.ids, names, strict=False)
            if isinstance(name, str) and fnmatchcase(name, plain)
        )
        found |= hits
        if not hits:
            missing.append(pattern)
    return [key for key in table.ids if key in found], missing


def host_devices(devices: Table, names: Collection[str] | None = None) -> Columns:
    """The host's `disk_device_*` figures, one row, over the devices of those ids; by default the whole disks.

    Rates and requests in flight add up; ioutil is the busiest device's; await and service time are per request over
    all of them (sysstat's definitions), None without requests.
    """
    rows = _rows(devices, whole_disks(devices) if names is None else names)
    known = "disk_device_reads" in devices.columns
    result: dict[str, Value] = {name: _sum(_numbers(devices, name, rows)) for name in _DISK_SUMS}
    reads = _numbers(devices, f"{_DISK}reads", rows)
    writes = _numbers(devices, f"{_DISK}writes", rows)
    requests = [None if r is None or w is None else r + w for r, w in zip(reads, writes, strict=True)]
    busy = _numbers(devices, f"{_DISK}ioutil", rows)
    queued = _numbers(devices, f"{_DISK}queuelen", rows)
    result[f"{_DISK}ioutil"] = max((value for value in busy if value is not None), default=None)
    result[f"{_DISK}servicetime"] = _per_request([None if b is None else b / 100 * _MS for b in busy], requests)
    result[f"{_DISK}await"] = _per_request([None if q is None else q * _MS for q in queued], requests)
    result[f"{_DISK}count"] = len(rows) if known else None
    return {name: [value] for name, value in result.items()}


def host_interfaces(interfaces: Table, names: Collection[str] | None = None) -> Columns:
    """The host's `net_host_*` figures, one row, over the interfaces of those ids; by default the physical ones."""
    rows = _rows(interfaces, physical_interfaces(interfaces) if names is None else names)
    return {name: [_sum(_numbers(interfaces, name, rows))] for name in _NET_SUMS}


def _of_type(table: Table, column: str, kind: str) -> list[str]:
    types = table.columns.get(column, [])
    return [key for key, value in zip(table.ids, types, strict=False) if value == kind]


def _rows(table: Table, names: Collection[str]) -> list[int]:
    wanted = frozenset(names)
    return [row for row, key in enumerate(table.ids) if key in wanted]


def _numbers(table: Table, column: str, rows: list[int]) -> list[float | None]:
    values = table.columns.get(column)
    if values is None:
        return [None] * len(rows)
    picked = (values[row] for row in rows)
    return [value if isinstance(value, int | float) else None for value in picked]


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _per_request(milliseconds: list[float | None], requests: list[float | None]) -> float | None:
    pairs = [(t, n) for t, n in zip(milliseconds, requests, strict=True) if t is not None and n is not None]
    total = sum(n for _, n in pairs)
    return sum(t for t, _ in pairs) / total if total > 0 else None
