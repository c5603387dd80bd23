"""How far two profiles are from one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log2, sqrt

from proxtop.profiler.discretise import moved
from proxtop.profiler.profile import Profile
from proxtop.profiler.series import Series

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one metric. `distance`: 0 (behaves the same) to 1 (has nothing in common); `shift`: by how much the values of
    the one have to be moved on the average to be those of the other, in `unit`s of the metric; `means`: the expected
    value of each."""

    metric: str
    distance: float
    shift: float
    means: tuple[float, float]


def differences(one: Profile, other: Profile) -> list[Difference]:
    """The metrics that both have, of profiles whose counts are complete and whose number of states is the same."""
    found = []
    for metric, series in one.series.items():
        second = other.series.get(metric)
        if second is not None and series.root.total() and second.root.total():
            found.append(_difference(series, second))
    return found


def _difference(one: Series, other: Series) -> Difference:
    """The distance is the square root of the Jensen-Shannon divergence (bits) of how often each transition happens,
    both in the states of their common range; it is a metric. The shift is the Wasserstein distance of their values."""
    lows, highs = zip(*(series.bounds or (0.0, 0.0) for series in (one, other)), strict=True)
    bounds = (min(lows), max(highs))
    first, second = (_pairs(series, bounds) for series in (one, other))
    points = [_values(series) for series in (one, other)]
    means = tuple(sum(value * weight for value, weight in found) for found in points)
    return Difference(one.metric, sqrt(_divergence(first, second)), _shift(*points), (means[0], means[1]))


def _pairs(series: Series, bounds: tuple[float, float]) -> dict[Pair, float]:
    """The share of each (state, next state) among all transitions, in the states of another range."""
    states = series.settings.states
    means = [series.level(state)[1] for state in range(states)]
    places = moved(means, series.bounds or (0.0, 0.0), bounds)
    found: Counter[Pair] = Counter()
    for past, row in series.root.rows(1):
        for state, count in enumerate(row):
            if count:
                found[places[past[0]], places[state]] += count
    total = sum(found.values())
    return {pair: count / total for pair, count in found.items()}


def _divergence(first: Mapping[Pair, float], second: Mapping[Pair, float]) -> float:
    total = 0.0
    for pair in {*first, *second}:
        p, q = first.get(pair, 0.0), second.get(pair, 0.0)
        middle = (p + q) / 2
        total += sum(x * log2(x / middle) / 2 for x in (p, q) if x)
    return min(max(total, 0.0), 1.0)


def _values(series: Series) -> list[tuple[float, float]]:
    """(mean value of a state, share of the buffers in it), ascending."""
    levels = [series.level(state)[:2] for state in range(series.settings.states)]
    total = sum(count for count, _ in levels)
    return sorted((mean, count / total) for count, mean in levels if mean is not None)


def _shift(first: list[tuple[float, float]], second: list[tuple[float, float]]) -> float:
    """The area between the two distribution functions."""
    steps = sorted([(value, weight) for value, weight in first] + [(value, -weight) for value, weight in second])
    area = height = 0.0
    for (value, weight), (following, _) in pairwise(steps):
        height += weight
        area += abs(height) * (following - value)
    return area
