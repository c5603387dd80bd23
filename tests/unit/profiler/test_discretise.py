from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.profiler.discretise import edges, kept, moved, state_of

numbers = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("value", "state"), [(10, 0), (14.9, 0), (15, 1), (20, 2), (25, 3), (29.9, 3), (30, 3), (9, 0), (99, 3), (-99, 0)]
)
def test_states_are_equal_parts_from_the_least_value_on(value: float, state: int) -> None:
    assert state_of(value, 10, 30, 4) == state


def test_a_range_without_width_has_one_state() -> None:
    assert state_of(5, 5, 5, 4) == 0
    assert state_of(7, 5, 5, 4) == 0


@given(numbers, numbers, numbers, st.integers(2, 64))
def test_a_state_is_one_of_them_and_holds_its_value(value: float, one: float, other: float, states: int) -> None:
    low, high = sorted((one, other))
    state = state_of(value, low, high, states)
    assert 0 <= state < states
    if low <= value <= high and high - low > 1e-6 * max(abs(low), abs(high)):
        least, most = edges(state, low, high, states)
        slack = (high - low) * 1e-6
        assert least - slack <= value <= most + slack


@given(st.integers(2, 10), numbers, st.floats(0.001, 1e6), st.floats(0, 3), st.floats(0, 3))
def test_states_keep_their_order_when_the_range_grows(
    states: int, low: float, width: float, less: float, more: float
) -> None:
    places = moved([None] * states, (low, low + width), (low - less * width, low + width + more * width))
    assert places == sorted(places)
    assert all(0 <= place < states for place in places)


def test_a_state_moves_with_the_mean_of_its_values() -> None:
    assert moved([1.0, 30.0, None, 98.0], (0, 100), (0, 400)) == [0, 0, 0, 0]
    assert moved([1.0, None, None, 99.0], (0, 100), (-100, 100)) == [2, 2, 3, 3]
    assert moved([5.0, None, None, None], (5, 5), (5, 10))[0] == 0
    assert moved([10.0, None, None, None], (10, 10), (5, 10))[0] == 3


def test_a_sample_far_from_its_buffer_is_filtered() -> None:
    assert kept([1.0, 2.0, 1.0, 90.0, 1.0], 3, 5.0) == [1.0, 2.0, 1.0, 1.0]


def test_a_buffer_at_another_level_is_believed() -> None:
    assert kept([90.0, 91.0, 89.0, 92.0], 1, 2.0) == [90.0, 91.0, 89.0, 92.0]


def test_a_negative_number_of_deviations_filters_nothing() -> None:
    assert kept([1.0, 1000.0], -1, 0.0) == [1.0, 1000.0]
    assert kept([1.0, 1000.0], 3, inf) == [1.0, 1000.0]


@given(st.lists(numbers, min_size=1), st.floats(0, 5), st.floats(0, 1e6))
def test_something_always_remains(samples: list[float], stddevs: float, deviation: float) -> None:
    assert kept(samples, stddevs, deviation)
