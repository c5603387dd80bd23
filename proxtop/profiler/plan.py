"""How many of these VMs fit a host: the distribution of what they want together, at each time of the day or week.

At a leaf of the period tree a VM's demand is a random number: one of its states with the share of time that it spends
in it then, and there its mean plus or minus its standard deviation. VMs are taken to be independent within a leaf; what
they share by the time of day and week is in the leaves. The demands add up, so their distributions convolve. The risk
is the share of the time of the worst leaf in which they want more than the host has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from proxtop.profiler.profile import Profile
from proxtop.profiler.series import Series

CELLS = 400
"""Parts into which the host's capacity is divided; a demand between two is shared out so that its mean is kept."""

MOST_VMS = 10_000

Kernel = list[tuple[int, float]]
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Fit:
    """`vms` fit; their `risk`, and that of one VM more (None: past MOST_VMS); `leaf` is the worst one (None without a
    tree) and `mean` what the VMs want then on the average."""

    vms: int
    risk: float
    next_risk: float | None
    leaf: int | None
    mean: float


def demands(profile: Profile, metric: str, scale: float) -> list[Points] | None:
    """For each leaf (one without a tree) the values that the metric takes, times `scale`, and their shares of the time;
    None where the profile has not learnt the metric. A leaf that was never seen is as the whole."""
    series = profile.series.get(metric)
    if series is None or not series.root.total():
        return None
    return [_points(series, leaf, scale) for leaf in range(max(1, profile.settings.leaves))]


def _points(series: Series, leaf: int, scale: float) -> Points:
    counts = series.leaves.row((), leaf) if series.leaves is not None else []
    if not sum(counts):
        counts = [series.level(state)[0] for state in range(series.settings.states)]
    total = sum(counts)
    found: Points = []
    for state, count in enumerate(counts):
        _, mean, deviation = series.level(state)
        if count and mean is not None and deviation is not None:
            low = max(0.0, mean - deviation)
            for value in (low, 2 * mean - low):
                found.append((value * scale, count / total / 2))
    return found


def fit(vms: Sequence[list[Points]], capacity: float, risk: float) -> Fit:
    """How many fit, taking these VMs in turn again and again; each has as many leaves as every other."""
    kernels = [[_kernel(points, capacity) for points in leaves] for leaves in vms]
    means = [[sum(value * share for value, share in points) for points in leaves] for leaves in vms]
    sums = [[1.0] + [0.0] * CELLS for _ in kernels[0]]
    wanted = [0.0] * len(sums)
    fitting = Fit(0, 0.0, None, None, 0.0)
    for number in range(MOST_VMS):
        own, mean = kernels[number % len(kernels)], means[number % len(means)]
        sums = [_convolved(cells, kernel) for cells, kernel in zip(sums, own, strict=True)]
        wanted = [total + more for total, more in zip(wanted, mean, strict=True)]
        risks = [max(0.0, 1 - sum(cells)) for cells in sums]
        worst = max(range(len(risks)), key=lambda leaf: (risks[leaf], wanted[leaf]))
        if risks[worst] > risk:
            return Fit(fitting.vms, fitting.risk, risks[worst], fitting.leaf, fitting.mean)
        leaf = worst if len(sums) > 1 else None
        fitting = Fit(number + 1, risks[worst], None, leaf, wanted[worst])
    return fitting


def _kernel(points: Points, capacity: float) -> Kernel:
    found: dict[int, float] = {}
    for value, share in points:
        cell = value / capacity * CELLS
        below = floor(cell)
        for place, part in ((below, 1 - (cell - below)), (below + 1, cell - below)):
            if part and place <= CELLS:
                found[place] = found.get(place, 0.0) + share * part
    return sorted(found.items())


def _convolved(cells: list[float], kernel: Kernel) -> list[float]:
    """What exceeds the capacity falls off at the end: it is the risk."""
    size = len(cells)
    total = [0.0] * size
    for shift, share in kernel:
        total[shift:] = [done + cell * share for done, cell in zip(total[shift:], cells, strict=False)]
    return total
