"""Pressure stall information, from /proc/pressure/* and a cgroup's *.pressure
(kernel: Documentation/accounting/psi.rst)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from proxtop.kernel.errors import ParseError
from proxtop.kernel.numbers import decimals

_DIGITS = b"0123456789"
_EMPTY = b" avg=. avg=. avg=. total=\n"
"""A line without its name and its digits: averages have two decimals, totals none."""


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
    text = b"".join(texts)
    if text.translate(None, _DIGITS) != b"".join([name + _EMPTY for name in names]) * len(texts):
        return None
    for name in names:
        text = text.replace(name + b" avg10=", b"")
    for key in (b"avg60=", b"avg300=", b"total="):
        text = text.replace(key, b"")
    try:
        numbers = decimals(text)
    except ValueError:
        return None
    width = len(Pressure._fields) * len(names)
    if len(numbers) != width * len(texts):
        return None
    columns = [numbers[place::width] for place in range(width)]
    return [columns[start : start + len(Pressure._fields)] for start in range(0, width, len(Pressure._fields))]


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
