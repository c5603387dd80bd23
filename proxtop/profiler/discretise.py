"""Numbers → states: equal parts of a range, and what becomes of them when the range grows."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from statistics import median_low

Bounds = tuple[float, float]


def state_of(value: float, low: float, high: float, states: int) -> int:
    """The state of a value: the range from `low` to `high` in equal parts, 0 the lowest; beyond it the nearest. A range
    without width has state 0 alone."""
    if high <= low or value <= low:
        return 0
    if value >= high:
        return states - 1
    return min(int((value - low) / (high - low) * states), states - 1)  # a quotient just below 1 may round up to it


def edges(state: int, low: float, high: float, states: int) -> Bounds:
    """The lower and upper end of a state."""
    width = (high - low) / states
    return low + state * width, low + (state + 1) * width


def moved(means: Sequence[float | None], old: Bounds, new: Bounds) -> list[int]:
    """Where each state goes when the range changes: to the state in which the mean of its values lies; a state without
    values by its middle. So a VM that is either idle or busy stays so, whatever else it ever did once."""
    states = len(means)
    places = []
    for state, mean in enumerate(means):
        low, high = edges(state, *old, states)
        places.append(state_of((low + high) / 2 if mean is None else mean, *new, states))
    return places


def kept(samples: list[float], stddevs: float, deviation: float) -> list[float]:
    """The samples within so many standard deviations of their median; all where `stddevs` is below 0, or the
    deviation is infinite: not known yet.

    The median is the buffer's own, so that a VM that goes to another level is believed; the standard deviation is that
    of everything so far: within a buffer of n no sample is farther than (n-1)/sqrt(n) of its own.
    """
    if stddevs < 0 or deviation == inf:
        return samples
    middle = median_low(samples)
    return [sample for sample in samples if abs(sample - middle) <= stddevs * deviation]
