"""The help overlay, out of the very table that the keys work by. Pure."""

from __future__ import annotations

from proxtop.tui.keys import MAIN
from proxtop.tui.table import Line
from proxtop.tui.text import fit

_KEY_CELLS = 9
_FOOT = " letters work in upper and lower case; W writes settings, w is who hurts whom "


def box(cursor: int, columns: int, rows: int) -> list[Line]:
    """The help's lines: every key and what it does, in as many columns as fit, scrolled by `cursor`."""
    entries = [(key.label, key.help) for key in MAIN]
    room = max(1, rows - 2)
    across = max(1, min(-(-len(entries) // room), columns // 40))
    each = min(56, columns // across)
    down = -(-len(entries) // across)
    top = max(0, min(cursor, down - room))
    lines: list[Line] = [[("head", fit(" proxtop: keys ", each * across))]]
    for number in range(top, min(down, top + room)):
        line: Line = []
        for column in range(across):
            place = column * down + number
            label, text = entries[place] if place < len(entries) else ("", "")
            line += [("key", fit(" " + label, _KEY_CELLS)), ("", fit(" " + text, each - _KEY_CELLS))]
        lines.append(line)
    more = f" {down - top - room} more lines below: Down " if down - top > room else _FOOT
    lines.append([("head", fit(more, each * across))])
    return lines
