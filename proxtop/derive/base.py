"""What the derivations share: a reading, and rates of rows that carry their own time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxtop.model import EMPTY, Sample, Table
from proxtop.rates import Deltas, Numbers, number_column

Tables = dict[str, Table]


@dataclass(frozen=True, slots=True)
class Reading:
    """A family's sample with the monotonic second at which it was taken."""

    mono: float
    sample: Sample

    def table(self, name: str) -> Table | None:
        """The sample's table, None where it has none."""
        return self.sample.tables.get(name)


class Derivation(Protocol):
    """One family: two readings in, the snapshot's tables out; gauges alone when there is no earlier reading."""

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The family's part of a snapshot."""


def span(before: Reading | None, after: Reading) -> float | None:
    """Seconds between two readings."""
    return None if before is None else after.mono - before.mono


def deltas(
    name: str, before: Reading | None, after: Reading, counters: Sequence[str], wraps32: Sequence[str] = ()
) -> Deltas | None:
    """The gains of a table's counters between two readings; None where the sample has no such table."""
    table = after.table(name)
    if table is None:
        return None
    return Deltas(before.table(name) if before else None, table, span(before, after), counters, wraps32=wraps32)


@dataclass(slots=True)
class OwnTimes:
    """Rates of rows that are read at times of their own, seldom or out of step with the cycle.

    A row keeps its last rates until it is read anew, or belongs to another process; when its last reading is older than
    two refreshes it is stale and all its values are None.
    """

    counters: Sequence[str]
    _before: Table | None = None
    _times: dict[str, float | None] = field(default_factory=dict)
    _last: tuple[Sequence[str], Sequence[Numbers]] = ((), ())

    def seed(self, table: Table | None) -> None:
        """Begins with a priming sample's rows."""
        if self._before is None and table is not None and table.at is not None:
            self._before = table
            self._times = dict(zip(table.ids, table.at, strict=True))

    def follow(
        self, name: str, before: Reading | None, after: Reading, compute: Callable[[Deltas], Sequence[Numbers]]
    ) -> tuple[Sequence[Numbers], list[bool]]:
        """`rates` of that table of a reading; rows without times of their own are as old as the reading."""
        table = after.table(name) or EMPTY
        times = table.at if table.at is not None else [after.mono] * len(table.ids)
        refresh = max(after.sample.refresh, after.mono - before.mono if before else 0.0)
        self.seed(before.table(name) if before else None)
        return self.rates(table, times, after.mono, refresh, compute)

    def rates(
        self,
        table: Table,
        times: Sequence[float | None],
        now: float,
        refresh: float,
        compute: Callable[[Deltas], Sequence[Numbers]],
    ) -> tuple[Sequence[Numbers], list[bool]]:
        """(the columns that `compute` makes of the gains, which rows are current)."""
        then = self._times
        seconds = [
            None if at is None or (old := then.get(row)) is None else at - old
            for row, at in zip(table.ids, times, strict=True)
        ]
        columns = compute(Deltas(self._before, table, seconds, self.counters))
        fresh = [at != then.get(row) for row, at in zip(table.ids, times, strict=True)]
        current = [at is not None and now - at <= 2 * refresh + 1e-3 for at in times]
        if not (all(fresh) and all(current)):
            columns = self._kept(table, columns, fresh, current)
        self._before = table
        self._times = dict(zip(table.ids, times, strict=True))
        self._last = table.ids, columns
        return columns, current

    def _kept(
        self, table: Table, columns: Sequence[Numbers], fresh: Sequence[bool], current: Sequence[bool]
    ) -> Sequence[Numbers]:
        """The columns with the last rates of rows that were not read anew, and none of those that are stale or of
        another process by now."""
        ids, gens = table.ids, table.columns.get("gen")
        last_ids, last = self._last
        before = self._before.columns.get("gen") if self._before is not None else None
        if not any(fresh) and all(current) and last_ids == ids and gens == before:
            return last
        columns = [list(column) for column in columns]
        places = {row: place for place, row in enumerate(last_ids)}
        for place, row in enumerate(ids):
            if not current[place]:
                for column in columns:
                    column[place] = None
            elif not fresh[place] and (old := places.get(row)) is not None:
                if gens is not None and before is not None and gens[place] != before[old]:
                    continue
                for column, values in zip(columns, last, strict=True):
                    column[place] = values[old]
        return columns


def current_only(table: Table, name: str, current: Sequence[bool]) -> Numbers:
    """A gauge column with None in the rows that are stale."""
    column = number_column(table, name)
    return column if all(current) else [value if valid else None for value, valid in zip(column, current, strict=True)]
