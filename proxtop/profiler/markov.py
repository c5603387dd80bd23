"""Markov chains of any order, counted: how often each state followed each past.

A past is the states before, the latest last; shorter than the order where there was nothing before them. Counts are
kept for every order from 0 to `history`: what a long past has not shown yet, a shorter one may have.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

Past = tuple[int, ...]

PRIOR = 2.0
"""Weight, in transitions, of what a shorter past says against what a longer one was seen to do."""

LEAF_PRIOR = 20.0
"""The same, of what the whole time says against what a leaf of the period tree saw."""

_DENSE = 1 << 14
"""Cells up to which a table is an array; a larger one is a dictionary, as most of it would stay empty."""

_RESTART = 1e-9
_EXACT = 64


class _Sparse(dict[int, int]):
    """Cells of which most are 0."""

    __slots__ = ()

    def __missing__(self, key: int) -> int:
        return 0


class Layout:
    """Where the counts of a past lie: orders one after the other, in each the pasts as numbers of base `states`."""

    __slots__ = ("bases", "history", "size", "states")

    def __init__(self, states: int, history: int) -> None:
        self.states, self.history = states, history
        ends = [0]
        for order in range(history + 1):
            ends.append(ends[-1] + states ** (order + 1))
        self.size = ends.pop()
        self.bases = ends

    def place(self, past: Past) -> int:
        """Where the row of that past begins."""
        code = 0
        for state in past:
            code = code * self.states + state
        return self.bases[len(past)] + code * self.states


@lru_cache(maxsize=64)
def layout(states: int, history: int) -> Layout:
    """The one layout for these numbers."""
    return Layout(states, history)


class Counts:
    """Counted transitions of one chain, or of `tables` chains side by side (the leaves of a period tree)."""

    __slots__ = ("cells", "layout", "tables")

    def __init__(self, states: int, history: int, tables: int = 1) -> None:
        self.layout = layout(states, history)
        self.tables = tables
        length = self.layout.size * tables
        self.cells: array[int] | _Sparse = array("I", bytes(4 * length)) if length <= _DENSE else _Sparse()

    def add(self, past: Past, state: int, table: int = 0, count: int = 1) -> None:
        """Counts that `state` followed `past`, and the ends of that past, down to none."""
        start = table * self.layout.size
        place = self.layout.place
        cells = self.cells
        cells[start + state] += count
        for order in range(1, len(past) + 1):
            cells[start + place(past[-order:]) + state] += count

    def put(self, past: Past, state: int, count: int, table: int = 0) -> None:
        """Sets one count; what ends of the past have is not touched."""
        self.cells[table * self.layout.size + self.layout.place(past) + state] = count

    def row(self, past: Past, table: int = 0) -> list[int]:
        """How often each state followed that past."""
        start = table * self.layout.size + self.layout.place(past)
        cells = self.cells
        if isinstance(cells, array):
            return cells[start : start + self.layout.states].tolist()
        return [cells[index] for index in range(start, start + self.layout.states)]

    def total(self, table: int = 0) -> int:
        """Transitions counted."""
        return sum(self.row((), table))

    def rows(self, order: int, table: int = 0) -> Iterator[tuple[Past, list[int]]]:
        """The pasts of that length that were seen, in order, and what followed them."""
        states, size = self.layout.states, self.layout.size
        if isinstance(self.cells, array):
            for past in product(range(states), repeat=order):
                if any(row := self.row(past, table)):
                    yield past, row
            return
        start = table * size + self.layout.bases[order]
        end = start + states ** (order + 1)
        for code in sorted({(cell - start) // states for cell, n in self.cells.items() if start <= cell < end and n}):
            past = _digits(code, order, states)
            yield past, self.row(past, table)

    def merge(self, other: Counts, table: int = 0) -> None:
        """Adds the counts of another chain's table."""
        start = table * other.layout.size
        for index in range(self.layout.size):
            if value := other.cells[start + index]:
                self.cells[index] += value

    def move(self, places: Sequence[int]) -> None:
        """Renames the states: what state i did is from now on what state places[i] did."""
        size = self.layout.size
        found = self.cells.items() if isinstance(self.cells, _Sparse) else enumerate(self.cells)
        moved = _Moved(self.layout, tuple(places))
        fresh = array("I", bytes(4 * size * self.tables)) if isinstance(self.cells, array) else _Sparse()
        for index, count in found:
            if count:
                fresh[index - index % size + moved[index % size]] += count
        self.cells = fresh


class _Moved(dict[int, int]):
    """Cell → cell under new names of the states, worked out when asked."""

    def __init__(self, cells: Layout, places: tuple[int, ...]) -> None:
        super().__init__()
        self._layout, self._places = cells, places

    def __missing__(self, cell: int) -> int:
        states = self._layout.states
        order = sum(cell >= base for base in self._layout.bases[1:])
        digits = _digits(cell - self._layout.bases[order], order + 1, states)
        *past, state = (self._places[digit] for digit in digits)
        self[cell] = found = self._layout.place(tuple(past)) + state
        return found


def _digits(code: int, length: int, states: int) -> Past:
    digits = []
    for _ in range(length):
        code, digit = divmod(code, states)
        digits.append(digit)
    return tuple(reversed(digits))


def predict(counts: Counts, past: Past, leaves: Counts | None = None, leaf: int = 0) -> list[float]:
    """The probability of each next state after that past (at most `history` states of it).

    Interpolated: no past, then a past of one state, of two …, at last the same past at that leaf of the period tree;
    each corrects the one before, p = (c + PRIOR·p') / (n + PRIOR), by what was counted, c of n.
    """
    states = counts.layout.states
    past = past[-counts.layout.history :]
    chances = [1 / states] * states
    for order in range(len(past) + 1):
        chances = corrected(chances, counts.row(past[len(past) - order :]))
    if leaves is not None and past:
        chances = corrected(chances, leaves.row(past, leaf), LEAF_PRIOR)
    return chances


def corrected(chances: list[float], row: list[int], prior: float = PRIOR) -> list[float]:
    """Chances, corrected by what was counted."""
    n = sum(row)
    if not n:
        return chances
    whole = n + prior
    return [(c + prior * p) / whole for c, p in zip(row, chances, strict=True)]


def stationary(counts: Counts) -> dict[Past, float]:
    """The share of time that the chain spends in each past of full length, in the long run; empty without counts.

    Of the chain as counted, without priors. A past that nothing followed yet (the last one seen) goes on as the whole
    does. By elimination (Grassmann, Taksar, Heyman) up to 64 pasts; above, where a counted chain is at balance but for
    one transition in all, as often as it was seen.
    """
    history = counts.layout.history
    rows = dict(counts.rows(history))
    total = sum(map(sum, rows.values()))
    if not total:
        return {}
    seen = {past: sum(row) / total for past, row in rows.items()}
    if len(rows) > _EXACT:
        return seen
    pasts = list(rows)
    place = {past: number for number, past in enumerate(pasts)}
    matrix = []
    for past in pasts:
        n = sum(rows[past])
        chances = [_RESTART * share for share in seen.values()]
        for state, count in enumerate(rows[past]):
            if count:
                following = place.get((*past, state)[1:])
                if following is not None:
                    chances[following] += count / n
                else:
                    for number, share in enumerate(seen.values()):
                        chances[number] += count / n * share
        matrix.append(chances)
    return dict(zip(pasts, _eliminated(matrix), strict=True))


def _eliminated(matrix: list[list[float]]) -> list[float]:
    """The stationary vector of an irreducible stochastic matrix, which is used up."""
    size = len(matrix)
    for last in range(size - 1, 0, -1):
        out = sum(matrix[last][:last])
        for row in range(last):
            matrix[row][last] /= out
            share = matrix[row][last]
            if share:
                for column in range(last):
                    matrix[row][column] += share * matrix[last][column]
    weights = [1.0]
    for number in range(1, size):
        weights.append(sum(weights[row] * matrix[row][number] for row in range(number)))
    whole = sum(weights)
    return [weight / whole for weight in weights]
