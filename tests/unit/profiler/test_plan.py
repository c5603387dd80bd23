from __future__ import annotations

from math import comb

import pytest

from proxtop.profiler.plan import Fit, Points, demands, fit
from tests.unit.profiler.chains import START, chain_settings, fed


def planned(vms: list[list[Points]], capacity: float, risk: float) -> Fit:
    return fit(vms, capacity, risk)


def test_vms_that_always_want_the_same_fit_as_often_as_they_go_in() -> None:
    found = planned([[[(0.25, 1.0)]]], 4.0, 0.01)
    assert found.vms == 16
    assert found.risk == pytest.approx(0)
    assert found.next_risk == pytest.approx(1)
    assert found.mean == pytest.approx(4)


def test_the_risk_of_independent_vms_is_the_binomial_one() -> None:
    def above(vms: int, busy: int) -> float:
        return sum(comb(vms, k) * 0.2**k * 0.8 ** (vms - k) for k in range(busy + 1, vms + 1))

    found = planned([[[(0.0, 0.8), (1.0, 0.2)]]], 10.0, 0.01)
    assert above(found.vms, 10) <= 0.01 < above(found.vms + 1, 10)
    assert found.risk == pytest.approx(above(found.vms, 10))
    assert found.next_risk == pytest.approx(above(found.vms + 1, 10))


def test_vms_that_are_busy_at_different_times_share_a_host() -> None:
    day, night = [[(1.0, 1.0)], [(0.0, 1.0)]], [[(0.0, 1.0)], [(1.0, 1.0)]]
    apart, together = planned([day, night], 4.0, 0.01), planned([day], 4.0, 0.01)
    assert apart.vms == 8
    assert together.vms == 4
    assert together.leaf == 0


def test_demands_between_the_cells_keep_their_mean() -> None:
    assert planned([[[(0.0301, 1.0)]]], 10.0, 0.5).vms == pytest.approx(10 / 0.0301, abs=2)


def test_more_risk_is_more_vms() -> None:
    vm: list[Points] = [[(0.0, 0.7), (0.5, 0.2), (2.0, 0.1)]]
    found = [planned([vm], 8.0, risk).vms for risk in (0.0001, 0.001, 0.01, 0.1)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_a_vm_that_never_fits_is_none() -> None:
    found = planned([[[(20.0, 1.0)]]], 8.0, 0.01)
    assert found.vms == 0
    assert found.next_risk == pytest.approx(1)


def test_demand_by_the_time_of_day_comes_from_the_tree() -> None:
    profile = fed(([0] * 60 + [3] * 60) * 20, chain_settings(periodsize=(2, 60), interval=60.0), start=START)
    with profile.complete():
        found = demands(profile, "cpu", 0.04)  # 4 vCPUs
    assert found is not None
    means = [sum(value * share for value, share in points) for points in found]
    assert means == pytest.approx([0.5, 3.5], abs=0.1)
    assert demands(profile, "net", 1.0) is None


def test_what_a_state_holds_is_spread_as_it_was() -> None:
    profile = fed([], chain_settings())
    for number in range(1, 1001):
        profile.put(START + number, {"cpu": 80.0 if number % 2 else 90.0}, {"cpu": (0.0, 100.0)})
    with profile.complete():
        found = demands(profile, "cpu", 1.0)
    assert found is not None
    values, shares = zip(*found[0], strict=True)
    assert values == pytest.approx((80, 90))
    assert shares == pytest.approx((0.5, 0.5))
