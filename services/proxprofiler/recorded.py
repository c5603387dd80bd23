"""Recorded cycles, JSON lines or CSV as proxtop prints them, back into snapshots. Lines come in, no file is opened."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from statistics import median
from typing import Any

from proxtop.catalog import FAMILIES
from proxtop.model import Columns, Snapshot, Table, Value
from proxtop.printers.csv import KEYS, host_field

_LOOK_AHEAD = 16
_MOST = 1e300
"""No number of a VM is as large: what is, is unknown."""


class RecordedError(ValueError):
    """A line that is no recorded cycle: its number and what is wrong."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A cycle of a host, with its time in seconds since 1970."""

    node: str
    time: float
    snapshot: Snapshot


def cycles(lines: Iterable[str]) -> Iterator[Recorded]:
    """The cycles of a recording, whichever of the two it is; RecordedError names the line that is none."""
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if line.strip():
            rest = chain([(number, line)], numbered)
            yield from _json(rest) if line.lstrip().startswith("{") else _csv(rest)
            return


def interval(found: Iterator[Recorded]) -> tuple[float | None, Iterator[Recorded]]:
    """(seconds between two cycles of one host, all the cycles): the median of the first few; None of a single one."""
    first = [cycle for _, cycle in zip(range(_LOOK_AHEAD), found, strict=False)]
    last: dict[str, float] = {}
    gaps = []
    for cycle in first:
        if (gap := cycle.time - last.get(cycle.node, cycle.time)) > 0:
            gaps.append(gap)
        last[cycle.node] = cycle.time
    return (round(median(gaps), 3) if gaps else None), chain(first, found)


def _json(lines: Iterable[tuple[int, str]]) -> Iterator[Recorded]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            node, time = str(raw["node"]), _seconds(raw["cycle"])
            domains, host = raw["domains"], raw["host"]
            ids = [str(domain["UUID"]) for domain in domains]
            names = dict.fromkeys(key for domain in domains for key in domain if key != "UUID")
            columns = {name: [_scalar(domain.get(name)) for domain in domains] for name in names}
            values = {str(name): _scalar(value) for name, value in host.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise RecordedError(f"line {number} is no cycle of proxtop's json printer ({_why(error)})") from None
        yield Recorded(node, time, _snapshot(node, ids, columns, values))


def _seconds(cycle: Any) -> float:
    """A cycle in ms since 1970 in seconds; ValueError for what is no such number."""
    time: float = cycle / 1000
    if not isfinite(time):
        raise ValueError(f"{cycle} is no cycle in ms")
    return time


def _scalar(value: Any) -> Value:
    if isinstance(value, int | float) and not abs(value) < _MOST:
        return None
    return value if isinstance(value, int | float | str | bool) else None


def _csv(lines: Iterable[tuple[int, str]]) -> Iterator[Recorded]:
    """A row for each VM and cycle; the rows of a cycle follow one another. A header may come again: a recording that
    went on."""
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for number, line in lines:  # noqa: B007 - the reader asks for it in the middle of a row
            yield line

    def read() -> Iterator[list[str]]:
        try:
            yield from csv.reader(texts())
        except csv.Error as error:
            raise RecordedError(f"line {number} is no row of proxtop's csv printer ({error})") from None

    host = {
        host_field(metric): metric.name
        for family in FAMILIES.values()
        for metric in family.metrics
        if metric.scope == "host"
    }
    fields: list[str] = []
    key: tuple[str, str] | None = None
    rows: list[dict[str, str]] = []
    for row in read():
        if tuple(row[: len(KEYS)]) == KEYS:
            fields = row
            continue
        if not row:
            continue
        if len(row) != len(fields):
            what = "the header of proxtop's csv printer is missing" if not fields else f"{len(row)} fields"
            raise RecordedError(f"line {number} is no row of proxtop's csv printer ({what})")
        named = dict(zip(fields, row, strict=True))
        if key is not None and (named["node"], named["cycle"]) != key:
            yield _group(rows, host, number)
            rows = []
        key = named["node"], named["cycle"]
        rows.append(named)
    if rows:
        yield _group(rows, host, number)


def _group(rows: list[dict[str, str]], host: dict[str, str], number: int) -> Recorded:
    first = rows[0]
    try:
        time = _seconds(int(first["cycle"]))
    except (ValueError, OverflowError):
        raise RecordedError(f"line {number}: {first['cycle']!r} is no cycle in ms") from None
    vms = [row for row in rows if row["UUID"]]
    shown = [name for name in first if name not in KEYS and name not in host]
    columns: Columns = {name: [_number(row[name]) for row in vms] for name in shown}
    columns["name"] = [row["name"] for row in vms]
    values = {name: _number(first[field]) for field, name in host.items() if field in first}
    return Recorded(first["node"], time, _snapshot(first["node"], [row["UUID"] for row in vms], columns, values))


def _number(text: str) -> Value:
    try:
        return _scalar(float(text))
    except ValueError:
        return text or None


def _snapshot(node: str, ids: list[str], columns: Columns, host: dict[str, Value]) -> Snapshot:
    tables = {"host": Table([node], {name: [value] for name, value in host.items()}), "vm": Table(ids, columns)}
    return Snapshot(tables, span=0.0, families=tuple(FAMILIES), connector="recorded")


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
