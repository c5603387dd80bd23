"""Changes that stay within a state, or go to one that is usual, are noticed by the values; what was seen is not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import islice
from math import exp

import pytest

from proxtop.profiler.document import DocumentError, document, profile_of
from proxtop.profiler.profile import Profile
from proxtop.profiler.usual import ALARM
from tests.unit.profiler.chains import chain_settings, put_values

Chance = random.Random


def shifts(chance: Chance) -> Iterator[float]:
    """Idle for a while, busy for a while: both ends of the range are usual."""
    while True:
        for _ in range(round(chance.uniform(150, 250))):
            yield max(0.0, chance.gauss(4, 1.2))
        for _ in range(round(chance.uniform(150, 250))):
            yield min(100.0, max(0.0, chance.gauss(78, 7)))


def idle(chance: Chance) -> Iterator[float]:
    while True:
        yield max(0.0, chance.gauss(3, 0.8))


def lasting(chance: Chance) -> Iterator[float]:
    """Noise with a memory, about the middle."""
    noise = 0.0
    while True:
        noise = 0.93 * noise + 0.37 * chance.gauss(0, 1)
        yield min(100.0, max(0.0, 45 + 9 * noise + chance.gauss(0, 1)))


def even(chance: Chance) -> Iterator[float]:
    while True:
        yield chance.uniform(0, 100)


TRACES: tuple[Callable[[Chance], Iterator[float]], ...] = (shifts, idle, lasting, even)


def known(trace: Iterator[float], count: int = 3000, metric: str = "cpu", **settings: object) -> Profile:
    profile = Profile("x", chain_settings(**settings))
    put_values(profile, islice(trace, count), metric, fixed=metric == "cpu")
    return profile


def first(scores: list[float]) -> int | None:
    """After how many buffers the alarm was raised."""
    return next((place for place, score in enumerate(scores, 1) if score >= ALARM), None)


@pytest.mark.parametrize("states", [4, 8])
@pytest.mark.parametrize("trace", TRACES)
def test_what_goes_on_as_ever_raises_hardly_an_alarm(trace: Callable[[Chance], Iterator[float]], states: int) -> None:
    values = trace(Chance(states))
    profile = known(values, 3000, states=states)
    scores = put_values(profile, islice(values, 3000))
    assert sum(score >= ALARM for score in scores) < 0.01 * len(scores)


@pytest.mark.parametrize("states", [2, 4, 8])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hang_is_noticed_where_the_vm_is_often_idle(states: int, seed: int) -> None:
    chance = Chance(seed)
    values = shifts(chance)
    profile = known(values, states=states)
    while (profile.series["cpu"].past or (0,))[-1] == 0:
        put_values(profile, [next(values)])
    put_values(profile, [78.0 + chance.gauss(0, 7) for _ in range(30)])
    assert first(put_values(profile, [max(0.0, chance.gauss(0.5, 0.2)) for _ in range(10)])) is not None


def test_a_level_within_a_state_that_never_was_is_noticed() -> None:
    profile = known(idle(Chance(3)))
    assert first(put_values(profile, [18.0] * 10)) is not None
    profile = known(lasting(Chance(3)))
    assert first(put_values(profile, [99.0] * 10)) is not None


def test_a_new_level_is_usual_once_it_is_learnt() -> None:
    chance = Chance(4)
    profile = known(idle(chance))
    scores = put_values(profile, [max(0.0, chance.gauss(17, 1)) for _ in range(400)])
    assert first(scores) is not None
    assert max(scores[100:]) < ALARM


@pytest.mark.parametrize("length", [1, 3])
def test_a_short_job_that_came_before_is_no_alarm(length: int) -> None:
    profile = known(iter(([0.0] * 997 + [100.0] * length) * 6), 6000)
    scores = put_values(profile, ([0.0] * 997 + [100.0] * length) * 3)
    assert max(scores) < ALARM


def test_a_page_more_or_less_of_constant_memory_is_no_alarm_and_half_of_it_more_is() -> None:
    profile = known(iter([4e6] * 4000), 4000, "mem", fixedbound=False)
    assert profile.anomaly == 0
    assert max(put_values(profile, [4e6 + 4 * (step % 2) for step in range(40)], "mem", fixed=False)) < ALARM
    assert max(put_values(profile, [4e6 + 4] * 40, "mem", fixed=False)) < ALARM
    assert first(put_values(profile, [6e6] * 10, "mem", fixed=False)) is not None


def test_traffic_that_stops_is_noticed_however_large_it_once_was() -> None:
    chance = Chance(5)
    values = (3e4 * exp(chance.gauss(0, 0.6)) + (5e9 if step == 700 else 0.0) for step in range(6000))
    profile = known(values, 6000, "net", fixedbound=False)
    assert profile.series["net"].root.row(())[0] > 5900  # all in one state
    assert first(put_values(profile, [0.0] * 10, "net", fixed=False)) is not None


def test_buffers_of_many_samples_are_noticed_as_fast() -> None:
    chance = Chance(6)
    profile = known((max(0.0, chance.gauss(3, 2)) for _ in range(15_000)), 15_000, buffersize=5)
    scores = put_values(profile, [18.0] * 50)
    found = first(scores)
    assert found is not None and found <= 50


def test_a_change_does_not_explain_itself_away() -> None:
    profile = known(idle(Chance(7)), 400)
    scores = put_values(profile, [18.0] * 10)
    assert scores[-1] >= ALARM


def test_a_gap_alone_is_no_alarm() -> None:
    profile = known(shifts(Chance(8)))
    values = shifts(Chance(9))
    profile.put((profile.time or 0.0) + 1000, {"cpu": next(values)}, {"cpu": (0.0, 100.0)})
    assert profile.gaps == 1
    assert max(put_values(profile, islice(values, 100))) < ALARM


def test_a_profile_read_back_knows_what_is_new() -> None:
    profile = known(shifts(Chance(10)))
    again = profile_of(json.loads(json.dumps(document(profile))))
    one, other = profile.series["cpu"], again.series["cpu"]
    assert one.density.rows() == other.density.rows()
    assert [one.novelties.beyond(value) for value in (2.0, 9.0)] == [
        other.novelties.beyond(value) for value in (2.0, 9.0)
    ]
    put_values(again, islice(idle(Chance(11)), 20))
    assert first(put_values(again, [45.0] * 10)) is not None


def test_a_document_of_an_earlier_version_is_read_and_learns_what_is_new() -> None:
    raw = json.loads(json.dumps(document(known(idle(Chance(12))))))
    del raw["roottx"][0]["novelty"], raw["roottx"][0]["rarity"]["halfbits"]
    for count, noticed in ((200, False), (800, True)):
        profile = profile_of(raw)
        assert profile.series["cpu"].rarities.count > 2500
        assert max(put_values(profile, islice(idle(Chance(13)), count))) < ALARM
        assert (first(put_values(profile, [18.0] * 10)) is not None) is noticed


@pytest.mark.parametrize(
    "wrong", [None, {}, [], {"avg": 0, "count": 1, "stddevsum": 0, "halfbits": [1], "cells": [[1]]}]
)
def test_a_damaged_density_is_said(wrong: object) -> None:
    raw = json.loads(json.dumps(document(known(idle(Chance(14)), 100))))
    raw["roottx"][0]["novelty"] = wrong
    with pytest.raises(DocumentError):
        profile_of(raw)
