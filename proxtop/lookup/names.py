"""Names that come from outside, made fit to be shown; once, here, for everyone behind."""

from __future__ import annotations

import unicodedata

LIMIT = 256
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control codes, format controls (bidi, zero width), surrogates and line separators."""


def clean(name: str, limit: int = LIMIT) -> str:
    """The name with each character that would control a screen, a line or the reading direction shown as U+FFFD, and
    at most `limit` characters long (the last then `…`)."""
    if len(name) > limit:
        name = name[: limit - 1] + "…"
    if name.isprintable():
        return name
    return "".join("\ufffd" if unicodedata.category(char) in _HIDDEN else char for char in name)
