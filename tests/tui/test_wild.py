"""Whatever is pressed, whatever comes, at whatever size: there is a screen, and it fits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxtop.model import EMPTY, Snapshot, Table, Value
from proxtop.tui import keys
from proxtop.tui.paint import Painter
from proxtop.tui.text import width
from proxtop.tui.theme import styles
from tests.tui.drawn import Drawn
from tests.tui.recorded import many, recorded

NAMES = sorted({name for table in keys.TABLES.values() for name in table}) + list("abcxyzABC?/[] ")
STRANGE: tuple[Value, ...] = (None, 0, -1, 1e300, -1e300, 10**18, True, "", "text", "データ", 0.05)


def wild(chance: random.Random) -> Snapshot:
    """A snapshot with things missing and values that should not be."""
    _, snapshot = many(chance.choice((0, 1, 3, 40)), chance.randrange(50))
    tables = dict(snapshot.tables)
    for name in list(tables):
        table = tables[name]
        turn = chance.random()
        if turn < 0.1:
            del tables[name]
        elif turn < 0.2:
            tables[name] = EMPTY
        else:
            columns = {
                key: [chance.choice(STRANGE) if chance.random() < 0.05 else value for value in column]
                for key, column in table.columns.items()
                if chance.random() > 0.05
            }
            tables[name] = Table(table.ids, columns)
    families = tuple(name for name in snapshot.families if chance.random() > 0.1)
    reason = chance.choice((None, "libvirt: no answer"))
    return replace(
        snapshot, tables=tables, families=families, reason=reason, stale={"io": "late"}, degraded={"cpu": "x"}
    )


@pytest.mark.parametrize("seed", range(12))
def test_nothing_breaks_the_screen(seed: int) -> None:
    chance = random.Random(seed)
    stamp, _ = recorded()[0]
    drawn = Drawn((80, 24), [])
    painter = Painter(styles(colour=True))
    for turn in range(400):
        if chance.random() < 0.3:
            node = chance.choice(("pve1", "pve1", "pve2"))
            drawn.feed(replace(stamp, node=node, seq=turn), wild(chance))
        if chance.random() < 0.1:
            drawn.size = chance.choice(((80, 24), (300, 100), (20, 5), (40, 8), (41, 9), (132, 43), (1, 1)))
        if chance.random() < 0.1:
            drawn.now += chance.choice((1, 10, 1000))
        event = chance.random()
        if event < 0.85:
            drawn.press(chance.choice(NAMES))
        elif event < 0.95:
            x, y = chance.randrange(80), chance.randrange(24)
            drawn.state = keys.clicked(drawn.state, drawn.frame, x, y)
        else:
            drawn.state = keys.scrolled(drawn.state, drawn.frame, chance.choice((-3, 3)))
        drawn.state = replace(drawn.state, quit=False)
        frame = drawn.frame
        columns, rows = drawn.size
        assert len(frame.lines) == rows
        for line in frame.lines:
            assert sum(width(text) for _, text in line) <= columns, line
        painter.paint(frame.lines, columns)
