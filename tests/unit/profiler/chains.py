"""Sequences with a known law, and profiles that were fed with them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from proxtop.profiler.markov import Past
from proxtop.profiler.profile import Profile
from proxtop.profiler.settings import Settings

Rows = Mapping[Past, Sequence[float]]
START = 4 * 86400.0 + 86400 * 7 * 2800
"""A Monday, 00:00 UTC."""


def sequence(rows: Rows, states: int, order: int, length: int, seed: int) -> list[int]:
    """A run of the chain with these rows, one for each past of that order; it begins with states at random."""
    chance = random.Random(seed)
    found = [chance.randrange(states) for _ in range(order)]
    while len(found) < length:
        row = rows[tuple(found[len(found) - order :])]
        found += chance.choices(range(states), row)
    return found


def fed(states: Iterable[int | None], settings: Settings, *, metric: str = "cpu", start: float = START) -> Profile:
    """A profile that has seen these states, each for a whole buffer of middle values of fixed bounds."""
    profile = Profile("00000000-0000-4000-8000-000000000001", settings)
    feed(profile, states, metric=metric, start=start)
    return profile


def feed(profile: Profile, states: Iterable[int | None], *, metric: str = "cpu", start: float | None = None) -> None:
    """More of the same, without a gap unless `start` says when the first buffer begins."""
    settings = profile.settings
    time = start if start is not None else profile.time or START
    width = 100 / settings.states
    for state in states:
        for _ in range(settings.buffersize):
            time += settings.interval
            value = None if state is None else (state + 0.5) * width
            profile.put(time, {metric: value}, {metric: (0.0, 100.0)})


def chain_settings(**values: object) -> Settings:
    """Fixed bounds and buffers of one sample, unless said otherwise."""
    return Settings(**{"fixedbound": True, "buffersize": 1, "interval": 1.0, **values}).checked()  # type: ignore[arg-type]


def put_values(profile: Profile, values: Iterable[float], metric: str = "cpu", *, fixed: bool = True) -> list[float]:
    """Feeds the profile with these samples, without a gap; the score after each (0 while there is none)."""
    bounds = (0.0, 100.0) if fixed else None
    scores = []
    for value in values:
        time = (profile.time or START) + profile.settings.interval
        profile.put(time, {metric: value}, {metric: bounds})
        scores.append(profile.anomaly or 0.0)
    return scores
