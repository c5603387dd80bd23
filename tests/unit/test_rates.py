"""Rates: never negative, never invented; wraps, resets, restarts and rows that come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.derive.groups import Groups
from proxtop.model import Columns, Constant, Table, Value
from proxtop.rates import Deltas, Numbers, clip, clipped, each, plus, ratio, total, values


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


def test_a_row_that_counts_more_than_it_can_since_its_birth_was_there_before() -> None:
    before, after = _table(["a/1"], x=[5], y=[5]), _table(["a/1", "a/2", "a/3"], x=[6, 7, 8], y=[6, 1, 1])
    gains = Deltas(before, after, 1.0, ["x", "y"], born={"a"}, most=7)
    assert gains.rate("x") == [1.0, 7.0, None]
    assert gains.rate("y") == [1.0, 1.0, None]


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


@given(st.lists(st.none() | st.floats(-200, 200)))
def test_a_column_is_clipped_as_each_of_its_values(column: Numbers) -> None:
    before = list(column)
    assert clip(column) == [clipped(value) for value in before] and column == before
    assert clip(column, 7.0) == [clipped(value, 7.0) for value in before]


_COUNTERS = ("a", "b", "c")


def _constant(column: list[Value]) -> list[Value]:
    """The same column, marked as constant where it is."""
    same = bool(column) and all(value == column[0] and type(value) is type(column[0]) for value in column)
    return Constant(column) if same else column


def _tables(data: st.DataObject, size: int) -> tuple[Columns, Columns]:
    gens: list[Value] = data.draw(st.lists(st.integers(1, 2), min_size=size, max_size=size))
    counter = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 1 << 32))
    column = st.lists(counter, min_size=size, max_size=size)
    one: Columns = {"gen": gens, **{name: list(data.draw(column)) for name in _COUNTERS}}
    other: Columns = {"gen": gens}
    for name in _COUNTERS:
        other[name] = one[name] if data.draw(st.booleans()) else list(data.draw(column))
    return one, other


@given(st.data(), st.integers(0, 4))
def test_tables_with_the_same_rows_gain_what_they_gain_in_any_order(data: st.DataObject, size: int) -> None:
    ids = [f"vm{place}" for place in range(size)]
    one, other = _tables(data, size)
    seconds = data.draw(
        st.sampled_from([None, 0.0, -1.0, 2.0])
        | st.lists(st.sampled_from([None, 0.0, -1.0, 2.0, 3.0]), min_size=size, max_size=size)
    )
    turned = Table(ids[::-1], {name: column[::-1] for name, column in one.items()})
    slow = Deltas(turned, Table(ids, other), seconds, _COUNTERS, wraps32=("c",))
    fast = Deltas(
        Table(ids, {name: _constant(column) for name, column in one.items()}),
        Table(ids, {name: _constant(column) for name, column in other.items()}),
        seconds,
        _COUNTERS,
        wraps32=("c",),
    )
    for name in _COUNTERS:
        assert fast.gain(name) == slow.gain(name)
        assert fast.rate(name, 3.0) == slow.rate(name, 3.0)


@given(st.lists(st.sampled_from(["x", "y", "z", None]), max_size=8), st.data())
def test_the_sums_of_groups_are_the_sums_of_their_rows(rows: list[str | None], data: st.DataObject) -> None:
    number = st.none() | st.integers(0, 3) | st.floats(0, 3)
    column: Numbers = data.draw(st.lists(number, min_size=len(rows), max_size=len(rows)) | st.just([0.0] * len(rows)))
    owners = data.draw(st.permutations(["x", "y", "z"]))
    sums = [total([value for value, row in zip(column, rows, strict=True) if row == owner]) for owner in owners]
    for given_column in (column, _constant(values(column))):
        assert Groups(rows, owners).totals(given_column) == sums  # type: ignore[arg-type]


def test_columns_of_constants_are_worked_out_once() -> None:
    calls: list[float | None] = []

    def twice(value: float | None) -> float | None:
        calls.append(value)
        return None if value is None else 2 * value

    assert each(twice, Constant.of(3.0, 4)) == [6.0] * 4
    assert calls == [3.0]
    assert each(twice, Constant.of(3.0, 0)) == each(twice, []) == []
    assert plus(Constant.of(1.0, 2), [2.0, None]) == [3.0, None]
