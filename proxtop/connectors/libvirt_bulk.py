"""libvirt's bulk statistics, asked so that a QEMU that hangs costs nobody but itself.

A bulk call waits for ever for a QEMU that does not answer, and while it waits it holds that VM's job: a later call
with NOWAIT skips the VM and comes back at once. So stopped processes are left out beforehand; a call has a deadline;
one that is still out long after it is followed by a probe, which tells the VM by its missing figures; that VM is
quarantined. Calls that are merely slow are taken when they come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxtop.connectors.bounded import Late, Pending
from proxtop.connectors.libvirt_link import Link
from proxtop.connectors.libvirt_stats import Record, has_balloon, has_block
from proxtop.connectors.quarantine import Quarantine

DEADLINE_S = 0.75
_STUCK_S = 2.0

BLOCK, BALLOON, VCPU, INTERFACE = "BLOCK", "BALLOON", "VCPU", "INTERFACE"

Handles = Mapping[str, Any]
"""libvirt's domain objects by UUID."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call brought: per UUID the time at which it was read, about, and the record."""

    parts: frozenset[str]
    records: Mapping[str, tuple[float, Record]]
    took: float = 0.0


@dataclass(slots=True)
class _Out:
    """A call that did not return in time."""

    call: Pending[Answer]
    uuids: Sequence[str]
    stuck: bool = False


class Bulk:
    """One caller; a second call is made only when the first does not return, and on another connection."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._out: list[_Out] = []
        self.quarantine = Quarantine()
        self.reason: str | None = None

    def collect(self) -> list[Answer]:
        """Answers that came late; frees those that may be waiting for no more."""
        answers = []
        for out in [out for out in self._out if out.call.returned]:
            self._out.remove(out)
            try:
                answer = out.call.result()
            except self._link.error:
                continue
            if out.stuck:
                self.quarantine.hurry(self._clock())
            else:
                answers.append(answer)
        if not self._out:
            self.reason = None
        return answers

    def ready(self, handles: Handles) -> tuple[bool, list[Answer]]:
        """Whether a call may be made now, and what a probe or a second try brought."""
        waiting = [out for out in self._out if not out.stuck]
        now = self._clock()
        if any(now - out.call.begun < _STUCK_S for out in waiting):
            return False, []
        answers = []
        if waiting:
            uuids = [uuid for out in waiting for uuid in out.uuids if uuid in handles]
            for out in waiting:
                out.stuck = True
            probe = self.ask(handles, uuids, (BLOCK, BALLOON))
            if probe is None:
                return False, []
            silent = [uuid for uuid in uuids if uuid in probe.records and not has_balloon(probe.records[uuid][1])]
            self.quarantine.add(silent, now)
            answers.append(probe)
        elif (uuid := self.quarantine.due(now)) is not None and uuid in handles:
            again = self.ask(handles, [uuid], (BLOCK, BALLOON))
            if again is None:
                return False, []
            if uuid in again.records and has_balloon(again.records[uuid][1]):
                self.quarantine.release(uuid)
                answers.append(again)
            else:
                self.quarantine.add([uuid], now)
        return True, answers

    def ask(self, handles: Handles, uuids: Iterable[str], parts: Iterable[str]) -> Answer | None:
        """The records of these VMs; None when they did not come in time or libvirt said no."""
        asked = [uuid for uuid in uuids if uuid in handles]
        wanted = frozenset(parts)
        if not asked:
            return Answer(wanted, {})
        connection = self._link.connection
        objects = [handles[uuid] for uuid in asked]
        try:
            answer = self._link.calls.call(lambda: call(connection, objects, wanted), DEADLINE_S)
        except Late as late:
            self._link.retire()
            self.late(late.call, asked, late)  # type: ignore[arg-type]
            return None
        except self._link.error as error:
            self.reason = f"libvirt's bulk call: {self._link.text(error)}"
            return None
        if not self._out:
            self.reason = None
        return answer

    def late(self, pending: Pending[Answer] | None, uuids: Sequence[str], why: Late) -> None:
        """A call for these VMs does not return: who is to blame is found out by a probe."""
        if pending is not None:
            self._out.append(_Out(pending, uuids))
            if len(uuids) == 1:
                self.quarantine.add(uuids, self._clock())
                self._out[-1].stuck = True
        self.reason = f"libvirt's bulk call: {why}"


def skipped(answer: Answer) -> list[str]:
    """The VMs whose disks were not read, as somebody else held their job for a moment: another client's call."""
    return [uuid for uuid, (_, record) in answer.records.items() if record.get("block.count") and not has_block(record)]


def call(connection: Any, objects: Sequence[Any], parts: frozenset[str]) -> Answer:
    """In the caller's thread. libvirt goes through the VMs in turn: each one's time is its place in the call."""
    import libvirt

    flags = sum(getattr(libvirt, f"VIR_DOMAIN_STATS_{part}") for part in parts)
    begun = time.monotonic()
    answers = connection.domainListGetStats(objects, flags, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    took = time.monotonic() - begun
    step = took / max(1, len(answers))
    records = {
        domain.UUIDString(): (begun + (place + 0.5) * step, record) for place, (domain, record) in enumerate(answers)
    }
    return Answer(parts, records, took)
