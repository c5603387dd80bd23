"""How often a metric's values are near one another, finer than states: what follows a level ten steps later.

The cells of a percentage are narrow at both ends (0.2 points at 0, 7 at 50), those of all else a third of an octave
wide, so they need no bounds. What a level was followed by is counted for twelve levels, and for all of them together.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import log2

LEVELS = 12
"""What is told apart of the value that was before."""

_PERCENT_CELLS = 36
_EDGE = 0.5
_REACH = log2((100 + _EDGE) / _EDGE)
_CELLS = 72
_PER_OCTAVE = 3
_FULL = 65_535
_PRIOR = 0.5
_LEVEL_PRIOR = 2.0


class Density:
    """Counts of cells, of a percentage or of values that are alike below the grain."""

    __slots__ = ("_counts", "_totals", "cells", "grain", "percent")

    def __init__(self, grain: float = 1.0, *, percent: bool = False) -> None:
        self.grain = grain
        self.percent = percent
        self.cells = _PERCENT_CELLS if percent else _CELLS
        self._counts = array("H", bytes(2 * self.cells * (LEVELS + 1)))
        self._totals = array("I", bytes(4 * (LEVELS + 1)))

    def cell(self, value: float) -> int:
        """The cell of a value; those beyond the ends are at the ends."""
        value = max(value, 0.0)
        if not self.percent:
            return min(int(log2(1 + value / self.grain) * _PER_OCTAVE), _CELLS - 1)
        value = min(value, 100.0)
        place = log2((value + _EDGE) / (100 + _EDGE - value)) / _REACH
        return min(int((place + 1) / 2 * _PERCENT_CELLS), _PERCENT_CELLS - 1)

    def chance(self, before: int | None, cell: int) -> float:
        """Of that cell, where one was seen some steps before (None: not known): a quarter of each neighbour's counts as
        its own. Of all levels together p' = (c + 0.5) / (n + 0.5 · cells), of one p = (c + 2 p') / (n + 2)."""
        share = (self._near(LEVELS, cell) + _PRIOR) / (self._totals[LEVELS] + _PRIOR * self.cells)
        if before is None:
            return share
        level = self._level(before)
        return (self._near(level, cell) + _LEVEL_PRIOR * share) / (self._totals[level] + _LEVEL_PRIOR)

    def add(self, before: int | None, cell: int) -> None:
        """One more."""
        self._count(LEVELS, cell)
        if before is not None:
            self._count(self._level(before), cell)

    def _level(self, cell: int) -> int:
        return cell * LEVELS // self.cells

    def _near(self, level: int, cell: int) -> float:
        counts, place = self._counts, level * self.cells + cell
        own = counts[place]
        left = counts[place - 1] if cell else own
        right = counts[place + 1] if cell + 1 < self.cells else own
        return (2 * own + left + right) / 4

    def _count(self, level: int, cell: int) -> None:
        place = level * self.cells + cell
        if self._counts[place] == _FULL:
            self._halve(level)
        self._counts[place] += 1
        self._totals[level] += 1

    def _halve(self, level: int) -> None:
        """What was seen once stays seen."""
        start = level * self.cells
        halves = [(count + 1) // 2 for count in self._counts[start : start + self.cells]]
        self._counts[start : start + self.cells] = array("H", halves)
        self._totals[level] = sum(halves)

    def rows(self) -> list[list[int]]:
        """The counts of each level and last of all together, without the zeros at their ends."""
        found = []
        for level in range(LEVELS + 1):
            row = list(self._counts[level * self.cells : (level + 1) * self.cells])
            while row and not row[-1]:
                row.pop()
            found.append(row)
        return found

    def restore(self, rows: Sequence[Sequence[int]]) -> None:
        """Takes what was kept; ValueError where it has another shape."""
        if len(rows) != LEVELS + 1 or any(len(row) > self.cells for row in rows):
            raise ValueError("a density of another shape")
        for level, row in enumerate(rows):
            start = level * self.cells
            self._counts[start : start + len(row)] = array("H", row)
            self._totals[level] = sum(row)
