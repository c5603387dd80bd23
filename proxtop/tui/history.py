"""The last ten minutes of snapshots, in little memory. No I/O.

Columns that did not change are shared with the snapshot before; numbers are packed (8 bytes each); everything is
unpacked on demand only. Ten minutes, and at most `LIMIT_BYTES`: the oldest go first.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from proxtop.model import Snapshot, Stamp, Table, Value

SPAN_S = 600.0
LIMIT_BYTES = 112 << 20
LIMIT_COUNT = 3000

_UNKNOWN = -(1 << 63)
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Packed:
    """A column of numbers: floats (NaN is unknown), whole numbers, or whatever it was, as it was."""

    data: array[float] | array[int] | list[Value]

    @property
    def bytes(self) -> int:
        """About the memory that it takes."""
        return len(self.data) * 8 + 80

    def values(self) -> list[Value]:
        """The column as it was."""
        data = self.data
        if isinstance(data, list):
            return data
        if data.typecode == "d":
            return [None if value != value else value for value in data]
        return [None if value == _UNKNOWN else value for value in data]

    def one(self, place: int) -> Value:
        """One value of it."""
        value = self.data[place]
        return None if value != value or value == _UNKNOWN else value


def packed(column: list[Value]) -> Packed:
    """The column in as little memory as keeps its values and their types."""
    kinds = set(map(type, column))
    try:
        if kinds <= {float, type(None)}:
            floats = cast(list[float | None], column)
            return Packed(array("d", [_NAN if value is None else value for value in floats]))
        if kinds <= {int, type(None)}:
            whole = cast(list[int | None], column)
            return Packed(array("q", [_UNKNOWN if value is None else value for value in whole]))
    except OverflowError:
        pass
    return Packed(column)


@dataclass(frozen=True, slots=True)
class PackedTable:
    """A table; `ids` and columns are shared with the entry before where they are the same."""

    ids: list[str]
    columns: dict[str, Packed]
    places: dict[str, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One cycle: its stamp, the snapshot without its tables, and the tables packed. `at` is the monotonic second on
    this machine at which it came."""

    stamp: Stamp
    at: float
    rest: Snapshot
    tables: dict[str, PackedTable]
    bytes: int

    def snapshot(self) -> Snapshot:
        """The cycle as it came."""
        tables = {
            name: Table(table.ids, {key: column.values() for key, column in table.columns.items()})
            for name, table in self.tables.items()
        }
        return replace(self.rest, tables=tables)

    def value(self, table: str, row: str, column: str) -> Value:
        """One value, None where it is unknown or there is no such row or column."""
        found = self.tables.get(table)
        if found is None or (place := found.places.get(row)) is None or (cells := found.columns.get(column)) is None:
            return None
        return cells.one(place)


class History:
    """The cycles of one host, oldest first."""

    def __init__(self, span: float = SPAN_S, limit: int = LIMIT_BYTES, count: int = LIMIT_COUNT) -> None:
        self._entries: deque[Entry] = deque()
        self._span = span
        self._limit = limit
        self._count = count
        self.bytes = 0
        self._raw: dict[str, Table] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def share(self, limit: int) -> None:
        """At most so many bytes from now on: other hosts' histories want memory too."""
        self._limit = limit

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, stamp: Stamp, snapshot: Snapshot, at: float) -> None:
        """Takes the newest cycle; forgets what is too old or too much. Of several that come at once each has an instant
        of its own, by which it is found."""
        last = self._entries[-1] if self._entries else None
        if last is not None and at <= last.at:
            at = math.nextafter(last.at, math.inf)
        size = 512
        tables = {}
        for name, table in snapshot.tables.items():
            before = last.tables.get(name) if last is not None else None
            tables[name], grown = _shared(table, before, self._raw.get(name))
            size += grown
        self._raw = dict(snapshot.tables)
        self._entries.append(Entry(stamp, at, replace(snapshot, tables={}), tables, size))
        self.bytes += size
        while len(self._entries) > 1 and (
            at - self._entries[0].at > self._span or self.bytes > self._limit or len(self._entries) > self._count
        ):
            self.bytes -= self._entries.popleft().bytes

    def find(self, at: float | None) -> Entry | None:
        """The cycle that came at that second or the first one after it; the newest for None."""
        if at is None or not self._entries:
            return self._entries[-1] if self._entries else None
        return next((entry for entry in self._entries if entry.at >= at), self._entries[-1])

    def step(self, at: float | None, steps: int) -> float | None:
        """The second of the cycle that many steps after that one (before it, where negative), within what there is."""
        if not self._entries:
            return None
        times = [entry.at for entry in self._entries]
        place = len(times) - 1 if at is None else next((n for n, t in enumerate(times) if t >= at), len(times) - 1)
        return times[max(0, min(len(times) - 1, place + steps))]

    def since(self, seconds: float, until: float | None = None) -> list[Entry]:
        """The cycles of the last seconds before `until` (the newest's time), oldest first."""
        end = until if until is not None else self._entries[-1].at if self._entries else 0.0
        found = []
        for entry in reversed(self._entries):
            if entry.at > end:
                continue
            if end - entry.at > seconds:
                break
            found.append(entry)
        return found[::-1]


def _shared(table: Table, before: PackedTable | None, raw: Table | None) -> tuple[PackedTable, int]:
    """The table packed, with all that is the same as before shared; and the bytes that are new."""
    same = before is not None and before.ids == table.ids
    columns: dict[str, Packed] = {}
    grown = len(table.columns) * 8
    for name, column in table.columns.items():
        if (
            same
            and before is not None
            and raw is not None
            and raw.columns.get(name) == column
            and name in before.columns
        ):
            columns[name] = before.columns[name]
            continue
        columns[name] = packed(column)
        grown += columns[name].bytes
    if same and before is not None:
        return PackedTable(before.ids, columns, before.places), grown
    return PackedTable(table.ids, columns, {row: place for place, row in enumerate(table.ids)}), grown + 200 * len(
        table.ids
    )


def series(entries: Sequence[Entry], table: str, row: str, column: str) -> list[float | None]:
    """The values of one row and column over these cycles; None where unknown."""
    found = (entry.value(table, row, column) for entry in entries)
    return [float(value) if isinstance(value, int | float) else None for value in found]
