"""What there is to show beside the user's choice: data, their age, where they come from. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proxtop.catalog import DEFAULT_FAMILIES
from proxtop.model import Snapshot, Stamp
from proxtop.tui.cluster import Cluster
from proxtop.tui.history import History
from proxtop.tui.theme import Levels

NO_HISTORY = History()


@dataclass(frozen=True, slots=True)
class Scene:
    """The data that are shown. `snapshot` is the newest, or the one at which the screen is paused.

    stamp: whose and when. behind: seconds by which a paused screen is behind the newest cycle, None when live; until:
    when the shown cycle came then. age: seconds since the last cycle came, where that is more than two intervals. link:
    what is wrong with the connection, in words. base: the interval of a fleet that others use too. asked: the families
    that the user named, empty for all; only: the VMs, as globs. nodes: the hosts on the bus. notes: what the settings
    file had to say. memo: what was worked out for this cycle already. cluster: the hosts, where all of them are shown
    in one; the snapshot is then one of all.
    """

    snapshot: Snapshot | None = None
    stamp: Stamp | None = None
    behind: float | None = None
    age: float | None = None
    link: str = ""
    base: float | None = None
    asked: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    history: History = NO_HISTORY
    until: float | None = None
    levels: Levels = field(default_factory=Levels)
    sparks: str = "▁▂▃▄▅▆▇█"
    memo: dict[str, Any] = field(default_factory=dict, compare=False)
    cluster: Cluster | None = None

    def families(self, view: str) -> tuple[str, ...]:
        """The families whose fields the view can show: those that come; for `all`, and where there is nothing yet, of
        those that were asked for."""
        if self.snapshot is None:
            return self.asked or DEFAULT_FAMILIES
        come = self.snapshot.families
        return tuple(name for name in come if view != "all" or not self.asked or name in self.asked)
