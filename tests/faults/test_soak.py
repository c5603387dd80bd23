"""The soak, shorter; and that it can fail."""

from __future__ import annotations

import pytest

from tests.faults.reliability.bench import Bench
from tests.faults.rig import Rig
from tests.faults.soak import Series, Soak


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_minutes_without_growth(rig: Rig) -> None:
    soak = Soak(Bench(rig, interval=0.5))
    soak.run(120)
    assert soak.grown() == []


def test_growth_is_seen_and_a_single_bad_moment_is_not_growth() -> None:
    assert Series([1000.0 + 10 * n for n in range(200)]).growth() > 1000
    assert Series([*range(0, 2000, 100), *[2000.0] * 180]).growth() == 0
    assert Series([5.0] * 90 + [500.0] * 3 + [5.0] * 100).growth() == 0
    leak = Series([30.0 + n // 50 for n in range(200)])
    assert leak.growth() > 0
