"""Text on a grid of cells: how wide it is, and how it is made to fit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wcwidth import wcwidth


@lru_cache(16384)
def width(text: str) -> int:
    """The cells that a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(max(0, wcwidth(char)) for char in text)


@lru_cache(16384)
def fit(text: str, cells: int, more: str = "…") -> str:
    """The text in exactly that many cells: padded on the right, or cut with `more` at its end."""
    if text.isascii() and len(text) <= cells:
        return text.ljust(cells)
    size = width(text)
    if size <= cells:
        return text + " " * (cells - size)
    if cells <= 0:
        return ""
    room = cells - 1
    kept = []
    for char in text:
        step = max(0, wcwidth(char))
        if step > room:
            break
        kept.append(char)
        room -= step
    return "".join(kept) + more + " " * room


def right(text: str, cells: int) -> str:
    """ASCII text at the right end of that many cells; what does not fit is cut at its left."""
    return text.rjust(cells) if len(text) <= cells else text[len(text) - cells :]


SPARKS = "▁▂▃▄▅▆▇█"
PLAIN_SPARKS = "_.-=+*%#"


def sparkline(values: Sequence[float | None], *, low: float = 0.0, high: float | None = None, sparks: str) -> str:
    """One character for each value, from `low` to `high` (the largest value where that is None); unknown is a blank."""
    known = [value for value in values if value is not None]
    top = max(known, default=low) if high is None else high
    span = top - low
    last = len(sparks) - 1
    return "".join(
        " "
        if value is None
        else sparks[0]
        if span <= 0
        else sparks[max(0, min(last, round((value - low) / span * last)))]
        for value in values
    )
