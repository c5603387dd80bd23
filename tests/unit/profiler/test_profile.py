from __future__ import annotations

import random

import pytest

from proxtop.profiler.profile import Profile
from proxtop.profiler.settings import Settings, SettingsError
from proxtop.profiler.usual import ALARM
from tests.unit.profiler.chains import START, chain_settings, fed, feed


def put(profile: Profile, values: list[float | None], start: float = START) -> None:
    for number, value in enumerate(values, 1):
        profile.put(start + number * profile.settings.interval, {"net": value}, {})


def rows(profile: Profile, metric: str = "net") -> dict[tuple[int, ...], list[int]]:
    with profile.complete():
        return dict(profile.series[metric].root.rows(1))


def test_a_buffer_is_the_mean_of_its_samples() -> None:
    profile = Profile("x", chain_settings(buffersize=4, states=2))
    for number, value in enumerate([0, 0, 0, 100, 100, 100, 100, 0], 1):
        profile.put(START + number, {"cpu": float(value)}, {"cpu": (0.0, 100.0)})
    assert rows(profile, "cpu") == {(0,): [0, 1]}
    assert [profile.series["cpu"].level(state) for state in (0, 1)] == [(1, 25.0, 0.0), (1, 75.0, 0.0)]


def test_observed_bounds_are_those_of_the_buffers() -> None:
    profile = Profile("x", chain_settings(fixedbound=False, buffersize=2))
    put(profile, [100, 200, 100, 100, 900, 700])
    series = profile.series["net"]
    assert series.bounds == (100, 800)
    assert (series.lowest, series.highest) == (100, 900)


def test_what_was_idle_stays_idle_when_the_range_grows() -> None:
    profile = Profile("x", chain_settings(fixedbound=False))
    put(profile, [10, 11, 12, 10, 11, 12, 10, 1000, 10, 1000])
    assert rows(profile) == {(0,): [6, 0, 0, 2], (3,): [1, 0, 0, 0]}


def test_the_least_value_counts_when_the_range_grows_downwards() -> None:
    profile = Profile("x", chain_settings(fixedbound=False))
    put(profile, [1000, 990, 1000, 10, 1000, 990])
    assert rows(profile) == {(3,): [1, 0, 0, 3], (0,): [0, 0, 0, 1]}


def test_a_creeping_value_makes_no_jumps() -> None:
    profile = Profile("x", chain_settings(fixedbound=False))
    put(profile, [float(n) for n in range(400)])
    found = rows(profile)
    moves = [(abs(following - state), count) for (state,), row in found.items() for following, count in enumerate(row)]
    assert sum(count for size, count in moves if size == 0) >= 390


def test_bounds_that_are_not_known_are_observed() -> None:
    profile = Profile("x", chain_settings(fixedbound=True))
    put(profile, [5, 10, 20])
    assert profile.series["net"].bounds == (5, 20)
    assert not profile.series["net"].fixed


def test_other_fixed_bounds_keep_what_was_counted() -> None:
    profile = fed([0, 3] * 20, chain_settings())
    before = sum(map(sum, rows(profile, "cpu").values()))
    time = profile.time or 0
    for number in range(1, 5):
        profile.put(time + number, {"cpu": 90.0}, {"cpu": (0.0, 400.0)})
    assert profile.series["cpu"].bounds == (0.0, 400.0)
    assert rows(profile, "cpu") == {(0,): [before + 4, 0, 0, 0]}


def test_outliers_are_left_out_and_counted() -> None:
    settings = chain_settings(fixedbound=False, buffersize=10, filterstddevs=6)
    chance = random.Random(1)
    calm = [chance.gauss(50, 2) for _ in range(200)]
    spoilt = list(calm)
    spoilt[105] = 10_000
    found, wanted, kept = Profile("x", settings), Profile("x", settings), Profile("x", chain_settings(buffersize=10))
    put(found, list(spoilt))
    put(wanted, list(calm))
    put(kept, list(spoilt))
    assert found.series["net"].filtered == 1
    assert found.series["net"].bounds == pytest.approx(wanted.series["net"].bounds, rel=0.05)
    assert kept.series["net"].bounds[1] > 1000  # type: ignore[index]
    assert kept.series["net"].filtered == 0


def test_a_gap_longer_than_a_buffer_breaks_the_chain() -> None:
    profile = fed([0, 0], chain_settings(buffersize=5))
    feed(profile, [3, 3], start=(profile.time or 0) + 60)
    assert profile.gaps == 1
    assert rows(profile, "cpu") == {(0,): [1, 0, 0, 0], (3,): [0, 0, 0, 1]}


def test_a_short_gap_and_half_a_buffer_unknown_do_not() -> None:
    profile = fed([0, 0], chain_settings(buffersize=5))
    feed(profile, [3], start=(profile.time or 0) + 3)
    assert profile.gaps == 0
    assert rows(profile, "cpu") == {(0,): [1, 0, 0, 1]}


def test_a_vm_that_two_hosts_tell_of_at_once_is_counted_once() -> None:
    profile = fed([0, 0], chain_settings(buffersize=2))
    time = profile.time or 0
    for number in range(1, 5):
        for _ in range(2):
            profile.put(time + number, {"cpu": 90.0}, {"cpu": (0.0, 100.0)})
    assert profile.gaps == 0
    assert rows(profile, "cpu") == {(0,): [1, 0, 0, 1], (3,): [0, 0, 0, 1]}


def test_a_clock_that_goes_back_breaks_the_chain() -> None:
    profile = fed([0, 0], chain_settings())
    feed(profile, [3], start=START - 1000)
    assert profile.gaps == 1
    assert rows(profile, "cpu") == {(0,): [1, 0, 0, 0]}


def test_unknown_values_are_counted_and_never_zero() -> None:
    profile = Profile("x", chain_settings(fixedbound=False, buffersize=4))
    put(profile, [8, None, 8, 8, None, None, None, 8, 8, 8, 8, 8])
    series = profile.series["net"]
    assert series.unknown == 4
    assert series.lowest == 8
    assert rows(profile) == {}


def test_a_metric_that_is_never_known_has_no_chain() -> None:
    profile = Profile("x", chain_settings())
    put(profile, [None] * 10)
    assert profile.series == {}


def test_showing_a_profile_changes_nothing() -> None:
    profile = fed([0, 1, 2, 3] * 10, chain_settings(periodsize=(2, 3, 4), phase_likelihood=0.5))
    before = rows(profile, "cpu")
    for _ in range(3):
        assert rows(profile, "cpu") == before
    feed(profile, [0])
    assert sum(map(sum, rows(profile, "cpu").values())) == sum(map(sum, before.values())) + 1


def test_a_change_of_behaviour_scores_high_and_calm_scores_low() -> None:
    chance = random.Random(7)
    calm = [chance.choices(range(4), (80, 15, 5, 0))[0] for _ in range(600)]
    profile = fed(calm[:20], chain_settings())
    assert profile.anomaly is None  # too little is known
    feed(profile, calm[20:])
    quiet = profile.anomaly
    feed(profile, [3] * 10)
    assert quiet is not None
    assert quiet < ALARM
    assert profile.anomaly is not None
    assert profile.anomaly > ALARM
    assert profile.odd == "cpu"


def test_one_strange_step_alone_is_no_alarm() -> None:
    profile = fed([0] * 5000, chain_settings())
    for state in (3, 0, 0):
        feed(profile, [state])
        assert profile.anomaly is not None
        assert profile.anomaly < ALARM
    feed(profile, [3, 3, 3])
    assert profile.anomaly >= ALARM


def test_likelihood_is_the_chance_of_the_last_step() -> None:
    profile = fed([0, 1] * 100, chain_settings(states=2))
    assert profile.likelihood is not None
    assert profile.likelihood > 0.95
    feed(profile, [1])
    assert profile.likelihood < 0.1


@pytest.mark.parametrize(
    "values",
    [
        {"states": 1}, {"states": 65}, {"buffersize": 0}, {"history": 0}, {"states": 40, "history": 8},
        {"periodsize": (5,)}, {"periodsize": (0, 5)}, {"periodsize": (1000, 1000, 5)}, {"phase_likelihood": 1.0},
        {"phase_likelihood": float("nan")}, {"filterstddevs": float("inf")}, {"phase_history": 1},
    ],
)  # fmt: skip
def test_settings_that_can_not_be_are_named(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"--[a-z-]+.*(give|fewer)"):
        Settings(**values).checked()  # type: ignore[arg-type]
