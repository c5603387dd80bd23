"""A screen, ready to be painted, and what keys and clicks must know of it."""

from __future__ import annotations

from dataclasses import dataclass

from proxtop.catalog import Metric
from proxtop.tui.scene import Scene
from proxtop.tui.table import Line


@dataclass(frozen=True, slots=True)
class Frame:
    """lines: as many as the screen has rows, from the top.

    ids: the rows of the table in their order; owners: the row of each line of the table, from line `first` of the
    screen on; heads: (first cell, cell behind the last, column) of the heads at line `head`. top: the first line of the
    table that is visible, page: how many are, length: how many there are. columns: those that the view shows;
    fields: those of the field selector, `host` of them of the host panel's. depth:
    the lines by which an overlay can be scrolled.
    """

    lines: list[Line]
    scene: Scene
    width: int
    ids: list[str]
    owners: list[str]
    first: int
    heads: tuple[tuple[int, int, str], ...]
    head: int
    top: int
    page: int
    length: int
    columns: tuple[Metric, ...]
    fields: tuple[Metric, ...] = ()
    host: tuple[Metric, ...] = ()
    depth: int = 0
