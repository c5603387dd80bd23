"""What a number usually is, and by how much one is out of that."""

from __future__ import annotations

from array import array
from math import sqrt

ALARM = 5.0
"""The score from which on something is called unusual."""

LEAST = 7.0
"""Bits from which on something may be unusual: what is seen once in 128 steps never is."""

_PER_BIT = 2
_BINS = 32
_REMEMBERED = 1 << 16


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


class Usual(Running):
    """Of bits, from 0 to 16, with the end of their distribution: no more than the share `rarely` of them is there. At
    65,536 the weight of all that came so far is halved, so that what was once is forgotten."""

    __slots__ = ("_tail", "_within", "bins", "floor", "rarely")

    def __init__(self, rarely: float, floor: float) -> None:
        super().__init__()
        self.rarely = rarely
        self.floor = floor
        """The least that is taken for their standard deviation."""
        self.bins = array("I", bytes(4 * _BINS))
        """How many of them were in each half bit."""
        self._tail = _BINS
        self._within = 0

    def add(self, value: float) -> None:
        """One more."""
        super().add(value)
        place = min(int(value * _PER_BIT), _BINS - 1)
        self.bins[place] += 1
        if place >= self._tail:
            self._within += 1
        if self.count >= _REMEMBERED:
            self._forget()
        self._seek()

    def restore(self, bins: list[int]) -> None:
        """Takes the distribution that was kept."""
        if len(bins) > _BINS or min(bins, default=0) < 0:
            raise ValueError("a distribution of another length")
        self.bins = array("I", bins + [0] * (_BINS - len(bins)))
        self._tail, self._within = _BINS, 0
        self._seek()

    def _forget(self) -> None:
        self.count //= 2
        self.m2 /= 2
        self.restore([count // 2 for count in self.bins])

    def _seek(self) -> None:
        """The tail begins as early as no more than that share is in it."""
        bins, most = self.bins, self.rarely * self.count
        while self._within > most:
            self._within -= bins[self._tail]
            self._tail += 1
        while self._tail and self._within + bins[self._tail - 1] <= most:
            self._tail -= 1
            self._within += bins[self._tail]

    def beyond(self, value: float) -> float:
        """By how many standard deviations that is more than usual; what is not in the tail is no alarm."""
        tail = max(self._tail / _PER_BIT, LEAST)
        return (value - self.mean) / max(self.deviation, self.floor, (tail - self.mean) / ALARM)
