"""Frames → escape codes: only what changed is written. Pure but for what it remembers of the screen.

prompt_toolkit's renderer compares screens cell by cell, which costs some 60 ms of CPU at 300x100; lines that are the
same cost nothing here, and of the others only the changed fragments are written. After text that is not ASCII the
column is set anew: however wide a terminal takes a character, the next column starts where it should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxtop.tui.table import Line
from proxtop.tui.text import width

_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronised output: a terminal that knows it shows the change at once; others ignore it."""


class Painter:
    """Knows what is on the screen. `styles` are SGR parameters by name."""

    def __init__(self, styles: Mapping[str, str], *, together: bool = True) -> None:
        self._codes = {name: f"\x1b[0;{sgr}m" if sgr else "\x1b[0m" for name, sgr in styles.items()}
        self._together = together
        self._lines: list[Line] = []
        self._width = 0

    def forget(self) -> None:
        """The screen has been cleared, or nobody knows what is on it."""
        self._lines = []

    def paint(self, lines: Sequence[Line], columns: int) -> str:
        """What turns the screen into these lines; empty where they are on it already."""
        if columns != self._width:
            self._lines, self._width = [], columns
        out: list[str] = []
        old = self._lines
        for y, line in enumerate(lines):
            if y >= len(old):
                self._line(out, y, line)
            elif line is not old[y] and line != old[y]:
                self._change(out, y, old[y], line)
        self._lines = list(lines)
        if not out:
            return ""
        if self._together:
            return "".join((_BEGIN, *out, "\x1b[0m\x1b[H", _END))
        return "".join((*out, "\x1b[0m\x1b[H"))

    def _change(self, out: list[str], y: int, old: Line, new: Line) -> None:
        """The fragments that differ, where both lines are cut the same way; else the whole line."""
        if len(old) != len(new) or any(width(a[1]) != width(b[1]) for a, b in zip(old, new, strict=True)):
            self._line(out, y, new)
            return
        x = 0
        written = False
        for before, after in zip(old, new, strict=True):
            if before == after:
                written = False
            else:
                if not written:
                    out.append(f"\x1b[{y + 1};{x + 1}H")
                self._text(out, after)
                written = after[1].isascii()
            x += width(after[1])

    def _line(self, out: list[str], y: int, line: Line) -> None:
        out.append(f"\x1b[{y + 1};1H")
        x = 0
        for fragment in line:
            self._text(out, fragment)
            x += width(fragment[1])
            if not fragment[1].isascii():
                out.append(f"\x1b[{y + 1};{x + 1}H")
        if x < self._width:
            out.append("\x1b[0m\x1b[K")

    def _text(self, out: list[str], fragment: tuple[str, str]) -> None:
        style, text = fragment
        out.append(self._codes[style])
        out.append(text if text.isprintable() else text.translate(_CONTROLS))
