from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtop.profiler.compare import Difference, differences
from proxtop.profiler.profile import Profile
from tests.unit.profiler.chains import START, chain_settings, fed

runs = st.lists(st.integers(0, 3), min_size=3, max_size=80)


def difference(one: Profile, other: Profile) -> Difference:
    with one.complete(), other.complete():
        (found,) = differences(one, other)
    return found


def measured(values: list[float]) -> Profile:
    profile = Profile("x", chain_settings(fixedbound=False))
    for number, value in enumerate(values, 1):
        profile.put(START + number, {"net": value}, {})
    return profile


def test_the_same_behaviour_has_no_distance() -> None:
    one, other = (fed([0, 1, 2, 3] * 50, chain_settings()) for _ in range(2))
    assert difference(one, other).distance == pytest.approx(0, abs=1e-9)
    assert difference(one, other).shift == pytest.approx(0, abs=1e-9)


def test_nothing_in_common_is_a_distance_of_one() -> None:
    assert difference(fed([0, 1] * 50, chain_settings()), fed([2, 3] * 50, chain_settings())).distance == 1


def test_the_order_of_states_counts_though_their_shares_are_the_same() -> None:
    to_and_fro, in_blocks = fed([0, 3] * 60, chain_settings()), fed([0] * 60 + [3] * 60, chain_settings())
    found = difference(to_and_fro, in_blocks)
    assert found.distance > 0.9
    assert found.shift == pytest.approx(0, abs=1)


def test_more_of_the_same_is_near_and_something_else_is_far() -> None:
    chance = random.Random(1)
    one, more = (fed(chance.choices(range(4), (60, 20, 15, 5), k=3000), chain_settings()) for _ in range(2))
    other = fed(chance.choices(range(4), (5, 15, 20, 60), k=3000), chain_settings())
    assert difference(one, more).distance < 0.1
    assert difference(one, other).distance > 0.5


@settings(max_examples=60)
@given(runs, runs, runs)
def test_distance_is_a_metric(first: list[int], second: list[int], third: list[int]) -> None:
    a, b, c = (fed(run, chain_settings()) for run in (first, second, third))
    ab, bc, ac = difference(a, b).distance, difference(b, c).distance, difference(a, c).distance
    assert ab == pytest.approx(difference(b, a).distance)
    assert 0 <= ab <= 1
    assert ac <= ab + bc + 1e-9


def test_values_that_lie_higher_by_some_amount_are_shifted_by_it() -> None:
    base = [100.0, 200.0, 300.0, 400.0] * 30
    found = difference(measured(base), measured([value + 150 for value in base]))
    assert found.shift == pytest.approx(150)
    assert found.means == pytest.approx((250, 400))
    assert found.distance > 0.3


def test_metrics_that_only_one_has_are_left_out() -> None:
    assert differences(fed([0, 1] * 20, chain_settings()), fed([0, 1] * 20, chain_settings(), metric="io")) == []
