"""The first statistics of many VMs, asked side by side on connections of their own, in shares that do not overlap.

A start waits for three bulk calls: block statistics twice, balloons once. Later ones are made one at a time: they are
cheaper so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from proxtop.connectors.bounded import Bounded, Late, Pending
from proxtop.connectors.libvirt_bulk import BALLOON, BLOCK, DEADLINE_S, Answer, Bulk, call
from proxtop.connectors.libvirt_link import Link

FEW = 16
"""So many VMs are not worth a second connection."""

_LANES = 3
"""As many as may hang at a time (libvirt_link), and no more."""


class _Lane:
    """A connection without events and its share of the VMs. What it holds goes when its thread does."""

    def __init__(self, uri: str, number: int) -> None:
        self.uuids: list[str] = []
        self.calls = Bounded(f"libvirt-{number}", 1)
        self._uri = uri
        self._connection: Any = None
        self._handles: dict[str, Any] = {}

    def open(self) -> None:
        """In its thread: connects; the objects of the other connection are of no use here."""
        import libvirt

        if self._connection is not None:
            return
        self._connection = libvirt.openReadOnly(self._uri)
        found = self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        self._handles = {domain.UUIDString(): domain for domain in found}

    def read(self, part: str) -> Answer:
        """In its thread: the records of its share."""
        self.open()
        objects = [self._handles[uuid] for uuid in self.uuids if uuid in self._handles]
        return call(self._connection, objects, frozenset((part,)))

    def leave(self) -> None:
        """In its thread: gives the connection back."""
        self._handles.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Lanes:
    """Opened while the VMs' processes are looked for, asked twice, closed."""

    def __init__(self, link: Link, bulk: Bulk) -> None:
        self._link = link
        self._bulk = bulk
        self._lanes = [_Lane(link.uri, number) for number in range(_LANES)]
        self._begun: list[tuple[_Lane, Pending[Answer]]] = []
        self.failed: list[str] = []
        """The VMs of a share whose connection failed."""
        for lane in self._lanes:
            lane.calls.begin(lane.open)

    def begin(self, uuids: Iterable[str]) -> None:
        """Asks for the block statistics of these VMs."""
        shared = list(uuids)
        for place, lane in enumerate(self._lanes):
            lane.uuids = shared[place::_LANES]
        self._ask(BLOCK)

    def primed(self) -> list[Answer]:
        """The block statistics that were asked for; each share that is here is asked for its balloons at once."""
        return self._answers(then=BALLOON)

    def balloons(self) -> list[Answer]:
        """Those balloons."""
        return self._answers()

    def again(self) -> list[Answer]:
        """The block statistics of the same VMs once more."""
        self._ask(BLOCK)
        return self._answers()

    def _answers(self, *, then: str | None = None) -> list[Answer]:
        """Of each share that came in time what was asked for; the share is then asked for that part at once."""
        begun, self._begun = self._begun, []
        answers = []
        for lane, pending in begun:
            try:
                answers.append(lane.calls.end(pending, max(0.0, pending.begun + DEADLINE_S - time.monotonic())))
            except Late as late:
                self._lanes.remove(lane)
                self._link.calls.hangs(pending)  # type: ignore[arg-type]
                self._bulk.late(pending, lane.uuids, late)
            except self._link.error as error:
                self._lanes.remove(lane)
                lane.calls.close()
                self.failed += lane.uuids
                self._bulk.reason = f"libvirt's bulk call: {self._link.text(error)}"
            else:
                if then is not None:
                    self._begun.append((lane, lane.calls.begin(_reading(lane, then))))
        return answers

    def close(self) -> None:
        """Closes, without waiting for it; what hangs is left to itself."""
        for lane in self._lanes:
            lane.calls.begin(lane.leave)
            lane.calls.close()
        self._lanes = []

    def _ask(self, part: str) -> None:
        self._begun = [(lane, lane.calls.begin(_reading(lane, part))) for lane in self._lanes if lane.uuids]


def _reading(lane: _Lane, part: str) -> Callable[[], Answer]:
    return lambda: lane.read(part)
