"""What a guest says of its memory through its balloon, and whether it still says it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from proxtop.model import Value

_STALE_S = 30.0
_UNSET = (1 << 64) - 1

Values = tuple[Value, ...]
"""As base.BALLOON: actual, available, unused, usable, swapped in and out, in KB."""


class Freshness:
    """Tells a guest that reports from one that stopped: its report's time (seconds since 1970, the host's clock) moves.

    A report is taken as fresh as long as it is young or moved lately; the clocks of two hosts may differ, a report that
    moved is proof."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._moved: dict[str, tuple[int, float]] = {}

    def is_fresh(self, uuid: str, last_update: Value, allowed: float) -> bool:
        """Whether the report with that time is one of a guest that reports at least every `allowed` seconds."""
        if not isinstance(last_update, int) or last_update <= 0:
            self._moved.pop(uuid, None)
            return False
        allowed = max(_STALE_S, allowed)
        now = self._clock()
        seen = self._moved.get(uuid)
        if seen is None:
            # not known yet whether it moves: its age by the wall clock is all there is
            age = self._wall() - last_update
            self._moved[uuid] = last_update, now - max(0.0, age)
        elif seen[0] != last_update:
            self._moved[uuid] = last_update, now
        return now - self._moved[uuid][1] <= allowed

    def keep(self, uuids: set[str]) -> None:
        """Forgets all VMs but these."""
        for uuid in self._moved.keys() - uuids:
            del self._moved[uuid]


def whole(value: object) -> int | None:
    """A count as it came from outside: an integer that is not negative and fits, else unknown."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _UNSET else None


def from_query(reply: object, fresh: Callable[[Value], bool]) -> Values | None:
    """From query-balloon as Proxmox's QEMU answers it: the guest's figures beside `actual`. None where they are not
    (any other QEMU), and then guest_stats has them."""
    if not isinstance(reply, Mapping) or "last_update" not in reply:
        return None
    known = reply if fresh(whole(reply.get("last_update"))) else {}
    return (
        _kb(reply.get("actual")),
        _kb(known.get("total_mem")),
        _kb(known.get("free_mem")),
        None,
        _kb(known.get("mem_swapped_in")),
        _kb(known.get("mem_swapped_out")),
    )


def from_guest_stats(actual: object, stats: object, fresh: Callable[[Value], bool]) -> Values:
    """From query-balloon's `actual` and the device's guest-stats (docs/interop/virtio-balloon-stats.rst of QEMU)."""
    known: Mapping[str, object] = {}
    if isinstance(stats, Mapping) and isinstance(inner := stats.get("stats"), Mapping):
        known = inner if fresh(whole(stats.get("last-update"))) else {}
    return (
        _kb(actual.get("actual")) if isinstance(actual, Mapping) else None,
        _kb(known.get("stat-total-memory")),
        _kb(known.get("stat-free-memory")),
        _kb(known.get("stat-available-memory")),
        _kb(known.get("stat-swap-in")),
        _kb(known.get("stat-swap-out")),
    )


def _kb(value: object) -> int | None:
    count = whole(value)
    return None if count is None else count >> 10
