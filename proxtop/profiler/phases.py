"""Phases: stretches of time in which a VM behaves in one way, told apart by how likely its last transitions are.

The last `phase_history` transitions are compared with what the phase makes of them: their mean probability (geometric)
against the one that the phase itself expects. Below `phase_likelihood` of that, the VM may have gone to another phase:
the known one that explains them best, or a new one, where it does so much better. Transitions count for a phase once
they have left that window, so that those which brought a change about count where they belong; a phase keeps its number
for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, log

from proxtop.profiler.markov import Counts, predict
from proxtop.profiler.series import Series, Step
from proxtop.profiler.settings import MAX_PHASES, Settings

Steps = list[Step | None]

_CONVINCED = log(1e6)
"""By how much, in nats, another phase must explain the last transitions better than the current one does, and a new
one better than all that there are."""


class Phases:
    """The phase of one VM over all its metrics. `moves` counts (phase before, phase after) of each step."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.current = 0
        self.moves: Counter[tuple[int, int]] = Counter()
        self.sizes = [0]
        """Steps counted in each phase."""

    def step(self, series: Sequence[Series], steps: Steps) -> None:
        """Takes a step of every metric, in the order of `series` (None where it makes none)."""
        before, length = self.current, self._length(series)
        for one, step in zip(series, steps, strict=True):
            while len(one.phases) < len(self.sizes):
                one.phases.append(Counts(self._settings.states, self._settings.history))
            missing = length - len(one.window)
            one.window = [*[None] * missing, *one.window, step if step is not None and step[0] else None]
        if self._length(series) >= self._settings.phase_history:
            self._judge(series)
        self.moves[before, self.current] += 1

    def _length(self, series: Sequence[Series]) -> int:
        return max((len(one.window) for one in series), default=0)

    def _judge(self, series: Sequence[Series]) -> None:
        length = self._length(series)
        grown = self.sizes[self.current] >= self._settings.phase_history
        if not grown or self._fits(series, self.current) >= self._settings.phase_likelihood:
            self._count(series, self.current, length - self._settings.phase_history + 1)
            return
        split = self._change(series)
        found = [self._explained(series, phase, split) for phase in range(len(self.sizes))]
        best = max(range(len(found)), key=found.__getitem__)
        if len(self.sizes) < MAX_PHASES and self._new(series, split) - found[best] >= _CONVINCED:
            best = len(self.sizes)
            self.sizes.append(0)
            for one in series:
                one.phases.append(Counts(self._settings.states, self._settings.history))
        elif found[best] - found[self.current] < _CONVINCED:
            self._count(series, self.current, 1)
            return
        self._count(series, self.current, split)
        self.current = best
        self._count(series, best, length - split)

    def _explained(self, series: Sequence[Series], phase: int, start: int) -> float:
        """The log-likelihood of the window from that place on, in a phase."""
        return sum(
            log(predict(one.phases[phase], step[0])[step[1]])
            for one in series
            for step in one.window[start:]
            if step is not None
        )

    def _new(self, series: Sequence[Series], start: int) -> float:
        """The same in a phase that knows nothing at first and learns as it goes: what it does not know counts against
        it, so that a few strange transitions do not make a phase."""
        total = 0.0
        for one in series:
            fresh = Counts(self._settings.states, self._settings.history)
            for step in one.window[start:]:
                if step is not None:
                    total += log(predict(fresh, step[0])[step[1]])
                    fresh.add(*step)
        return total

    def _fits(self, series: Sequence[Series], phase: int) -> float:
        """How likely the window is in a phase, as a share of what that phase expects of itself: 1 and more is as
        usual. By the means of logarithms, so that one transition that never happens weighs more than any that do."""
        found = expected = 0.0
        number = 0
        for one in series:
            for step in one.window:
                if step is not None:
                    chances = predict(one.phases[phase], step[0])
                    found += log(chances[step[1]])
                    expected += sum(chance * log(chance) for chance in chances)
                    number += 1
        return exp((found - expected) / number) if number else 1.0

    def _change(self, series: Sequence[Series]) -> int:
        """The place in the window before which its transitions still fit the current phase, by likelihood against
        that of any state alike."""
        alike = log(1 / self._settings.states)
        best, place, total = 0.0, 0, 0.0
        for number in range(self._length(series)):
            for one in series:
                step = one.window[number]
                if step is not None:
                    total += log(predict(one.phases[self.current], step[0])[step[1]]) - alike
            if total > best:
                best, place = total, number + 1
        return place

    def _count(self, series: Sequence[Series], phase: int, number: int) -> None:
        """Counts the oldest transitions of the window in a phase; they leave it."""
        for one in series:
            for step in one.window[:number]:
                if step is not None:
                    one.phases[phase].add(*step)
            one.window = one.window[number:]
        self.sizes[phase] += number

    def settle(self, series: Sequence[Series], count: int) -> None:
        """Counts what waits in the window (1), or takes it out again (-1)."""
        for one in series:
            for step in one.window:
                if step is not None:
                    one.phases[self.current].add(*step, count=count)
        self.sizes[self.current] += count * self._length(series)
