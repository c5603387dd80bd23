from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.profiler.periods import Periods
from tests.unit.profiler.chains import START, chain_settings, fed

WEEK = Periods((7, 24, 180), 20.0)


@pytest.mark.parametrize(
    ("instant", "path"),
    [
        (datetime(2026, 11, 23, 0, 0, tzinfo=UTC), (0, 0)),
        (datetime(2026, 11, 23, 0, 59, 59, tzinfo=UTC), (0, 0)),
        (datetime(2026, 11, 24, 13, 30, tzinfo=UTC), (1, 13)),
        (datetime(2026, 11, 29, 23, 59, tzinfo=UTC), (6, 23)),
    ],
)
def test_days_are_counted_from_monday_and_hours_from_midnight(instant: datetime, path: tuple[int, int]) -> None:
    assert WEEK.path(WEEK.leaf(instant.timestamp())) == path


@given(st.floats(0, 4e9), st.lists(st.integers(1, 6), min_size=2, max_size=4), st.sampled_from([0.2, 1.0, 20.0]))
def test_the_tree_repeats_itself(time: float, sizes: list[int], step: float) -> None:
    periods = Periods(tuple(sizes), step)
    leaf = periods.leaf(time)
    assert 0 <= leaf < periods.leaves
    middle = (time // periods.leaf_s + 0.5) * periods.leaf_s
    assert periods.leaf(middle) == periods.leaf(middle + periods.span_s)


def test_without_a_tree_there_is_one_leaf() -> None:
    assert Periods((), 20.0).leaf(1e9) == 0
    assert Periods((), 20.0).leaves == 0


def test_a_known_pattern_is_found_at_its_leaves() -> None:
    # a step of 1 s, leaves of 30 steps, two of them: idle, then busy every second step
    pattern = ([0] * 30 + [0, 3] * 15) * 40
    profile = fed(pattern, chain_settings(periodsize=(2, 30)), start=START)
    series = profile.series["cpu"]
    with profile.complete():
        assert series.leaves is not None
        idle, busy = (dict(series.leaves.rows(1, leaf)) for leaf in (0, 1))
        whole = dict(series.root.rows(1))
    assert idle[(0,)] == [1199 - 39, 0, 0, 0]
    assert idle[(3,)] == [39, 0, 0, 0]
    assert busy == {(0,): [40, 0, 0, 600], (3,): [560, 0, 0, 0]}
    for past, row in whole.items():
        assert row == [a + b for a, b in zip(idle.get(past, [0] * 4), busy.get(past, [0] * 4), strict=True)]
