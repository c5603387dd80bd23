"""Block and balloon statistics over QMP: who is asked when, and what the answers say.

Each VM is asked at most every two seconds, sizes and balloon more seldom, in turn. Whoever does not answer in time is
asked again after twice the time, and so on up to a minute; one that its configuration locks (a backup, a migration)
only once in half a minute.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from proxtop.connectors import balloon, qmp
from proxtop.connectors.balloon import Freshness, whole
from proxtop.connectors.base import BALLOON, BLOCK, Part, Row, joined
from proxtop.connectors.qmp import Query, Session
from proxtop.model import Statistics, Value

LEAST_S = 2.0
"""Seconds between two sessions with one VM, but for the two of a start."""

TIMEOUT_S = 0.2
CALL_S = 0.6
_BACK_OFF_MOST_S = 60.0
_LOCKED_S = 30.0
_SIZES_EVERY = 30
_BALLOON_EVERY = 5
_SLACK = 0.1
_NAMED = 3
_QDEV = re.compile(r"(?:/machine/peripheral/)?([^/]+)(?:/.*)?")

_STATS, _BLOCK, _ACTUAL = Query("query-blockstats"), Query("query-block"), Query("query-balloon")
_COUNTERS = (
    "rd_operations", "rd_bytes", "rd_total_time_ns",
    "wr_operations", "wr_bytes", "wr_total_time_ns",
    "flush_operations", "flush_total_time_ns",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A VM to ask: `gen` tells its process from the next one's, `disks` are the names of its disks, `balloon` the path
    of its balloon device in QEMU's object tree. `locked`: an operation has it. `stopped` finds out whether its process
    answers nobody."""

    uuid: str
    gen: int
    path: str
    disks: tuple[str, ...]
    balloon: str | None = None
    locked: bool = False
    stopped: Callable[[], bool] | None = None


@dataclass(slots=True)
class _Known:
    """What is remembered of a VM's process."""

    gen: int
    disks: tuple[str, ...]
    turn: int
    due: float
    sessions: int = 0
    failures: int = 0
    failure: str | None = None
    last: float = -math.inf
    own_stats: bool | None = None
    primed: bool = False
    sizes: Mapping[str, tuple[Value, ...]] | None = None


class Monitors:
    """Asks VMs by turns and keeps what they said. `refresh` is the seconds between two readings of block statistics."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self.refresh = max(LEAST_S, interval)
        self._fresh = Freshness(clock)
        self._known: dict[str, _Known] = {}
        self._block = Part("block", BLOCK)
        self._balloon = Part("balloon", BALLOON)
        self._turn = 0

    def statistics(self, targets: Iterable[Target], *, prime: bool = False) -> list[Statistics]:
        """Both parts, after those were asked whose turn it is."""
        now = self._clock()
        by_uuid = {target.uuid: target for target in targets}
        self._adopt(by_uuid, now)
        due = sorted(
            (uuid for uuid, target in by_uuid.items() if self._is_due(target, now, prime)),
            key=lambda uuid: self._known[uuid].last,
        )
        asked = [(uuid, self._session(by_uuid[uuid], prime)) for uuid in due]
        names = {id(session): uuid for uuid, session in asked}
        for session in qmp.run((session for _, session in asked), TIMEOUT_S, now + CALL_S, clock=self._clock):
            self._take(by_uuid[names[id(session)]], session, prime)
        now = self._clock()
        reason = self._reason()
        return [
            self._block.statistics(now, self.refresh, prime=prime, reason=reason),
            self._balloon.statistics(now, self.refresh * _BALLOON_EVERY, prime=prime, reason=reason),
        ]

    def _adopt(self, targets: Mapping[str, Target], now: float) -> None:
        self._block.keep(targets)
        self._balloon.keep(targets)
        self._fresh.keep(set(targets))
        for uuid in self._known.keys() - targets.keys():
            del self._known[uuid]
        for uuid, target in targets.items():
            known = self._known.get(uuid)
            if known is None or known.gen != target.gen:
                self._block.forget(uuid)
                self._balloon.forget(uuid)
                self._known[uuid] = _Known(target.gen, target.disks, self._turn, now)
                self._turn += 1
            elif known.disks != target.disks:
                known.disks, known.sizes = target.disks, None

    def _is_due(self, target: Target, now: float, prime: bool) -> bool:
        known = self._known[target.uuid]
        if target.locked and now - known.last < _LOCKED_S:
            return False
        return (prime or now >= known.due - _SLACK * self._interval) and not (
            target.stopped is not None and target.stopped()
        )

    def _session(self, target: Target, prime: bool) -> Session:
        """Balloon last: it is an error without a driver in the guest."""
        known = self._known[target.uuid]
        queries = [_STATS]
        if known.sizes is None or (known.sessions + known.turn) % _SIZES_EVERY == 0:
            queries.append(_BLOCK)
        if prime or known.sessions == 0 or (known.sessions + known.turn) % _BALLOON_EVERY == 0:
            queries.append(_ACTUAL)
            if target.balloon is not None and known.own_stats is not False:
                queries.append(qmp.guest_stats(target.balloon))
        return Session(target.path, queries)

    def _take(self, target: Target, session: Session, prime: bool) -> None:
        known = self._known[target.uuid]
        known.last = session.begun
        known.failure = session.failure
        if session.failure is not None:
            known.failures += 1
            known.due = session.ended + min(_BACK_OFF_MOST_S, self.refresh * 2.0**known.failures)
        else:
            known.failures = 0
            known.sessions += 1
            known.due = max(known.due + self.refresh, session.begun + self.refresh * (1 - _SLACK))
            if prime:
                known.due = session.ended  # asked again for the first line: its rates need two readings
            elif known.primed and self._interval < self.refresh:
                # where cycles are shorter than that, not everyone in the same one
                known.due += known.turn % round(self.refresh / self._interval) * self._interval
            known.primed = prime
        at = (session.begun + session.ended) / 2
        if _BLOCK in session.replies:
            known.sizes = parse_sizes(session.replies[_BLOCK], target.disks)
        if _STATS in session.replies:
            rows = parse_blockstats(session.replies[_STATS], target.disks)
            none = (None, None, None)
            self._block.put(
                target.uuid,
                {
                    f"{target.uuid}/{disk}": Row(at, (*row, *(known.sizes or {}).get(disk, none)))
                    for disk, row in rows.items()
                },
            )
        if _ACTUAL in session.queries and session.failure is None:
            self._take_balloon(target, session, at)

    def _take_balloon(self, target: Target, session: Session, at: float) -> None:
        def fresh(last_update: Value) -> bool:
            return self._fresh.is_fresh(target.uuid, last_update, 2 * self.refresh * _BALLOON_EVERY)

        known = self._known[target.uuid]
        actual = session.replies.get(_ACTUAL)
        values = balloon.from_query(actual, fresh)
        if values is not None:
            known.own_stats = False  # Proxmox's QEMU: the guest's figures come along
        else:
            stats = None if target.balloon is None else session.replies.get(qmp.guest_stats(target.balloon))
            values = balloon.from_guest_stats(actual, stats, fresh)
        self._balloon.put(target.uuid, {target.uuid: Row(at, values)})

    def _reason(self) -> str | None:
        failed = [f"QMP of {uuid}: {known.failure}" for uuid, known in self._known.items() if known.failure]
        more = f"and {len(failed) - _NAMED} more" if len(failed) > _NAMED else None
        return joined([*failed[:_NAMED], more])


def parse_blockstats(reply: object, disks: Iterable[str]) -> dict[str, tuple[Value, ...]]:
    """The counters of query-blockstats by disk name; what is no disk of these is left out."""
    wanted = frozenset(disks)
    rows: dict[str, tuple[Value, ...]] = {}
    for entry in _entries(reply):
        name = _disk(entry, wanted)
        stats = entry.get("stats")
        if name is not None and isinstance(stats, Mapping):
            rows[name] = tuple(whole(stats.get(counter)) for counter in _COUNTERS)
    return rows


def parse_sizes(reply: object, disks: Iterable[str]) -> dict[str, tuple[Value, ...]]:
    """(capacity, allocation, physical) in bytes of query-block by disk name. QEMU does not tell the third, and the
    second of files alone: of a block device it tells 0."""
    wanted = frozenset(disks)
    rows: dict[str, tuple[Value, ...]] = {}
    for entry in _entries(reply):
        name = _disk(entry, wanted)
        inserted = entry.get("inserted")
        image = inserted.get("image") if isinstance(inserted, Mapping) else None
        if name is not None and isinstance(image, Mapping):
            rows[name] = whole(image.get("virtual-size")), whole(image.get("actual-size")) or None, None
    return rows


def _entries(reply: object) -> list[Mapping[str, object]]:
    return [entry for entry in reply if isinstance(entry, Mapping)] if isinstance(reply, list) else []


def _disk(entry: Mapping[str, object], wanted: frozenset[str]) -> str | None:
    """Which disk an entry is of: by its drive, by the guest's device (a -blockdev has no drive), by its node."""
    inserted = entry.get("inserted")
    node = inserted.get("node-name") if isinstance(inserted, Mapping) else entry.get("node-name")
    qdev = entry.get("qdev")
    match = _QDEV.fullmatch(qdev) if isinstance(qdev, str) else None
    for name in (entry.get("device"), match[1] if match else None, node):
        if isinstance(name, str) and name:
            for known in (name, name.removeprefix("drive-")):
                if known in wanted:
                    return known
    return None
