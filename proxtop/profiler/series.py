"""One metric of one VM: its samples, the states that they make, and how these follow one another."""

from __future__ import annotations

from array import array
from collections import deque
from math import inf, log2, sqrt

from proxtop.profiler.discretise import Bounds, kept, moved, state_of
from proxtop.profiler.markov import Counts, Past, corrected, predict
from proxtop.profiler.settings import Settings

DELAY = 10
"""Steps after which a transition counts for what is expected: what is new must not explain itself at once."""

LEARNT = 30
"""Transitions that must have been learnt before anything is called unusual."""

ALARM = 5.0
"""The score from which on something is called unusual."""

_FADE = 0.85
_RARITY_FADE = 0.7
_CLIP_BITS = 6.0
_FLOOR_BITS2 = 1.0
_FLOOR_BITS = 0.6
_RAREST_BITS = 9.0

Step = tuple[Past, int]


class Running:
    """Mean and standard deviation of numbers that come one by one."""

    __slots__ = ("count", "m2", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.m2 = 0.0
        """The sum of the squares of their distances from the mean."""

    def add(self, value: float) -> None:
        """One more."""
        self.count += 1
        distance = value - self.mean
        self.mean += distance / self.count
        self.m2 += distance * (value - self.mean)

    @property
    def deviation(self) -> float:
        """0 before there are two."""
        return sqrt(self.m2 / self.count) if self.count else 0.0


class Series:
    """The chain of a metric. `bounds` are the ends of the states' range: fixed, or the least and the greatest mean of a
    buffer so far. `past` are the last states, empty at the start and after a gap."""

    __slots__ = (
        "_fresh",
        "_rarity",
        "_surprise",
        "_variance",
        "bounds",
        "buffer",
        "filtered",
        "fixed",
        "highest",
        "leaves",
        "likelihood",
        "lowest",
        "metric",
        "moments",
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
        self._fresh: deque[tuple[Past, int, int]] = deque()
        self._surprise = 0.0
        self._variance = 0.0
        self._rarity: float | None = None
        self.rarities = Running()
        """How rare its states usually are, over a few steps each, in bits."""

    @property
    def anomaly(self) -> float | None:
        """By how many standard deviations the last steps were out of the ordinary, as transitions or as states, the
        larger of the two; 0 for ordinary ones. None before enough is known."""
        if self.steps - len(self._fresh) < LEARNT or not self._variance or self._rarity is None:
            return None
        usual, strange = self.rarities, 0.0
        if usual.count >= LEARNT:
            strange = (self._rarity - usual.mean) / max(usual.deviation, _FLOOR_BITS)
        return max(0.0, self._surprise / sqrt(self._variance), strange)

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
            self.past, self.likelihood = (), None
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
        past = self.past
        if past:
            self._judge(predict(self.root, past, self.leaves, leaf), state)
            self._place(state, leaf)
            self._fresh.append((past, state, leaf))
            self.steps += 1
            if len(self._fresh) > DELAY:
                self._learn(*self._fresh.popleft())
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

    def _place(self, state: int, leaf: int) -> None:
        """How rare the state is at that leaf and those beside it, in bits, over the last steps; and what that usually
        is. Beside it: what happens daily does not happen to the minute."""
        chances = predict(self.root, ())
        if self.leaves is not None:
            near = [self.leaves.row((), (leaf + side) % self.leaves.tables) for side in (-1, 0, 1)]
            chances = corrected(chances, [sum(counts) for counts in zip(*near, strict=True)])
        bits = min(-log2(chances[state]), _RAREST_BITS)
        if self._rarity is not None:
            self.rarities.add(self._rarity)
        self._rarity = bits if self._rarity is None else _RARITY_FADE * self._rarity + (1 - _RARITY_FADE) * bits

    def _learn(self, past: Past, state: int, leaf: int, count: int = 1) -> None:
        self.root.add(past, state, count=count)
        if self.leaves is not None:
            self.leaves.add(past, state, leaf, count)

    def settle(self, count: int) -> None:
        """Counts what is held back (1), or takes it out again (-1)."""
        for past, state, leaf in self._fresh:
            self._learn(past, state, leaf, count)

    def interrupt(self) -> None:
        """A gap in time: what comes after it followed nothing."""
        self.unknown += len(self.buffer)
        self.buffer = []
        self.past, self.likelihood = (), None
        self._surprise = self._variance = 0.0
        self._rarity = None

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
        self._fresh = deque((_renamed(past, places), places[state], leaf) for past, state, leaf in self._fresh)
        self.window = [step and (_renamed(step[0], places), places[step[1]]) for step in self.window]


def _renamed(past: Past, places: list[int]) -> Past:
    return tuple(places[state] for state in past)
