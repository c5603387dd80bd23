"""Numbers as the kernel prints them, many at once, by a JSON parser: faster than int() for each by far."""

from __future__ import annotations

from typing import Any

import orjson

_COMMAS = bytes.maketrans(b" \n", b",,")
_EXPECTED = b"0123456789- \n"


def integers(text: bytes) -> list[int]:
    """The integers of 64 bits in a text, each followed by one blank or the end of a line; ValueError where there is
    anything else. After the last one nothing need follow. One past 64 bits, which no counter of the kernel's is, comes
    as a float."""
    if text.translate(None, _EXPECTED):
        raise ValueError(text)
    numbers: list[int] = _listed(text)
    return numbers


def decimals(text: bytes) -> list[float]:
    """The same of decimal numbers (0.25), which whole ones may be among: those are integers."""
    numbers: list[float] = _listed(text)
    return numbers


def _listed(text: bytes) -> Any:
    return orjson.loads(b"[%b]" % text.translate(_COMMAS).removesuffix(b","))
