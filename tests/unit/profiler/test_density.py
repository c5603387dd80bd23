from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.profiler.density import LEVELS, Density

KINDS = [Density(percent=True), Density(0.01), Density(1000.0), Density(65536.0)]
numbers = st.floats(-1e3, 1e15)


@given(numbers, numbers, st.sampled_from(KINDS))
def test_a_larger_value_is_in_no_lower_cell(one: float, other: float, density: Density) -> None:
    low, high = sorted((one, other))
    assert 0 <= density.cell(low) <= density.cell(high) < density.cells


def test_cells_of_a_percentage_are_narrow_at_both_ends() -> None:
    density = Density(percent=True)
    assert density.cell(0.5) + 2 < density.cell(3.0)
    assert density.cell(97.0) < density.cell(99.5) - 2
    assert density.cell(0.0) == 0
    assert density.cell(100.0) == density.cells - 1
    assert [density.cell(value) + density.cell(100 - value) for value in (1.0, 7.0, 33.0)] == [density.cells - 1] * 3


def test_a_doubling_is_three_cells_whatever_the_size() -> None:
    density = Density(1000.0)
    for value in (1e6, 1e8, 3e9):
        assert density.cell(2 * value) - density.cell(value) == 3
    assert density.cell(0.0) == density.cell(200.0) == 0


def filled(seed: int = 3, count: int = 2000) -> Density:
    chance = random.Random(seed)
    density = Density(percent=True)
    cells = [density.cell(chance.gauss(20, 8)) for _ in range(count)]
    for before, cell in zip([None, *cells], cells, strict=False):
        density.add(before, cell)
    return density


@given(st.none() | st.integers(0, 35))
def test_the_chances_of_all_cells_add_up_to_one_and_none_is_impossible(before: int | None) -> None:
    for density in (Density(percent=True), filled(count=200)):
        chances = [density.chance(before, cell) for cell in range(density.cells)]
        assert sum(chances) == pytest.approx(1)
        assert min(chances) > 0


def test_chances_are_those_of_the_document() -> None:
    density = Density(percent=True)
    assert [density.cell(value) for value in (0.72, 2.35, 8.25, 10.85)] == [3, 5, 10, 10]
    for _ in range(8):
        density.add(3, 10)
    share = (8 / 2 + 0.5) / (8 + 0.5 * 36)
    assert density.chance(None, 10) == pytest.approx(share)
    assert density.chance(4, 10) == pytest.approx((8 / 2 + 2 * share) / (8 + 2))  # cells 3 to 5 are one level
    assert density.chance(20, 10) == pytest.approx(share)
    assert density.chance(4, 30) == pytest.approx(2 * 0.5 / 26 / 10)
    assert density.chance(None, 11) == pytest.approx((8 / 4 + 0.5) / (8 + 0.5 * 36))


def test_what_was_kept_is_the_same_again() -> None:
    density, again = filled(), Density(percent=True)
    again.restore(density.rows())
    for before in (None, 4, 30):
        for cell in range(density.cells):
            assert again.chance(before, cell) == density.chance(before, cell)


@pytest.mark.parametrize("rows", [[], [[]] * LEVELS, [[0] * 37] * (LEVELS + 1), [[70_000]] + [[]] * LEVELS])
def test_rows_of_another_shape_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Density(percent=True).restore(rows)


def test_what_was_seen_once_stays_seen_when_counts_are_full() -> None:
    density = Density(percent=True)
    density.add(None, 30)
    for _ in range(140_000):
        density.add(None, 2)
    (*_, row) = density.rows()
    assert row[30] == 1
    assert row[2] <= 65_535
    assert density.chance(None, 2) < 1
