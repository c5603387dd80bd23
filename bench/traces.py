"""CPU of VMs as it is on real hosts: days and weeks, noise that lasts, jobs that come and go. Made, not recorded; the
same for a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import islice

STEP_S = 20.0
DAY = round(86400 / STEP_S)
"""Steps of a day."""

MONDAY = 4 * 86400.0 + 7 * 86400.0 * 2800
Shape = Callable[[float, int], float]


def _web(hour: float, day: int) -> float:
    """Office hours, a dip at noon, a third of it at weekends."""
    busy = math.exp(-(((hour - 10.5) / 2.4) ** 2)) + 0.9 * math.exp(-(((hour - 15.5) / 2.6) ** 2))
    return 6 + 55 * busy * (0.3 if day >= 5 else 1.0)


def _db(hour: float, day: int) -> float:
    """The web's, flatter; a backup at two."""
    return 12 + 0.45 * _web(hour, day) + (55 if 2 <= hour < 2.7 else 0)


def _batch(hour: float, day: int) -> float:
    """Nothing by day, all by night; longer on Sundays."""
    return 85 if hour < 4 or (day == 6 and hour < 9) else 3


def _idle(hour: float, day: int) -> float:
    """Nothing but a moment every hour."""
    return 30 if hour % 1 < 1 / 60 else 2


SHAPES: dict[str, Shape] = {"web": _web, "db": _db, "batch": _batch, "idle": _idle}


def trace(shape: Shape, seed: int) -> Iterator[tuple[float, float]]:
    """(time, CPU in %) of each step for ever, from a Monday on: the shape, each day a little stronger or weaker and
    earlier or later; noise with a memory of five minutes; jobs at random, eight a day, that want a quarter more for ten
    minutes on the average."""
    chance = random.Random(seed)
    noise, job = 0.0, 0
    keep = math.exp(-STEP_S / 300)
    step = 0
    strength, shift = 1.0, 0.0
    while True:
        if step % DAY == 0:
            strength, shift = chance.lognormvariate(0, 0.12), chance.gauss(0, 0.25)
        time = MONDAY + step * STEP_S
        hour = (step % DAY) * STEP_S / 3600
        noise = keep * noise + math.sqrt(1 - keep * keep) * chance.gauss(0, 1)
        if job:
            job -= 1
        elif chance.random() < 8 / DAY:
            job = 1 + round(chance.expovariate(STEP_S / 600))
        base = shape((hour + shift) % 24, step // DAY % 7) * strength
        value = base * (1 + 0.15 * noise) + chance.gauss(0, 1.0) + (25 if job else 0)
        yield time, min(100.0, max(0.0, value))
        step += 1


def days(shape: Shape, seed: int, count: float) -> list[tuple[float, float]]:
    """The first so many days."""
    return list(islice(trace(shape, seed), round(count * DAY)))
