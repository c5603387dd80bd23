"""What a counted chain says in short: shares of time, how long a state lasts, how predictable it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from proxtop.profiler.markov import Counts, Past, stationary
from proxtop.profiler.series import Series


@dataclass(frozen=True, slots=True)
class Level:
    """A state. `share`: of the buffers so far; `stationary`: of the time in the long run; `sojourn`: steps that it
    lasts once entered, None where it was never left; `mean` and `deviation` of the values in it."""

    low: float
    high: float
    count: int
    share: float
    stationary: float
    sojourn: float | None
    mean: float | None
    deviation: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric's states, and the entropy of a step in bits: 0 is certain, log2(states) is chance."""

    levels: tuple[Level, ...]
    entropy: float | None

    @property
    def expected(self) -> float | None:
        """The mean value in the long run."""
        found = [(level.stationary, level.mean) for level in self.levels if level.mean is not None]
        whole = sum(weight for weight, _ in found)
        return sum(weight * mean for weight, mean in found) / whole if whole else None


def summary(series: Series) -> Summary:
    """The summary of a series whose counts are complete."""
    states = series.settings.states
    shares, sojourns, entropy = _chain(series.root)
    found = [series.level(state) for state in range(states)]
    total = sum(count for count, _, _ in found)
    low, high = series.bounds or (0.0, 0.0)
    width = (high - low) / states
    levels = []
    for state, (count, mean, deviation) in enumerate(found):
        share = count / total if total else 0.0
        levels.append(
            Level(
                low + state * width, low + (state + 1) * width, count, share,
                shares.get(state, 0.0) if shares else share, sojourns.get(state), mean, deviation,
            )
        )  # fmt: skip
    return Summary(tuple(levels), entropy)


def _chain(counts: Counts) -> tuple[dict[int, float], dict[int, float], float | None]:
    """(share of time by state, steps that it lasts by state, entropy of a step) in the long run."""
    shares: dict[int, float] = {}
    leaving: dict[int, float] = {}
    entropy = 0.0
    weights: dict[Past, float] = stationary(counts)
    for past, weight in weights.items():
        row = counts.row(past)
        n = sum(row)
        state = past[-1]
        shares[state] = shares.get(state, 0.0) + weight
        leaving[state] = leaving.get(state, 0.0) + weight * (n - row[state]) / n
        entropy -= weight * sum(count / n * log2(count / n) for count in row if count)
    sojourns = {state: shares[state] / out for state, out in leaving.items() if out > 1e-12}
    return shares, sojourns, max(entropy, 0.0) if weights else None
