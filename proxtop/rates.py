"""Counters and times → rates. Pure: two tables in, columns out; live, recorded and replayed data share it.

A row has rates when it was there before, is of the same process (`gen`) and none of its counters went back; any other
row starts afresh: None, never 0, never a wrapped number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from proxtop.model import Table, Value

Numbers = list[float | None]

_WRAP = 1 << 32


def number_column(table: Table, name: str) -> Numbers:
    """A column of numbers; a column that is missing is unknown in every row."""
    values = table.columns.get(name)
    return [None] * len(table.ids) if values is None else cast(Numbers, values)


class Deltas:
    """What every counter of a table gained since an earlier reading of it.

    `seconds` is the time between the two readings, one number or one per row (None where the row was not read anew).
    `wraps32` names counters that the kernel keeps in 32 bits: one turn of them is no reset. `born` says that a row
    which was not there before began at zero within the span, if its owner (id up to the slash) is among `owners`.
    """

    __slots__ = ("_gain", "seconds", "table")

    def __init__(
        self,
        before: Table | None,
        after: Table,
        seconds: float | Sequence[float | None] | None,
        counters: Sequence[str],
        *,
        wraps32: Collection[str] = (),
        born: Collection[str] = (),
    ) -> None:
        self.table = after
        size = len(after.ids)
        spans = seconds if isinstance(seconds, Sequence) else [seconds] * size
        self.seconds: Numbers = [None if span is None or span <= 0 else span for span in spans]
        rows = _rows(before, after) if before is not None else [-1] * size
        self._gain: dict[str, Numbers] = {}
        reset: set[int] = set()
        for name in counters:
            now = number_column(after, name)
            then = number_column(before, name) if before is not None else []
            if born:
                zero = [row < 0 and owner_of(after.ids[place]) in born for place, row in enumerate(rows)]
                gain: Numbers = [
                    value if fresh else None if row < 0 or value is None or (old := then[row]) is None else value - old
                    for value, row, fresh in zip(now, rows, zero, strict=True)
                ]
            else:
                gain = [
                    None if row < 0 or value is None or (old := then[row]) is None else value - old
                    for value, row in zip(now, rows, strict=True)
                ]
            for place, value in enumerate(gain):
                if value is not None and value < 0:
                    if name in wraps32 and -_WRAP <= value < -_WRAP // 2:
                        gain[place] = value + _WRAP
                    else:
                        reset.add(place)
            self._gain[name] = gain
        for place in reset:
            for gain in self._gain.values():
                gain[place] = None

    def gain(self, name: str) -> Numbers:
        """What the counter gained, per row."""
        return self._gain[name]

    def rate(self, name: str, factor: float = 1.0) -> Numbers:
        """What the counter gained per second, times `factor`, per row."""
        return [
            None if value is None or span is None else value * factor / span
            for value, span in zip(self._gain[name], self.seconds, strict=True)
        ]


def _rows(before: Table, after: Table) -> list[int]:
    """For each row of `after` the place of the same row of the same process in `before`, or -1."""
    old_gen, gen = before.columns.get("gen"), after.columns.get("gen")
    if before.ids == after.ids and old_gen == gen:
        return list(range(len(after.ids)))
    places = {row: place for place, row in enumerate(before.ids)}
    rows = [places.get(row, -1) for row in after.ids]
    if gen is not None and old_gen is not None:
        rows = [row if row >= 0 and old_gen[row] == own else -1 for row, own in zip(rows, gen, strict=True)]
    return rows


def owner_of(row: str) -> str:
    """The UUID of the VM whose part a row is."""
    return row.partition("/")[0]


def ratio(above: float | None, below: float | None, factor: float = 1.0) -> float | None:
    """above / below x factor; None where either is unknown or there is nothing to divide by."""
    return None if above is None or not below else above * factor / below


def clipped(value: float | None, high: float = 100.0) -> float | None:
    """A share within 0 and `high`: the kernel updates its counters at ticks, so a share can overshoot by one."""
    return None if value is None else 0.0 if value < 0 else min(value, high)


def total(values: Sequence[float | None]) -> float | None:
    """The sum; None where a part is unknown or there is no part."""
    return None if not values or None in values else sum(cast(Sequence[float], values))


def values(numbers: Sequence[float | None]) -> list[Value]:
    """Numbers as a column of a table."""
    return cast(list[Value], numbers)
