from __future__ import annotations

import random
from itertools import pairwise

import pytest

from proxtop.profiler.profile import Profile
from tests.unit.profiler.chains import chain_settings, fed, feed

SETTINGS = chain_settings(phase_likelihood=0.3, phase_history=10)
STRETCH = 120


def idle(chance: random.Random) -> list[int]:
    return chance.choices([0, 1], [95, 5], k=STRETCH)


def busy(chance: random.Random) -> list[int]:
    return chance.choices([3, 2], [90, 10], k=STRETCH)


def beating(chance: random.Random) -> list[int]:
    return [0, 3] * (STRETCH // 2)


def followed(order: str, seed: int = 3) -> tuple[Profile, list[list[int]]]:
    """A profile after these stretches (i, b, o: idle, busy, to and fro), and the phase after each step of each."""
    chance = random.Random(seed)
    kinds = {"i": idle, "b": busy, "o": beating}
    profile = fed([], SETTINGS)
    found = []
    for letter in order:
        phases = []
        for state in kinds[letter](chance):
            feed(profile, [state])
            phases.append(profile.phases.current)
        found.append(phases)
    return profile, found


@pytest.mark.parametrize("seed", range(4))
def test_three_ways_of_behaving_are_three_phases_with_lasting_numbers(seed: int) -> None:
    order = "iboiboboi"
    profile, found = followed(order, seed)
    assert len(profile.phases.sizes) == 3
    names = {"i": 0, "b": 1, "o": 2}
    for letter, phases in zip(order, found, strict=True):
        assert phases[-1] == names[letter]
        settled = phases[15:]
        assert settled.count(names[letter]) >= 0.97 * len(settled), (letter, phases)


def test_a_phase_holds_what_happened_in_it_alone() -> None:
    profile, _ = followed("ibibib")
    series = profile.series["cpu"]
    with profile.complete():
        first, second = (dict(phase.rows(1)) for phase in series.phases)
    strange = sum(row[2] + row[3] for row in first.values())
    assert strange <= 0.02 * sum(map(sum, first.values()))
    strange = sum(row[0] + row[1] for row in second.values())
    assert strange <= 0.02 * sum(map(sum, second.values()))


def test_nothing_is_lost_between_the_phases() -> None:
    profile, found = followed("ibobi")
    series = profile.series["cpu"]
    with profile.complete():
        assert sum(phase.total() for phase in series.phases) == series.root.total()
    assert sum(profile.phases.moves.values()) == sum(map(len, found))


def test_moves_between_phases_are_counted_under_their_numbers() -> None:
    profile, found = followed("ibib")
    flat = [0] + [phase for phases in found for phase in phases]
    for before, after in {*profile.phases.moves}:
        wanted = sum(1 for pair in pairwise(flat) if pair == (before, after))
        assert profile.phases.moves[before, after] == wanted


def test_chance_alone_makes_no_phases() -> None:
    chance = random.Random(5)
    profile = fed(chance.choices(range(4), k=3000), SETTINGS)
    assert len(profile.phases.sizes) == 1


def test_without_a_likelihood_there_is_one_phase() -> None:
    profile = fed([0] * 200 + [3] * 200, chain_settings())
    assert profile.phases.current == 0
    assert profile.series["cpu"].phases == []
