"""The profile of a VM: a chain for each of its metrics, its phase, and what is unusual now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import exp, log

from proxtop.profiler.discretise import Bounds
from proxtop.profiler.periods import Periods
from proxtop.profiler.phases import Phases
from proxtop.profiler.series import Series
from proxtop.profiler.settings import Settings


class Profile:
    """What is known of one VM. `name` is its UUID, `vm` its name, `node` the host that it ran on last; `since` and
    `time` are the first and the last sample's time (seconds since 1970)."""

    __slots__ = (
        "_filled", "_periods", "gaps", "name", "node", "phases", "series", "settings", "since", "time", "vcpus", "vm",
    )  # fmt: skip

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.vm = ""
        self.node = ""
        self.vcpus: int | None = None
        self.settings = settings
        self.series: dict[str, Series] = {}
        self.phases = Phases(settings)
        self.since: float | None = None
        self.time: float | None = None
        self.gaps = 0
        self._periods = Periods(settings.periodsize, settings.step_s)
        self._filled = 0

    def put(self, time: float, values: Mapping[str, float | None], bounds: Mapping[str, Bounds | None]) -> bool:
        """Takes a sample of each metric (None: unknown) and the range that it can have, where that is known; whether a
        buffer was full, so that there is a new state."""
        before, settings = self.time, self.settings
        if before is not None and -settings.step_s < time - before <= 0:
            return False  # seen already: a VM that migrates is on two hosts for a moment
        if before is not None and not 0 < time - before <= settings.step_s + settings.interval:
            self._interrupt()
        if before is None:
            self.since = time
        self.time = time
        for metric, value in values.items():
            series = self.series.get(metric)
            if value is not None:
                if series is None:
                    series = self.series[metric] = Series(metric, self.settings)
                series.buffer.append(value)
        self._filled += 1
        if self._filled < self.settings.buffersize:
            return False
        self._filled = 0
        self._close(time, bounds)
        return True

    def _interrupt(self) -> None:
        self.gaps += 1
        self._filled = 0
        for series in self.series.values():
            series.interrupt()

    def _close(self, time: float, bounds: Mapping[str, Bounds | None]) -> None:
        leaf = self._periods.leaf(time - self.settings.interval / 2) if self.settings.leaves else 0
        steps = []
        for metric, series in self.series.items():
            if self.settings.fixedbound:
                bound = bounds.get(metric)
                if bound is not None or not series.fixed:
                    series.fix(bound)
            steps.append(series.close(leaf))
        if self.settings.phase_likelihood:
            self.phases.step(list(self.series.values()), steps)

    @property
    def likelihood(self) -> float | None:
        """How likely the last step was: the geometric mean over the metrics, 0-1; None before there is one."""
        found = [series.likelihood for series in self.series.values() if series.likelihood is not None]
        return exp(sum(map(log, found)) / len(found)) if found else None

    @property
    def anomaly(self) -> float | None:
        """How unusual the last steps were, in standard deviations: the most unusual metric; None while too little is
        known of all of them."""
        return max((score for series in self.series.values() if (score := series.anomaly) is not None), default=None)

    @property
    def odd(self) -> str | None:
        """The metric that the anomaly score comes from."""
        scores = {name: score for name, series in self.series.items() if (score := series.anomaly) is not None}
        return max(scores, key=scores.__getitem__) if scores else None

    @contextmanager
    def complete(self) -> Iterator[None]:
        """Within it all is counted that is held back otherwise: to be shown or kept as it is."""
        self._settle(1)
        try:
            yield
        finally:
            self._settle(-1)

    def _settle(self, count: int) -> None:
        for series in self.series.values():
            series.settle(count)
        if self.settings.phase_likelihood:
            self.phases.settle(list(self.series.values()), count)
