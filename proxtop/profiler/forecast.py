"""What comes next: the chances of each state for the next steps, from the last states and the time of each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proxtop.profiler.markov import Past, predict
from proxtop.profiler.periods import Periods
from proxtop.profiler.series import Series


@dataclass(frozen=True, slots=True)
class Outlook:
    """`step` steps ahead, `after_s` seconds: the chance of each state, and the value to be expected of the metric."""

    step: int
    after_s: float
    chances: tuple[float, ...]
    expected: float | None


def forecast(series: Series, steps: int, *, time: float | None = None, past: Past | None = None) -> Iterator[Outlook]:
    """The outlook for each of the next steps, of a series whose counts are complete.

    `past` are the last states, those of the series unless given; without any the first step is that of the long run.
    `time` is when the last step ended (seconds since 1970): with a period tree each step is taken at its own leaf.
    """
    settings = series.settings
    periods = Periods(settings.periodsize, settings.step_s)
    leaves = series.leaves if time is not None else None
    weights: dict[Past, float] = {series.past if past is None else past[-settings.history :]: 1.0}
    known: dict[tuple[Past, int], list[float]] = {}
    means = [series.level(state)[1] for state in range(settings.states)]
    for step in range(1, steps + 1):
        leaf = periods.leaf(time + (step - 0.5) * settings.step_s) if time is not None and leaves is not None else 0
        following: dict[Past, float] = {}
        chances = [0.0] * settings.states
        for before, weight in weights.items():
            row = known.get((before, leaf))
            if row is None:
                row = known[before, leaf] = predict(series.root, before, leaves, leaf)
            for state, chance in enumerate(row):
                share = weight * chance
                chances[state] += share
                after = (*before, state)[-settings.history :]
                following[after] = following.get(after, 0.0) + share
        weights = following
        yield Outlook(step, step * settings.step_s, tuple(chances), _expected(chances, means))


def _expected(chances: list[float], means: list[float | None]) -> float | None:
    """The mean value; a state that was never seen has none, and takes no part."""
    found = [(chance, mean) for chance, mean in zip(chances, means, strict=True) if mean is not None]
    whole = sum(chance for chance, _ in found)
    return sum(chance * mean for chance, mean in found) / whole if whole else None
