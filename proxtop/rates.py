"""Counters and times → rates. Pure: two tables in, columns out; live, recorded and replayed data share it.

A row has rates when it was there before, is of the same process (`gen`) and none of its counters went back; any other
row starts afresh: None, never 0, never a wrapped number.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Sequence
from operator import sub
from typing import cast

from proxtop.model import Constant, Table, Value

Numbers = list[float | None]

_WRAP = 1 << 32


def number_column(table: Table, name: str) -> Numbers:
    """A column of numbers; a column that is missing is unknown in every row."""
    values = table.columns.get(name)
    return Constant.of(None, len(table.ids)) if values is None else cast(Numbers, values)


def each(function: Callable[..., float | None], *columns: Numbers) -> Numbers:
    """A column of what the function makes of the columns' values, row by row; constants are worked out once."""
    first = columns[0]
    if first and all(column.__class__ is Constant for column in columns):
        return Constant.of(function(*[column[0] for column in columns]), len(first))
    return [function(*row) for row in zip(*columns, strict=True)]


class Deltas:
    """What every counter of a table gained since an earlier reading of it.

    `seconds` is the time between the two readings, one number or one per row (None where the row was not read anew).
    `wraps32` names counters that the kernel keeps in 32 bits: one turn of them is no reset. `born` says that a row
    which was not there before began at zero within the span, if its owner (id up to the slash) is among them; one that
    counts more than `most` by now can't have: it was there before, only not seen.
    """

    __slots__ = ("_gain", "_seconds", "table")

    def __init__(
        self,
        before: Table | None,
        after: Table,
        seconds: float | Sequence[float | None] | None,
        counters: Sequence[str],
        *,
        wraps32: Collection[str] = (),
        born: Collection[str] = (),
        most: float = math.inf,
    ) -> None:
        self.table = after
        self._seconds = seconds
        self._gain: dict[str, Numbers] = {}
        rows = None if before is not None and _aligned(before, after) else _rows(before, after)
        reset: set[int] = set()
        for name in counters:
            now = number_column(after, name)
            then = number_column(before, name) if before is not None else []
            if rows is None:
                gain = _gained(now, then)
            elif born:
                zero = [row < 0 and owner_of(after.ids[place]) in born for place, row in enumerate(rows)]
                gain = [
                    value if fresh else None if row < 0 or value is None or (old := then[row]) is None else value - old
                    for value, row, fresh in zip(now, rows, zero, strict=True)
                ]
                reset.update(
                    place for place, value in enumerate(now) if zero[place] and value is not None and value > most
                )
            else:
                gain = [
                    None if row < 0 or value is None or (old := then[row]) is None else value - old
                    for value, row in zip(now, rows, strict=True)
                ]
            if gain.__class__ is not Constant:
                _unwind(gain, name in wraps32, reset)
            self._gain[name] = gain
        for place in reset:
            for name, gain in self._gain.items():
                if gain.__class__ is Constant:
                    gain = self._gain[name] = list(gain)
                gain[place] = None

    def gain(self, name: str) -> Numbers:
        """What the counter gained, per row."""
        return self._gain[name]

    def rate(self, name: str, factor: float = 1.0) -> Numbers:
        """What the counter gained per second, times `factor`, per row."""
        gain, seconds = self._gain[name], self._seconds
        if isinstance(seconds, Sequence):
            if gain.__class__ is Constant and gain and gain[0] == 0 and all(span and span > 0 for span in seconds):
                return Constant.of(0.0, len(gain))
            return [
                None if value is None or span is None or span <= 0 else value * factor / span
                for value, span in zip(gain, seconds, strict=True)
            ]
        if seconds is None or seconds <= 0:
            return Constant.of(None, len(gain))
        if gain.__class__ is Constant and gain:
            value = gain[0]
            return Constant.of(None if value is None else value * factor / seconds, len(gain))
        return [None if value is None else value * factor / seconds for value in gain]


def _gained(now: Numbers, then: Numbers) -> Numbers:
    """The gains of a counter, row by row; of idle machines most counters stand still."""
    if now == then:
        if None in now:
            return [None if value is None else 0 for value in now]
        return Constant.of(0, len(now))
    try:
        return list(map(sub, cast(list[float], now), cast(list[float], then)))
    except TypeError:  # a value that is unknown
        return [None if value is None or old is None else value - old for value, old in zip(now, then, strict=True)]


def _unwind(gain: Numbers, wraps32: bool, reset: set[int]) -> None:
    """Counters that went back: one turn of 32 bits is put right, any other row is noted as begun anew."""
    if None not in gain and min(cast(list[float], gain), default=0) >= 0:
        return
    for place, value in enumerate(gain):
        if value is not None and value < 0:
            if wraps32 and -_WRAP <= value < -_WRAP // 2:
                gain[place] = value + _WRAP
            else:
                reset.add(place)


def _aligned(before: Table, after: Table) -> bool:
    """Whether both have the same rows of the same processes in the same order."""
    return before.ids == after.ids and before.columns.get("gen") == after.columns.get("gen")


def _rows(before: Table | None, after: Table) -> list[int]:
    """For each row of `after` the place of the same row of the same process in `before`, or -1."""
    if before is None:
        return [-1] * len(after.ids)
    old_gen, gen = before.columns.get("gen"), after.columns.get("gen")
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


def clip(column: Numbers, high: float = 100.0) -> Numbers:
    """A column of shares within 0 and `high`."""
    with contextlib.suppress(TypeError, ValueError):  # one that is unknown, or no row
        if min(cast(list[float], column)) >= 0 and max(cast(list[float], column)) <= high:
            return column
    return each(lambda value: clipped(value, high), column)


def plus(left: Numbers, right: Numbers) -> Numbers:
    """The sum of two columns; None where either is unknown."""
    return each(_plus, left, right)


def less(left: Numbers, right: Numbers) -> Numbers:
    """The difference of two columns; None where either is unknown."""
    return each(_less, left, right)


def _plus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def total(values: Sequence[float | None]) -> float | None:
    """The sum; None where a part is unknown or there is no part."""
    return None if not values or None in values else sum(cast(Sequence[float], values))


def values(numbers: Sequence[float | None]) -> list[Value]:
    """Numbers as a column of a table."""
    return cast(list[Value], numbers)
