"""The help overlay, out of the very table that the keys work by. Pure."""

from __future__ import annotations

from proxtop.tui.keys import MAIN
from proxtop.tui.table import Line
from proxtop.tui.text import fit

_KEY_CELLS = 9
_FOOT = " letters work in upper and lower case; W writes settings, w is who hurts whom "


def _shape(columns: int, rows: int) -> tuple[int, int, int]:
    """(lines of keys that fit, columns of keys, lines of keys in all)"""
    room = max(1, rows - 2)
    across = max(1, min(-(-len(MAIN) // room), columns // 40))
    return room, across, -(-len(MAIN) // across)


def depth(columns: int, rows: int) -> int:
    """The lines by which the help can be scrolled there."""
    room, _, down = _shape(columns, rows)
    return max(0, down - room)


def box(cursor: int, columns: int, rows: int) -> list[Line]:
    """The help's lines: every key and what it does, in as many columns as fit, scrolled by `cursor`."""
    room, across, down = _shape(columns, rows)
    each = min(56, columns // across)
    top = max(0, min(cursor, down - room))
    lines: list[Line] = [[("head", fit(" proxtop: keys ", each * across))]]
    for number in range(top, min(down, top + room)):
        line: Line = []
        for place in range(number, len(MAIN), down)[:across]:
            line += [
                ("key", fit(f" {MAIN[place].label}", _KEY_CELLS)),
                ("", fit(f" {MAIN[place].help}", each - _KEY_CELLS)),
            ]
        lines.append(line)
    more = f" {down - top - room} more lines below: Down " if down - top > room else _FOOT
    lines.append([("head", fit(more, each * across))])
    return lines
