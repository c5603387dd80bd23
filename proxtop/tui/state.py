"""All that the user can change on the screen, in one frozen value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxtop.tui.views import VIEWS

Overlay = Literal["", "help", "fields", "vm"]


@dataclass(frozen=True, slots=True)
class Sort:
    """By which column, and whether the largest come first."""

    column: str
    descending: bool


@dataclass(frozen=True, slots=True)
class State:
    """What is on the screen.

    view: a key of VIEWS. sorts, fields, host: the user's choice by view. selected: the id of a row, which keeps its
    row wherever it is sorted. top: the first line of the table that is visible, left: the first column that may
    scroll. cursor: the line of the overlay. paused: the monotonic second of the snapshot that is shown, None for the
    newest. interval: the wanted seconds between two cycles. saves counts how often the settings were to be written.
    node: the host that is shown, None for all that there are. grouped: VMs stand below their hosts.
    """

    view: str = "all"
    sorts: Mapping[str, Sort] = field(default_factory=dict)
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    human: bool = False
    verbose: bool = False
    filter: str = ""
    typing: bool = False
    selected: str | None = None
    top: int = 0
    left: int = 0
    overlay: Overlay = ""
    cursor: int = 0
    expanded: frozenset[str] = frozenset()
    paused: float | None = None
    interval: float = 2.0
    node: str | None = None
    grouped: bool = False
    saves: int = 0
    quit: bool = False
    note: str = ""

    @property
    def sort(self) -> Sort:
        """The sort of this view: by its main number, the largest first, unless the user chose another."""
        return self.sorts.get(self.view) or Sort(VIEWS[self.view].sort, True)
