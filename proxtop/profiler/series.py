"""One metric of one VM: its samples, the states that they make, and how these follow one another."""

from __future__ import annotations

from array import array
from collections import deque
from math import inf, log2, sqrt

from proxtop.profiler.density import Density
from proxtop.profiler.discretise import Bounds, kept, moved, state_of
from proxtop.profiler.markov import Counts, Past, corrected, predict
from proxtop.profiler.metrics import MEASURES
from proxtop.profiler.settings import Settings
from proxtop.profiler.usual import Running, Usual

DELAY = 10
"""Steps after which a transition counts for what is expected: what is new must not explain itself at once."""

LEARNT = 30
"""Transitions that must have been learnt before anything is called unusual."""

_FADE = 0.85
_RARITY_FADE = 0.7
_CLIP_BITS = 6.0
_FLOOR_BITS2 = 1.0
_RAREST_BITS = 9.0
_RARE_FLOOR_BITS = 0.6
_RARELY = 0.0005
"""The share of the steps whose states are the rarest, and usual all the same: 43 seconds of a day."""

_NOVELTY_FADE = 0.85
_NEWEST_BITS = 12.0
_NEW_FLOOR_BITS = 0.8
_NEWLY = 0.004
"""The share of the steps whose values are the newest, and usual all the same: six minutes of a day."""

_SETTLED = 300
"""Steps that must have been learnt before values are called new."""

Step = tuple[Past, int]
_Scored = tuple[int | None, int, float, float]
"""The cell ten steps before and the cell, how rare and how new it was."""


class Series:
    """The chain of a metric. `bounds` are the ends of the states' range: fixed, or the least and the greatest mean of a
    buffer so far. `past` are the last states, empty at the start and after a gap."""

    __slots__ = (
        "_fresh",
        "_novelty",
        "_rarity",
        "_recent",
        "_surprise",
        "_variance",
        "bounds",
        "buffer",
        "density",
        "filtered",
        "fixed",
        "highest",
        "leaves",
        "likelihood",
        "lowest",
        "metric",
        "moments",
        "novelties",
        "past",
        "phases",
        "rarities",
        "root",
        "samples",
        "settings",
        "steps",
        "unknown",
        "window",
    )

    def __init__(self, metric: str, settings: Settings) -> None:
        self.metric = metric
        self.settings = settings
        self.buffer: list[float] = []
        self.bounds: Bounds | None = None
        self.fixed = False
        self.root = Counts(settings.states, settings.history)
        self.leaves = Counts(settings.states, settings.history, settings.leaves) if settings.leaves else None
        self.phases: list[Counts] = []
        self.moments = array("d", bytes(24 * settings.states))
        """For each state: buffers, their sum and the sum of their squares."""
        self.past: Past = ()
        self.window: list[Step | None] = []
        self.samples = Running()
        self.lowest: float | None = None
        self.highest: float | None = None
        self.filtered = 0
        self.unknown = 0
        self.steps = 0
        self.likelihood: float | None = None
        measure = MEASURES.get(metric)
        self.density = Density(measure.grain, percent=measure.unit == "%") if measure is not None else Density()
        self._fresh: deque[tuple[Past, int, int, _Scored]] = deque()
        self._recent = bytearray()
        """The cells of the last ten steps."""
        self._surprise = 0.0
        self._variance = 0.0
        self._rarity: float | None = None
        self.rarities = Usual(_RARELY, _RARE_FLOOR_BITS)
        """How rare its states usually are, over a few steps each, in bits."""
        self._novelty: float | None = None
        self.novelties = Usual(_NEWLY, _NEW_FLOOR_BITS)
        """How new its values usually are, in the same way."""

    @property
    def anomaly(self) -> float | None:
        """By how many standard deviations the last steps were out of the ordinary, as transitions, as states or as
        values, the largest of the three; 0 for ordinary ones. None before enough is known."""
        if self.steps - len(self._fresh) < LEARNT or not self._variance or self._rarity is None:
            return None
        if self.highest is None or self.lowest is None or self.highest - self.lowest < self.density.grain:
            return 0.0
        rare = new = 0.0
        if self.rarities.count >= LEARNT:
            rare = self.rarities.beyond(self._rarity)
        if self.novelties.count >= _SETTLED and self._novelty is not None:
            new = self.novelties.beyond(self._novelty)
        return max(0.0, self._surprise / sqrt(self._variance), rare, new)

    def fix(self, bounds: Bounds | None) -> None:
        """States over this range from now on; None: over what is observed."""
        if bounds is None or bounds == self.bounds:
            self.fixed = bounds is not None
            return
        self._move(bounds)
        self.fixed = True

    def close(self, leaf: int) -> Step | None:
        """Ends the buffer: the step that it makes, None where too few of its samples are known."""
        samples, self.buffer = self.buffer, []
        size = self.settings.buffersize
        self.unknown += size - len(samples)
        deviation = self.samples.deviation if self.samples.count >= 2 * size else inf
        for sample in samples:
            self._observe(sample)
        if 2 * len(samples) < size:
            self._lose()
            return None
        good = kept(samples, self.settings.filterstddevs, deviation)
        self.filtered += len(samples) - len(good)
        return self._step(sum(good) / len(good), leaf)

    def _observe(self, sample: float) -> None:
        self.samples.add(sample)
        self.lowest = sample if self.lowest is None or sample < self.lowest else self.lowest
        self.highest = sample if self.highest is None or sample > self.highest else self.highest

    def _step(self, value: float, leaf: int) -> Step:
        bounds = self.bounds
        if bounds is None:
            bounds = self.bounds = (value, value)
        elif not self.fixed and not bounds[0] <= value <= bounds[1]:
            bounds = (min(bounds[0], value), max(bounds[1], value))
            self._move(bounds)
        states = self.settings.states
        state = state_of(value, *bounds, states)
        place = 3 * state
        self.moments[place] += 1
        self.moments[place + 1] += value
        self.moments[place + 2] += value * value
        past, cell = self.past, self.density.cell(value)
        if past:
            self._judge(predict(self.root, past, self.leaves, leaf), state)
            before = self._recent[0] if len(self._recent) == DELAY else None
            scored = before, cell, self._place(state, leaf), self._compare(before, cell)
            self._fresh.append((past, state, leaf, scored))
            self.steps += 1
            if len(self._fresh) > DELAY:
                past_due, state_due, leaf_due, values = self._fresh.popleft()
                self._learn(past_due, state_due, leaf_due)
                self._learn_values(*values)
        self._recent.append(cell)
        del self._recent[:-DELAY]
        self.past = (*past, state)[-self.settings.history :]
        return past, state

    def _judge(self, chances: list[float], state: int) -> None:
        """How likely the step was, and how much more surprising than a step has to be expected to be, in bits."""
        bits = [-log2(chance) for chance in chances]
        entropy = square = 0.0
        for chance, size in zip(chances, bits, strict=True):
            entropy += chance * size
            square += chance * size * size
        self.likelihood = chances[state]
        excess = min(bits[state] - entropy, _CLIP_BITS)
        self._surprise = _FADE * self._surprise + excess
        self._variance = _FADE * _FADE * self._variance + max(square - entropy * entropy, 0.0) + _FLOOR_BITS2

    def _place(self, state: int, leaf: int) -> float:
        """How rare the state is at that leaf and those beside it, in bits, over the last steps. Beside it: what happens
        daily does not happen to the minute."""
        chances = predict(self.root, ())
        if self.leaves is not None:
            near = [self.leaves.row((), (leaf + side) % self.leaves.tables) for side in (-1, 0, 1)]
            chances = corrected(chances, [sum(counts) for counts in zip(*near, strict=True)])
        bits = min(-log2(chances[state]), _RAREST_BITS)
        self._rarity = bits if self._rarity is None else _RARITY_FADE * self._rarity + (1 - _RARITY_FADE) * bits
        return self._rarity

    def _compare(self, before: int | None, cell: int) -> float:
        """How new a value in that cell is ten steps after one in that other cell, in bits, over the last steps."""
        bits = min(-log2(self.density.chance(before, cell)), _NEWEST_BITS)
        novelty = self.novelties.mean if self._novelty is None else self._novelty
        self._novelty = _NOVELTY_FADE * novelty + (1 - _NOVELTY_FADE) * bits
        return self._novelty

    def _learn_values(self, before: int | None, cell: int, rarity: float, novelty: float) -> None:
        self.density.add(before, cell)
        self.rarities.add(rarity)
        self.novelties.add(novelty)

    def _learn(self, past: Past, state: int, leaf: int, count: int = 1) -> None:
        self.root.add(past, state, count=count)
        if self.leaves is not None:
            self.leaves.add(past, state, leaf, count)

    def settle(self, count: int) -> None:
        """Counts what is held back (1), or takes it out again (-1)."""
        for past, state, leaf, _ in self._fresh:
            self._learn(past, state, leaf, count)

    def _lose(self) -> None:
        """What comes next follows nothing that is known."""
        self.past, self.likelihood = (), None
        self._recent.clear()

    def interrupt(self) -> None:
        """A gap in time: what comes after it followed nothing."""
        self.unknown += len(self.buffer)
        self.buffer = []
        self._lose()
        self._surprise = self._variance = 0.0
        self._rarity = self._novelty = None

    def level(self, state: int) -> tuple[int, float | None, float | None]:
        """(buffers in that state, their mean, their standard deviation)"""
        count, total, square = self.moments[3 * state : 3 * state + 3]
        if not count:
            return 0, None, None
        mean = total / count
        return int(count), mean, sqrt(max(square / count - mean * mean, 0.0))

    def _move(self, bounds: Bounds) -> None:
        """The same history in the states of another range."""
        old, self.bounds = self.bounds, bounds
        if old is None:
            return
        states = self.settings.states
        places = moved([self.level(state)[1] for state in range(states)], old, bounds)
        if places == list(range(states)):
            return
        for counts in (self.root, *([self.leaves] if self.leaves is not None else []), *self.phases):
            counts.move(places)
        before, self.moments = self.moments, array("d", bytes(24 * states))
        for state, place in enumerate(places):
            for part in range(3):
                self.moments[3 * place + part] += before[3 * state + part]
        self.past = _renamed(self.past, places)
        self._fresh = deque(
            (_renamed(past, places), places[state], leaf, scored) for past, state, leaf, scored in self._fresh
        )
        self.window = [step and (_renamed(step[0], places), places[step[1]]) for step in self.window]


def _renamed(past: Past, places: list[int]) -> Past:
    return tuple(places[state] for state in past)
