"""The period tree: which part of the day, the week or any other period an instant lies in.

`periodsize` 7,24,180 is a tree of 7 nodes with 24 leaves each, of 180 steps: with steps of 20 s, days and hours.
Steps are counted from Monday 1970-01-05, 00:00 UTC: the same for every VM and host, and after every restart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_DAY_S = 86400.0
MONDAY = 4 * _DAY_S
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Periods:
    """`sizes` as --periodsize has them; `step_s` the seconds of a step."""

    sizes: tuple[int, ...]
    step_s: float

    @property
    def fanout(self) -> tuple[int, ...]:
        """Children of a node, level by level; empty without a tree."""
        return self.sizes[:-1]

    @property
    def leaves(self) -> int:
        """How many leaves there are, 0 without a tree."""
        return math.prod(self.fanout) if self.fanout else 0

    @property
    def leaf_s(self) -> float:
        """The seconds of a leaf."""
        return self.sizes[-1] * self.step_s

    @property
    def span_s(self) -> float:
        """The seconds after which the tree begins anew."""
        return self.leaves * self.leaf_s

    def leaf(self, time: float) -> int:
        """The leaf of that instant (seconds since 1970), counted over the whole tree; 0 without one."""
        if not self.fanout:
            return 0
        step = math.floor((time - MONDAY) / self.step_s + 1e-6)  # a step that begins at its very instant
        return step // self.sizes[-1] % self.leaves

    def path(self, leaf: int) -> tuple[int, ...]:
        """The way from the root to a leaf: the number of the child at each level."""
        found = []
        for size in reversed(self.fanout):
            leaf, child = divmod(leaf, size)
            found.append(child)
        return tuple(reversed(found))

    def label(self, leaf: int) -> str:
        """When a leaf begins, in words: Tue 14:00 UTC in a tree that repeats each week, 14:00 UTC in one of a day, its
        path in any other."""
        minutes = round(leaf * self.leaf_s / 60)
        clock = f"{minutes // 60 % 24:02}:{minutes % 60:02} UTC"
        if abs(self.span_s - 7 * _DAY_S) < 1:
            return f"{_DAYS[minutes // 1440]} {clock}"
        if abs(self.span_s - _DAY_S) < 1:
            return clock
        return "leaf " + ".".join(map(str, self.path(leaf)))
