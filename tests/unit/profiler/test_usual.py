from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.profiler.usual import ALARM, LEAST, Usual


def usual(values: list[float], rarely: float = 0.01) -> Usual:
    found = Usual(rarely, 0.5)
    for value in values:
        found.add(value)
    return found


def limit(one: Usual) -> float:
    """The least multiple of half a bit that is an alarm."""
    return next(half / 2 for half in range(200) if one.beyond(half / 2) >= ALARM - 1e-9)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=300), st.sampled_from([0.0005, 0.01, 0.2]))
def test_no_more_than_the_rare_share_of_what_was_is_an_alarm(values: list[float], rarely: float) -> None:
    found = usual(values, rarely)
    assert sum(value >= limit(found) for value in values if value < 15.5) <= rarely * len(values)


@given(st.lists(st.floats(0, 15), min_size=1, max_size=300), st.lists(st.floats(0, 15), max_size=300))
def test_the_end_of_the_distribution_does_not_depend_on_the_order(first: list[float], then: list[float]) -> None:
    one, other = usual(first + then, 0.1), usual(then + first, 0.1)
    for value in (3.0, 8.0, 12.0):
        assert one.beyond(value) == pytest.approx(other.beyond(value), abs=1e-6)


def test_an_alarm_takes_five_deviations_and_what_was_rare_and_seven_bits() -> None:
    chance = random.Random(1)
    calm = usual([chance.gauss(3, 0.1) for _ in range(2000)])
    assert calm.beyond(LEAST - 0.1) < ALARM < calm.beyond(LEAST + 0.1)
    wide = usual([min(max(chance.gauss(4, 1.0), 0), 15) for _ in range(2000)])
    assert wide.beyond(8.5) < ALARM < wide.beyond(9.5)
    visited = usual([10.2 if number % 40 == 0 else 1.0 for number in range(2000)])
    assert visited.beyond(10.4) < ALARM < visited.beyond(10.6)


def test_what_was_kept_is_the_same_again() -> None:
    one = usual([number % 23 / 2 for number in range(1000)])
    again = Usual(0.01, 0.5)
    again.count, again.mean, again.m2 = one.count, one.mean, one.m2
    again.restore(list(one.bins))
    for value in (1.0, 9.0, 14.0):
        assert again.beyond(value) == one.beyond(value)


def test_a_distribution_of_another_shape_is_refused() -> None:
    for wrong in ([0] * 33, [-1]):
        with pytest.raises(ValueError, match="distribution"):
            Usual(0.01, 0.5).restore(wrong)


def test_what_was_long_ago_is_forgotten() -> None:
    found = usual([12.0] * 2000)
    for number in range(150_000):
        found.add(number % 3)
    assert found.count < 65_536
    assert found.mean == pytest.approx(1.0, abs=0.2)
    assert found.beyond(11.0) > ALARM
