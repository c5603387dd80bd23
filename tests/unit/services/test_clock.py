"""The grid: the same cycles on every actor, whatever the wall clock does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtopd.clock import FIRST_SPAN_MS, Grid


@pytest.mark.parametrize("interval", [0.2, 1.0, 2.0, 0.3, 7.5])
def test_a_hundred_ticks_skip_and_double_nothing(interval: float) -> None:
    grid = Grid(interval)
    offset = 1_700_000_000.123
    mono = 5.0
    cycles = []
    for _ in range(100):
        tick = grid.after(offset + mono, mono)
        cycles.append(tick.cycle)
        mono = tick.at + 0.0007
    steps = {after - before for before, after in itertools.pairwise(cycles)}
    assert steps == {grid.step_ms}
    assert all(cycle % grid.step_ms == 0 for cycle in cycles)


def test_a_timer_that_fires_early_does_not_double_a_cycle() -> None:
    grid = Grid(1.0)
    assert grid.after(99.9995, 10.0).cycle == 101_000


@pytest.mark.parametrize("first", [100_499, 100_500, 100_501, 100_999, 101_000])
def test_actors_that_come_early_or_late_to_a_tick_agree_on_the_next(first: int) -> None:
    grid = Grid(1.0)
    asked = [first / 1000 + late for late in (-0.002, 0.0, 0.002, 0.2)]
    ticks = [grid.following(first, wall, wall - 90.0) for wall in asked]
    assert {tick.cycle for tick in ticks} == {101_000 if first <= 100_500 else 102_000}
    assert [tick.at for tick in ticks] == pytest.approx([ticks[0].cycle / 1000 - 90.0] * 4)


@pytest.mark.parametrize("late", [0.8, 1.3, 60.0, -0.7, -3600.0])
def test_who_is_late_by_far_or_whose_clock_was_set_goes_by_the_clock(late: float) -> None:
    grid = Grid(1.0)
    assert grid.following(101_000, 101.0 + late, 5.0) == grid.after(101.0 + late, 5.0)


@given(st.floats(1e9, 2e9), st.floats(0, 1e6), st.sampled_from([0.2, 1.0, 2.0, 60.0]))
def test_the_next_tick_is_half_to_one_and_a_half_intervals_away(wall: float, mono: float, interval: float) -> None:
    tick = Grid(interval).after(wall, mono)
    assert interval * 0.5 - 0.002 <= tick.at - mono <= interval * 1.5 + 0.002


@pytest.mark.parametrize("step", [-3600.0, -0.4, 0.4, 3600.0])
def test_a_step_of_the_wall_clock_rephases_and_neither_stalls_nor_bursts(step: float) -> None:
    grid = Grid(2.0)
    before = grid.after(1_000_000.0, 50.0)
    after = grid.after(1_000_002.0 + step, before.at)
    assert 1.0 <= after.at - before.at <= 3.0
    assert after.cycle % 2000 == 0


def test_the_first_line_spans_a_quarter_of_a_second_whoever_computes_it() -> None:
    early, late = Grid(2.0).first(1_000_100, 1000.1, 5.0), Grid(2.0).first(1_000_100, 1000.2, 5.1)
    assert early.cycle == late.cycle == 1_000_100 + FIRST_SPAN_MS
    assert early.at == pytest.approx(late.at)
    assert early.at - 5.0 >= 0.25
