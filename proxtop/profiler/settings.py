"""How a profile is made: the numbers that must stay the same for as long as it grows."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STATES = 64
MAX_CELLS = 1 << 18
MAX_LEAVES = 10_000
MAX_BUFFER = 100_000
MAX_PHASES = 16
"""Past so many phases the best of those that there are is taken."""


class SettingsError(ValueError):
    """A setting that can't be: which, why, and what to give instead."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`interval` is the seconds between two samples. `filterstddevs` below 0: no filter. `periodsize` ends with the
    steps in a leaf of the period tree, what stands before is its fan-out, level by level. `phase_likelihood` 0: one
    phase only."""

    states: int = 4
    buffersize: int = 10
    history: int = 1
    filterstddevs: float = -1.0
    fixedbound: bool = False
    periodsize: tuple[int, ...] = ()
    phase_likelihood: float = 0.0
    phase_history: int = 10
    interval: float = 2.0

    @property
    def step_s(self) -> float:
        """The seconds that a buffer, a step of the chain, stands for."""
        return self.buffersize * self.interval

    @property
    def leaves(self) -> int:
        """The leaves of the period tree, 0 without one."""
        return math.prod(self.periodsize[:-1]) if len(self.periodsize) > 1 else 0

    def checked(self) -> Settings:
        """The same; SettingsError where a number is out of its range."""
        _within("--states", self.states, 2, MAX_STATES)
        _within("--buffersize", self.buffersize, 1, MAX_BUFFER)
        _within("--history", self.history, 1, 8)
        _within("--phase-history", self.phase_history, 2, 1000)
        if not 0 <= self.phase_likelihood < 1:
            raise SettingsError(
                f"--phase-likelihood: {self.phase_likelihood:g} is not from 0 to below 1; give e.g. 0.5, or 0 for one"
                " phase"
            )
        if not math.isfinite(self.filterstddevs):
            raise SettingsError("--filterstddevs: give a number, e.g. 3, or -1 for no filter")
        if self.states ** (self.history + 1) > MAX_CELLS:
            raise SettingsError(
                f"--states={self.states} with --history={self.history} makes {self.states ** (self.history + 1)}"
                f" transitions, more than {MAX_CELLS}; give fewer of either"
            )
        if len(self.periodsize) == 1:
            raise SettingsError(
                "--periodsize: one number makes no tree; give the fan-out of each level and last the steps in a leaf,"
                " e.g. 7,24,180"
            )
        for size in self.periodsize:
            _within("--periodsize", size, 1, 10_000_000)
        if self.leaves > MAX_LEAVES:
            raise SettingsError(f"--periodsize: {self.leaves} leaves are more than {MAX_LEAVES}; give fewer")
        return self


def _within(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{option}: {value} is not from {low} to {high}; give a number between them")
