"""Estimates are held against the chains that the sequences were drawn from; the bounds are Hoeffding's."""

from __future__ import annotations

from itertools import product
from math import log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtop.profiler import markov
from proxtop.profiler.markov import Counts, Past, predict, stationary
from tests.unit.profiler.chains import chain_settings, fed, sequence

WRONG = 1e-9
"""How probable it may be that a right estimate lies outside of its bound."""


def bound(n: int, cells: int, length: int) -> float:
    """How far the mean of n independent draws may be from its truth, for all n up to the length and all cells at once
    (Hoeffding, union)."""
    return sqrt(log(2 * cells * length / WRONG) / (2 * n))


@st.composite
def chains(draw: st.DrawFn) -> tuple[dict[Past, list[float]], int, int, int]:
    """(rows, states, order, seed) of a chain whose pasts all come about."""
    order = draw(st.integers(1, 3))
    states = draw(st.integers(2, 4 if order < 3 else 3))
    rows = {}
    for past in product(range(states), repeat=order):
        weights = draw(st.lists(st.floats(0.05, 1), min_size=states, max_size=states))
        rows[past] = [weight / sum(weights) for weight in weights]
    return rows, states, order, draw(st.integers(0, 1 << 30))


@settings(max_examples=25)
@given(chains())
def test_rows_of_a_chain_of_any_order_converge_to_the_truth(
    chain: tuple[dict[Past, list[float]], int, int, int],
) -> None:
    rows, states, order, seed = chain
    length = 3000
    profile = fed(sequence(rows, states, order, length, seed), chain_settings(states=states, history=order))
    with profile.complete():
        counts = profile.series["cpu"].root
        found = dict(counts.rows(order))
    assert sum(map(sum, found.values())) == length - order
    for past, row in found.items():
        n = sum(row)
        for state in range(states):
            assert abs(row[state] / n - rows[past][state]) <= bound(n, states ** (order + 1), length), (past, state)


@settings(max_examples=25)
@given(st.lists(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), min_size=3, max_size=3))
def test_the_stationary_distribution_is_the_one_that_the_matrix_keeps(weights: list[list[float]]) -> None:
    counts = Counts(3, 1)
    for state, row in enumerate(weights):
        for following, weight in enumerate(row):
            counts.put((state,), following, round(weight * 1000))
    found = stationary(counts)
    assert sum(found.values()) == pytest.approx(1)
    rows = {past: [count / sum(row) for count in row] for past, row in counts.rows(1)}
    for state in range(3):
        assert sum(found[past] * rows[past][state] for past in rows) == pytest.approx(found[(state,)], abs=1e-6)


def test_a_periodic_chain_and_one_with_a_dead_end_have_a_long_run() -> None:
    profile = fed([0, 1] * 50 + [2], chain_settings(states=3))
    with profile.complete():
        found = stationary(profile.series["cpu"].root)
    assert found[(0,)] == pytest.approx(0.5, abs=0.02)
    assert found[(1,)] == pytest.approx(0.5, abs=0.02)


def test_many_pasts_have_a_long_run_too() -> None:
    profile = fed([(n * n + n // 3) % 5 for n in range(4000)], chain_settings(states=5, history=3))
    with profile.complete():
        found = stationary(profile.series["cpu"].root)
    assert sum(found.values()) == pytest.approx(1)


def test_nothing_was_before_the_first_state() -> None:
    profile = fed([3, 3, 1], chain_settings(history=2))
    with profile.complete():
        counts = profile.series["cpu"].root
        assert dict(counts.rows(1)) == {(3,): [0, 1, 0, 1]}
        assert dict(counts.rows(2)) == {(3, 3): [0, 1, 0, 0]}
        assert counts.total() == 2


def test_nothing_was_before_the_first_state_after_a_gap() -> None:
    profile = fed([0, None, 3, None, 0], chain_settings())
    with profile.complete():
        assert profile.series["cpu"].root.total() == 0


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(1, 3), st.data())
def test_each_past_and_state_has_a_cell_of_its_own(states: int, history: int, data: st.DataObject) -> None:
    where = markov.layout(states, history)
    cells = [
        where.place(past) + state
        for order in range(history + 1)
        for past in product(range(states), repeat=order)
        for state in range(states)
    ]
    assert sorted(cells) == list(range(where.size))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2), min_size=5, max_size=60), st.permutations([0, 1, 2]) | st.just([0, 0, 1]))
def test_renamed_states_are_counted_as_if_they_had_had_that_name(run: list[int], places: list[int]) -> None:
    for dense in (True, False):
        found, wanted = Counts(3, 2), Counts(3, 2)
        if not dense:
            found.cells, wanted.cells = markov._Sparse(), markov._Sparse()
        for end in range(1, len(run)):
            past = tuple(run[max(0, end - 2) : end])
            found.add(past, run[end])
            wanted.add(tuple(places[state] for state in past), places[run[end]])
        found.move(places)
        for order in range(3):
            assert list(found.rows(order)) == list(wanted.rows(order))


def test_a_table_too_large_for_an_array_counts_the_same() -> None:
    small, large = Counts(4, 3), Counts(4, 3, 100)
    assert isinstance(large.cells, dict)
    assert not isinstance(small.cells, dict)
    for n in range(500):
        past, state = ((n * 7) % 4, n % 3, (n // 5) % 4), (n * n) % 4
        small.add(past, state)
        large.add(past, state, table=77)
    for order in range(4):
        assert list(large.rows(order, 77)) == list(small.rows(order))
        assert list(large.rows(order, 76)) == []


@settings(max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=0, max_size=80), st.lists(st.integers(0, 3), max_size=3))
def test_chances_are_all_above_zero_and_add_up_to_one(run: list[int], past: list[int]) -> None:
    counts = Counts(4, 2)
    for end in range(1, len(run)):
        counts.add(tuple(run[max(0, end - 2) : end]), run[end])
    chances = predict(counts, tuple(past))
    assert sum(chances) == pytest.approx(1)
    assert min(chances) > 0


def test_an_unseen_past_is_judged_by_the_shorter_ones() -> None:
    profile = fed([0, 0, 0, 0, 1] * 40, chain_settings(history=2))
    with profile.complete():
        counts = profile.series["cpu"].root
        assert predict(counts, (3, 1))[0] > 0.95  # after a 1 always came a 0
        assert predict(counts, (3, 3))[0] == pytest.approx(0.8, abs=0.02)  # most of the time it was 0
