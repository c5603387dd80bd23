"""The picture of a metric's profile, by matplotlib: matrix, what comes next, and the day or week."""

from __future__ import annotations

import warnings
from typing import Any

from matplotlib.figure import Figure

from proxprofiler.table import amount, duration
from proxtop.profiler.discretise import edges
from proxtop.profiler.forecast import forecast
from proxtop.profiler.metrics import unit_of
from proxtop.profiler.periods import Periods
from proxtop.profiler.profile import Profile
from proxtop.profiler.series import Series

_COLOURS = "viridis"


def draw(profile: Profile, series: Series, steps: int, path: str) -> None:
    """Writes the picture; its format is by the name's ending. OSError where it can't be written."""
    tree = series.leaves is not None
    figure = Figure(figsize=(15 if tree else 10, 4.6), layout="constrained")
    axes = figure.subplots(1, 3 if tree else 2, squeeze=False)[0]
    figure.suptitle(f"{_plain(profile.vm or profile.name)}: {series.metric}, {series.steps} steps of"
                    f" {duration(profile.settings.step_s)}")  # fmt: skip
    _matrix(axes[0], series)
    _timeline(axes[1], profile, series, steps)
    if tree:
        _periods(figure, axes[2], series)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font has not: boxes
        figure.savefig(path)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def _names(series: Series) -> list[str]:
    unit = unit_of(series.metric)
    bounds, states = series.bounds or (0.0, 0.0), series.settings.states
    return [f"{state}: to {amount(edges(state, *bounds, states)[1], unit)}" for state in range(states)]


def _matrix(axes: Any, series: Series) -> None:
    states, names = series.settings.states, _names(series)
    rows = dict(series.root.rows(1))
    cells: list[list[float]] = []
    for state in range(states):
        row = rows.get((state,), [0] * states)
        total = sum(row)
        cells.append([count / total if total else float("nan") for count in row])
    axes.imshow(cells, cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    for state, shares in enumerate(cells):
        for following, share in enumerate(shares):
            if share == share and states <= 10:
                axes.text(following, state, f"{100 * share:.0f}", ha="center", va="center",
                          color="black" if share > 0.5 else "white")  # fmt: skip
    axes.set(title="transitions, %", xlabel="next state", xticks=range(states), yticks=range(states))
    axes.set_yticklabels(names)


def _timeline(axes: Any, profile: Profile, series: Series, steps: int) -> None:
    found = list(forecast(series, steps, time=profile.time))
    times = [one.after_s / 60 for one in found]
    shares = [[one.chances[state] for one in found] for state in range(series.settings.states)]
    axes.stackplot(times, *shares, labels=_names(series))
    axes.set(title="states from now on", xlabel="minutes ahead", ylabel="probability", ylim=(0, 1))
    axes.margins(x=0)
    if series.settings.states <= 10:
        axes.legend(fontsize="x-small", loc="lower right", reverse=True)


def _periods(figure: Any, axes: Any, series: Series) -> None:
    """The mean value at each leaf: the last level along, the levels above it down."""
    settings = series.settings
    assert series.leaves is not None
    wide = settings.periodsize[-2]
    cells = []
    for leaf in range(settings.leaves):
        counts = series.leaves.row((), leaf)
        found = [
            (count, mean) for count, mean in zip(counts, _means(series), strict=True) if count and mean is not None
        ]
        total = sum(count for count, _ in found)
        cells.append(sum(count * mean for count, mean in found) / total if total else float("nan"))
    rows = [cells[first : first + wide] for first in range(0, settings.leaves, wide)]
    image = axes.imshow(rows, cmap=_COLOURS, aspect="auto")
    figure.colorbar(image, ax=axes, label=f"mean, {unit_of(series.metric)}")
    periods = Periods(settings.periodsize, settings.step_s)
    axes.set(title=f"by time, UTC, {duration(periods.span_s)} in all", xlabel=f"parts of {duration(periods.leaf_s)}")
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([periods.label(number * wide) for number in range(len(rows))], fontsize="x-small")


def _means(series: Series) -> list[float | None]:
    return [series.level(state)[1] for state in range(series.settings.states)]
