from __future__ import annotations

import random
from math import log, sqrt

import pytest

from proxtop.profiler.forecast import Outlook, forecast
from proxtop.profiler.markov import Past
from proxtop.profiler.profile import Profile
from tests.unit.profiler.chains import START, chain_settings, fed, sequence


def outlook(profile: Profile, steps: int, *, time: float | None = None, past: Past | None = None) -> list[Outlook]:
    with profile.complete():
        return list(forecast(profile.series["cpu"], steps, time=time, past=past))


def test_a_forecast_is_the_power_of_the_matrix() -> None:
    rows = {(0,): [0.9, 0.1, 0.0], (1,): [0.3, 0.5, 0.2], (2,): [0.0, 0.6, 0.4]}
    length = 20_000
    profile = fed(sequence(rows, 3, 1, length, 4), chain_settings(states=3))
    exact = [0.0, 0.0, 1.0]
    # each step adds at most the error of a row: Hoeffding for the rarest state (share of time above 0.05)
    error = sqrt(log(2 * 9 * length / 1e-9) / (2 * 0.05 * length)) + 3 * 2 / (0.05 * length)
    for number, found in enumerate(outlook(profile, 6, past=(2,)), 1):
        exact = [sum(exact[past] * rows[(past,)][state] for past in range(3)) for state in range(3)]
        assert found.step == number
        assert found.after_s == number
        assert sum(found.chances) == pytest.approx(1)
        for state in range(3):
            assert abs(found.chances[state] - exact[state]) <= number * error


def test_a_forecast_respects_the_whole_past() -> None:
    profile = fed([0, 0, 1, 2] * 200, chain_settings(history=2))
    once, twice = (outlook(profile, 1, past=past)[0] for past in ((2, 0), (0, 0)))
    assert once.chances[0] > 0.95
    assert twice.chances[1] > 0.95
    far = outlook(profile, 8, past=(0, 1))
    assert [max(range(4), key=found.chances.__getitem__) for found in far] == [2, 0, 0, 1, 2, 0, 0, 1]


def test_a_forecast_begins_at_the_last_states() -> None:
    assert outlook(fed([0, 1] * 100, chain_settings(states=2)), 1)[0].chances[0] > 0.95
    assert outlook(fed([0, 1] * 100 + [0], chain_settings(states=2)), 1)[0].chances[1] > 0.95


def test_a_step_is_taken_at_its_own_leaf() -> None:
    # an hour each: idle by night, busy by day; by the time alone it is known what comes
    profile = fed(([0] * 60 + [3] * 60) * 60, chain_settings(periodsize=(2, 60), interval=60.0), start=START)
    ahead = outlook(profile, 180, time=START)
    assert ahead[30].chances[0] > 0.9
    assert ahead[90].chances[3] > 0.9
    assert ahead[150].chances[0] > 0.9
    plain = outlook(profile, 180)
    assert 0.2 < plain[150].chances[0] < 0.8


def test_without_a_past_the_first_step_is_that_of_the_long_run() -> None:
    chance = random.Random(3)
    profile = fed([*chance.choices(range(2), (70, 30), k=5000), None], chain_settings(states=2))
    assert outlook(profile, 1)[0].chances[0] == pytest.approx(0.7, abs=0.05)


def test_the_expected_value_is_made_of_what_the_states_held() -> None:
    profile = Profile("x", chain_settings(states=2))
    for number in range(1, 401):
        profile.put(START + number, {"cpu": 1.0 if number % 2 else 99.0}, {"cpu": (0.0, 100.0)})
    found = outlook(profile, 2)
    assert found[0].expected == pytest.approx(1.0, abs=2)
    assert found[1].expected == pytest.approx(99.0, abs=2)
