"""JSON: one object a line a cycle; numbers are numbers, names are strings, unknown is null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proxtop.catalog import Scope
from proxtop.model import EMPTY, Sample, Snapshot, Stamp, Table, Value
from proxtop.printers.base import NO_SAMPLES, Printer, rounded
from proxtop.view import HOST_PARTS, VM_PARTS, Rows, Selection

Object = dict[str, Any]

ARRAYS: dict[Scope, str] = {
    "vcpu": "vcpus",
    "thread": "threads",
    "disk": "disks",
    "nic": "nics",
    "device": "devices",
    "interface": "interfaces",
}
"""The key of the array that holds a table's rows; each row names itself under its scope (a thread: its role)."""

_ABOUT = ("vmid", "pid", "reason")
_PART_KEYS = 40


class JsonPrinter(Printer):
    """`{"time", "node", "cycle", "span", "host": {…}, "domains": [{"UUID", "name", …}, …]}`.

    With --verbose a domain also has vmid, pid, the reason of what it lacks, and the arrays disks, nics, vcpus and
    threads; the host has devices and interfaces; stale and degraded map families to reasons where there are any.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._about = EMPTY

    def select(self, snapshot: Snapshot) -> Selection:
        self._about = snapshot.tables.get("vm", EMPTY)
        return super().select(snapshot)

    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        head = self._head(selection, stamp)
        head["host"].update(_host_arrays(selection))
        head["domains"] = self._domains(selection)
        return [_dumps(head)]

    def parts(
        self, snapshot: Snapshot, stamp: Stamp, limit: int, samples: Mapping[str, Sample] = NO_SAMPLES
    ) -> list[bytes]:
        """Whole objects of at most `limit` bytes: each with the same time, node, cycle and host figures, and a part of
        the domains and of the host's arrays; `part` counts them from 1, `parts` says how many they are. A domain that
        does not fit into one comes without its arrays, marked `truncated`."""
        selection = self.select(snapshot)
        whole = self.lines(selection, stamp, samples)
        if len(whole[0]) <= limit:
            return whole
        head = self._head(selection, stamp)
        host_arrays = _host_arrays(selection)
        empty = {**head, "host": {**head["host"], **{key: [] for key in host_arrays}}, "domains": []}
        room = limit - len(_dumps(empty)) - _PART_KEYS
        items = [(key, _dumps(row)[:-1]) for key, rows in host_arrays.items() for row in rows]
        items += [("domains", _fitting(domain, room)) for domain in self._domains(selection)]
        groups = _grouped(items, room)
        return [
            _dumps(_object(head, tuple(host_arrays), group) | {"part": number, "parts": len(groups)})
            for number, group in enumerate(groups, 1)
        ]

    def _head(self, selection: Selection, stamp: Stamp) -> Object:
        host = selection.host
        head: Object = {
            "time": round(stamp.time, 3),
            "node": stamp.node,
            "cycle": stamp.cycle,
            "span": round(selection.span, 3),
            "host": {m.name: rounded(m, column)[0] for m, column in zip(host.metrics, host.columns, strict=True)},
        }
        if self.view.verbose:
            for key, value in (("stale", selection.stale), ("degraded", selection.degraded)):
                if value:
                    head[key] = value
            if selection.reason:
                head["reason"] = selection.reason
        return head

    def _domains(self, selection: Selection) -> list[Object]:
        vm = selection.vm
        keys = ("UUID", "name", *(metric.name for metric in vm.metrics))
        columns = [rounded(metric, column) for metric, column in zip(vm.metrics, vm.columns, strict=True)]
        domains: list[Object] = [
            dict(zip(keys, row, strict=True)) for row in zip(vm.ids, selection.names, *columns, strict=True)
        ]
        if self.view.verbose:
            places = {domain["UUID"]: domain for domain in domains}
            _add_about(places, self._about)
            for scope in VM_PARTS:
                if (rows := selection.parts.get(scope)) is not None:
                    _add_parts(places, scope, rows)
        return domains


def _add_about(domains: Mapping[str, Object], table: Table) -> None:
    for key in _ABOUT:
        for uuid, value in zip(table.ids, table.columns.get(key, ()), strict=False):
            if value is not None and uuid in domains:
                domains[uuid][key] = value


def _add_parts(domains: Mapping[str, Object], scope: Scope, rows: Rows) -> None:
    key = ARRAYS[scope]
    for domain in domains.values():
        domain[key] = []
    for identity, row in zip(rows.ids, _objects(scope, rows), strict=True):
        domains[identity.partition("/")[0]][key].append(row)


def _host_arrays(selection: Selection) -> dict[str, list[Object]]:
    return {ARRAYS[scope]: _objects(scope, selection.parts[scope]) for scope in HOST_PARTS if scope in selection.parts}


def _objects(scope: Scope, rows: Rows) -> list[Object]:
    keys = ("role" if scope == "thread" else scope, *(metric.name for metric in rows.metrics))
    columns = [rounded(metric, column) for metric, column in zip(rows.metrics, rows.columns, strict=True)]
    own: list[Value]
    if scope in HOST_PARTS:
        own = list(rows.ids)
    else:
        own = [key.partition("/")[2] for key in rows.ids]
        if scope == "vcpu":
            own = [int(key) if isinstance(key, str) and key.isdecimal() else key for key in own]
    return [dict(zip(keys, row, strict=True)) for row in zip(own, *columns, strict=True)]


def _fitting(domain: Object, room: int) -> bytes:
    data = _dumps(domain)[:-1]
    if len(data) <= room:
        return data
    plain = {key: value for key, value in domain.items() if not isinstance(value, list)}
    return _dumps({**plain, "truncated": True})[:-1]


def _grouped(items: list[tuple[str, bytes]], room: int) -> list[list[tuple[str, bytes]]]:
    groups: list[list[tuple[str, bytes]]] = [[]]
    size = 0
    for item in items:
        length = len(item[1]) + 1
        if groups[-1] and size + length > room:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += length
    return groups


def _object(head: Object, arrays: tuple[str, ...], group: list[tuple[str, bytes]]) -> Object:
    rows: dict[str, list[orjson.Fragment]] = {key: [] for key in (*arrays, "domains")}
    for key, data in group:
        rows[key].append(orjson.Fragment(data))
    domains = rows.pop("domains")
    return {**head, "host": {**head["host"], **rows}, "domains": domains}


def _dumps(value: Object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or an integer past 64 bits
        return orjson.dumps(_safe(value), option=orjson.OPT_APPEND_NEWLINE)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_safe(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value)
    return value
