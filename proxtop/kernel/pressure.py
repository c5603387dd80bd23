"""Pressure stall information, from /proc/pressure/* and a cgroup's *.pressure
(kernel: Documentation/accounting/psi.rst)."""

from __future__ import annotations

from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from proxtop.kernel.errors import ParseError


class Pressure(NamedTuple):
    """One line: averages in %, total stall time in µs."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


def parse_pressure(text: bytes) -> tuple[Pressure | None, Pressure | None]:
    """(some, full); None for a line that this file does not have: cpu before 5.13 lacks full, irq has nothing else."""
    some = full = None
    try:
        for line in text.splitlines():
            if line.startswith(b"some "):
                some = _line(line)
            elif line.startswith(b"full "):
                full = _line(line)
    except ValueError:
        raise ParseError("*.pressure", text) from None
    if some is None and full is None:
        raise ParseError("*.pressure", text)
    return some, full


@lru_cache(maxsize=256)
def _line(line: bytes) -> Pressure:
    # most cgroups do not stall: their lines are the same. Those that do are new each time, and soon forgotten
    match line.replace(b"=", b" ").split():
        case [_, b"avg10", a, b"avg60", b, b"avg300", c, b"total", total, *_]:
            avg10, avg60, avg300 = float(a), float(b), float(c)
        case _:
            raise ValueError
    if not isfinite(avg10 + avg60 + avg300):
        raise ValueError
    return Pressure(avg10, avg60, avg300, int(total))
