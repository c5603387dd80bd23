"""Pressure stall information, from /proc/pressure/* and a cgroup's *.pressure
(kernel: Documentation/accounting/psi.rst)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from proxtop.kernel.errors import ParseError

_WORDS = 9
"""Of a line: its name, then a key and a value four times."""

_KEYS = ((1, b"avg10"), (3, b"avg60"), (5, b"avg300"), (7, b"total"))
_VALUES: tuple[tuple[int, type], ...] = ((2, float), (4, float), (6, float), (8, int))


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


def parse_pressures(texts: Sequence[bytes], names: Sequence[bytes]) -> list[list[list[Any]]] | None:
    """Many files, each with exactly the lines of these names: for each line a list of each of Pressure's values. None
    where one of them is not so."""
    words = b"".join(texts).replace(b"=", b" ").split()
    count, width = len(texts), _WORDS * len(names)
    if len(words) != width * count or words[::_WORDS] != [*names] * count:
        return None
    if any(words[place::_WORDS] != [key] * (len(names) * count) for place, key in _KEYS):
        return None
    try:
        lines = [
            [list(map(kind, words[start + place :: width])) for place, kind in _VALUES]
            for start in range(0, width, _WORDS)
        ]
    except ValueError:
        return None
    return lines if all(isfinite(sum(column)) for line in lines for column in line) else None


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
