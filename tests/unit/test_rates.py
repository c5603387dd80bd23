"""Rates: never negative, never invented; wraps, resets, restarts and rows that come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.model import Table
from proxtop.rates import Deltas, clipped, ratio, total


def _table(ids: list[str], gens: list[int | None] | None = None, **columns: list[int | None]) -> Table:
    everything = {name: list(column) for name, column in columns.items()}
    if gens is not None:
        everything["gen"] = list(gens)
    return Table(ids, everything)  # type: ignore[arg-type]


def test_a_rate_is_the_gain_over_the_time() -> None:
    gains = Deltas(_table(["a", "b"], x=[10, 5]), _table(["a", "b"], x=[30, 5]), 4.0, ["x"])
    assert gains.rate("x") == [5.0, 0.0]


def test_rows_are_matched_by_id_whatever_their_order() -> None:
    gains = Deltas(_table(["a", "b"], x=[10, 100]), _table(["b", "c", "a"], x=[110, 7, 12]), 1.0, ["x"])
    assert gains.rate("x") == [10.0, None, 2.0]


def test_another_process_starts_afresh() -> None:
    gains = Deltas(_table(["a", "b"], [1, 2], x=[10, 10]), _table(["a", "b"], [1, 3], x=[12, 99]), 1.0, ["x"])
    assert gains.rate("x") == [2.0, None]


def test_one_counter_that_went_back_makes_the_whole_row_start_afresh() -> None:
    gains = Deltas(_table(["a", "b"], x=[10, 10], y=[5, 5]), _table(["a", "b"], x=[9, 11], y=[50, 6]), 1.0, ["x", "y"])
    assert gains.rate("x") == [None, 1.0]
    assert gains.rate("y") == [None, 1.0]


def test_a_turn_of_a_32_bit_counter_is_no_reset() -> None:
    before, after = _table(["a", "b"], x=[2**32 - 10, 100]), _table(["a", "b"], x=[5, 90])
    assert Deltas(before, after, 1.0, ["x"], wraps32=["x"]).rate("x") == [15.0, None]


def test_a_row_born_in_a_vm_that_lived_counts_from_zero() -> None:
    gains = Deltas(_table(["a/1"], x=[5]), _table(["a/1", "a/2", "b/1"], x=[6, 7, 8]), 1.0, ["x"], born={"a"})
    assert gains.rate("x") == [1.0, 7.0, None]


def test_unknown_values_and_times_stay_unknown() -> None:
    before, after = _table(["a", "b"], x=[None, 1]), _table(["a", "b"], x=[5, None])
    assert Deltas(before, after, 1.0, ["x", "missing"]).rate("x") == [None, None]
    assert Deltas(before, after, 1.0, ["missing"]).rate("missing") == [None, None]
    assert Deltas(None, after, 1.0, ["x"]).rate("x") == [None, None]
    assert Deltas(after, after, 0.0, ["x"]).rate("x") == [None, None]
    assert Deltas(after, after, [None, 2.0], ["x"]).rate("x") == [None, None]


_COUNTER = st.none() | st.integers(0, 2**64 - 1)
_ROWS = st.dictionaries(st.sampled_from("abcdef"), st.tuples(_COUNTER, _COUNTER, st.integers(0, 2)), max_size=6)


@given(_ROWS, _ROWS, st.floats(0, 1e6) | st.none())
def test_no_rate_is_ever_negative(
    then: dict[str, tuple[int, int, int]], now: dict[str, tuple[int, int, int]], seconds: float | None
) -> None:
    def table(rows: dict[str, tuple[int, int, int]]) -> Table:
        return _table(
            list(rows),
            [row[2] for row in rows.values()],
            x=[row[0] for row in rows.values()],
            y=[row[1] for row in rows.values()],
        )

    gains = Deltas(table(then), table(now), seconds, ["x", "y"])
    for name in ("x", "y"):
        for row, value in zip(now, gains.rate(name), strict=True):
            assert value is None or value >= 0
            if row not in then or then[row][2] != now[row][2]:
                assert value is None


@pytest.mark.parametrize(("values", "result"), [([], None), ([1.0, None], None), ([1.0, 2.0], 3.0)])
def test_a_sum_with_an_unknown_part_is_unknown(values: list[float | None], result: float | None) -> None:
    assert total(values) == result


def test_ratios_and_clips() -> None:
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 1.0) is None
    assert ratio(6.0, 3.0, 10) == 20.0
    assert [clipped(value) for value in (None, -1.0, 50.0, 101.6)] == [None, 0.0, 50.0, 100.0]
