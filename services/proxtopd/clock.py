"""When cycles fall: multiples of the interval on the wall clock, kept by the monotonic one."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SPAN_MS = 260
"""From the priming sample to the first line: counters move by ticks of 4 ms, so 0.25 s and a little."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A cycle (scheduled wall time, ms) and the monotonic second at which it falls."""

    cycle: int
    at: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The cycles of one interval (s); the same on every actor and host, with no coordinator."""

    interval: float

    @property
    def step_ms(self) -> int:
        """The interval in ms."""
        return max(1, round(self.interval * 1000))

    def after(self, wall: float, mono: float) -> Tick:
        """The first multiple of the interval that is at least half an interval away.

        The distance bounds what a step of the wall clock does: one span of half to one and a half intervals, then the
        new phase.
        """
        now_ms = round(wall * 1000)
        step = self.step_ms
        cycle = (now_ms // step + 1) * step
        if cycle - now_ms < step / 2:
            cycle += step
        return Tick(cycle, mono + cycle / 1000 - wall)

    def following(self, cycle: int, wall: float, mono: float) -> Tick:
        """The cycle after this one. By its number, not by the time at which an actor comes to ask: so all agree, though
        one is early by a millisecond and another one late. Only who is late by far, or whose wall clock was set, goes
        by the clock.
        """
        step = self.step_ms
        number = (cycle // step + 1) * step
        if number - cycle < step / 2:
            number += step
        if step / 4 <= number - wall * 1000 <= 1.6 * step:
            return Tick(number, mono + number / 1000 - wall)
        return self.after(wall, mono)

    def first(self, prime_cycle: int, wall: float, mono: float) -> Tick:
        """The first line after a priming sample, off the grid."""
        cycle = prime_cycle + FIRST_SPAN_MS
        return Tick(cycle, mono + cycle / 1000 - wall)
