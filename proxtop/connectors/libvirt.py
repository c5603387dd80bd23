"""libvirt: VMs and their configuration by events, block and balloon statistics in bulk, over one read-only connection.

PIDs are those of QEMU processes whose own command line has the VM's UUID: libvirt does not tell them to a reader. From
another host (its URI names one and no procfs of it is given) vCPU and interface figures come out of the bulk call too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from proxtop.connectors.balloon import Freshness
from proxtop.connectors.base import BALLOON, BLOCK, INTERFACE, VCPU, Part, Row, Settings, joined
from proxtop.connectors.bounded import Late, Pending
from proxtop.connectors.detect import is_remote
from proxtop.connectors.libvirt_bulk import Answer, Bulk, Handles, skipped
from proxtop.connectors.libvirt_lanes import FEW, Lanes
from proxtop.connectors.libvirt_link import Link
from proxtop.connectors.libvirt_stats import (
    Record,
    balloon_row,
    block_rows,
    has_balloon,
    has_block,
    interface_rows,
    vcpu_rows,
)
from proxtop.connectors.libvirt_xml import DomainConfig, XmlError, parse_domain
from proxtop.connectors.processes import STOPPED, Processes
from proxtop.kernel.cmdline import IDENTITY
from proxtop.kernel.files import Files
from proxtop.model import Domain, Domains, Statistics, Value

_LIST_S = 0.75
_XML_S = 0.5
_LIST_EVERY_S = 30.0
_XML_EVERY_S = 120.0
_BUSY_SHARE = 0.25
"""The share of the time that libvirt may be busy with our block statistics."""

_NAMED = 3

T = TypeVar("T")


@dataclass(slots=True)
class _Guest:
    """A running VM: libvirt's object and number (another number is another process), its configuration when read."""

    handle: Any
    number: int
    name: str
    turn: int
    config: DomainConfig | None = None
    read: float = -math.inf
    problem: str | None = None


@dataclass(slots=True)
class _Found:
    """A running domain; its XML where it was asked for and came."""

    handle: Any
    uuid: str
    number: int
    name: str
    xml: str | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """A list of the VMs: when it was begun, of what events, the call that reads XML, and whether the first statistics
    are asked for meanwhile."""

    begun: float
    changed: set[str]
    found: list[_Found]
    reading: Pending[list[_Found]]
    hurried: bool


class LibvirtConnector:
    """The running VMs of a libvirt daemon."""

    name = "libvirt"

    def __init__(self, settings: Settings, *, remote: bool | None = None) -> None:
        """`remote`: whether the VMs are on a host whose /proc is not here; None to tell by the settings."""
        self._link = Link(settings.uri)
        self._bulk = Bulk(self._link)
        self._lanes: Lanes | None = None
        self._remote = is_remote(settings.uri) and not settings.procfs_given if remote is None else remote
        self._processes = None if self._remote else _processes(settings)
        self._interval = settings.interval
        self._guests: dict[str, _Guest] = {}
        self._seen: Any = None
        self._stale = True
        self._heard = 0
        self._listed = -math.inf
        self._turn = 0
        self._late: str | None = None
        self._domains: Domains | None = None
        self._fresh = Freshness()
        self._every = 1
        self._cycle = 0
        self._block = Part("block", BLOCK)
        self._balloon = Part("balloon", BALLOON)
        self._parts = {"vcpu": Part("vcpu", VCPU), "interface": Part("interface", INTERFACE)} if self._remote else {}

    def open(self) -> None:
        """ConnectorError where libvirt's module is missing or its daemon can't be reached."""
        self._link.open()

    def discover(self) -> Domains:
        """All running VMs; XML is read of those alone that events name, and of a few in turn."""
        self._link.poll(0)
        self._heard = self._link.heard
        look = self._list() if self._link.check() else None
        changed = self._processes is not None and self._processes.scan()
        if look is not None:
            if look.hurried and self._lanes is not None:
                self._lanes.begin(self._awake(one.uuid for one in look.found))
            self._finish(look)
        reason = joined([self._link.reason, self._late, None if self._processes is None else self._processes.reason])
        if self._domains is None or changed or self._domains.reason != reason or self._stale:
            self._stale = False
            domains = Domains(self.name, self._described(), reason, self._remote)
            if domains != self._domains:
                self._domains = domains
        assert self._domains is not None
        return self._domains

    def statistics(self, *, prime: bool = False) -> Iterator[Statistics]:
        """Block statistics at each call (or as often as libvirt can), balloon figures by turns."""
        self._cycle += 1
        connected, lanes = self._link.connection is not None, self._lanes
        if connected and lanes is not None:
            self._ask_side_by_side(lanes, "BLOCK", lanes.primed() if prime else lanes.again())
        elif connected:
            self._ask(prime)
        yield self._statistics(self._block, self._interval * self._every, prime)
        if lanes is not None and prime:
            self._ask_side_by_side(lanes, "BALLOON", lanes.balloons())
        elif lanes is not None:
            self._leave_lanes()
        yield self._statistics(self._balloon, self._interval * self._balloon_every, prime)
        for part in self._parts.values():
            yield self._statistics(part, self._interval * self._every, prime)

    def _statistics(self, part: Part, refresh: float, prime: bool) -> Statistics:
        reason = joined([self._link.reason, self._bulk.reason, self._quarantined()])
        return part.statistics(time.monotonic(), refresh, prime=prime, reason=reason)

    def wait(self, timeout: float, wake: int) -> bool:
        """Until an event says that a VM came, went or changed, or the connection is lost."""
        end = time.monotonic() + timeout
        connection = self._link.connection
        while True:
            left = end - time.monotonic()
            if self._link.poll(max(0.0, left), wake):
                return False
            if self._link.heard != self._heard or self._link.connection is not connection:
                return True
            if left <= 0:
                return False

    def close(self) -> None:
        """Closes the connection unless a call is in flight on it."""
        self._guests.clear()
        self._leave_lanes()
        self._link.close()
        if self._processes is not None:
            self._processes.close()

    # discovery

    def _list(self) -> _Look | None:
        """Lists the VMs where events or time ask for it, and has the XML read of those that are not known under their
        number."""
        now = time.monotonic()
        connection = self._link.connection
        if connection is not self._seen:  # a new connection: its objects, not the old one's
            self._seen = connection
            self._listed = -math.inf
        changed = set(self._link.changed)
        aged = self._aged(now)
        if not changed and not aged and now - self._listed < _LIST_EVERY_S and self._late is None:
            return None
        known = {
            uuid: guest.number
            for uuid, guest in self._guests.items()
            if guest.config is not None and uuid not in changed and uuid not in aged and not self._link.missed
        }
        calls = self._link.calls
        found = self._listing(lambda: calls.call(lambda: _running(connection), _LIST_S))
        if found is None:
            return None
        hurried = len(found) > FEW and self._lanes is None and self._cycle == 0 and not is_remote(self._link.uri)
        if hurried:
            self._lanes = Lanes(self._link, self._bulk)
        reading = self._listing(lambda: calls.begin(lambda: _described(connection, found, known)))
        return None if reading is None else _Look(now, changed, found, reading, hurried)

    def _finish(self, look: _Look) -> None:
        """Takes what was listed."""
        found = self._listing(lambda: self._link.calls.end(look.reading, _LIST_S))
        if found is None:
            return
        self._late, self._listed, self._link.missed = None, look.begun, False
        self._link.changed -= look.changed
        self._stale = True
        self._adopt(found, look.begun)

    def _listing(self, made: Callable[[], T]) -> T | None:
        """What a call for the list brings; None where it fails, and why is noted."""
        try:
            return made()
        except Late as late:
            self._link.retire()
            self._late = f"libvirt: list of VMs: {late}"
        except self._link.error as error:
            self._late = f"libvirt: list of VMs: {self._link.text(error)}"
        return None

    def _aged(self, now: float) -> set[str]:
        """A few VMs whose configuration was read longest ago: not every change has an event (vCPUs plugged in)."""
        old = [uuid for uuid, guest in self._guests.items() if now - guest.read > _XML_EVERY_S]
        return set(old[: max(4, len(self._guests) // 20)])

    def _adopt(self, found: Iterable[_Found], now: float) -> None:
        guests: dict[str, _Guest] = {}
        for one in found:
            guest = self._guests.get(one.uuid)
            if guest is None or guest.number != one.number:
                for part in (self._block, self._balloon, *self._parts.values()):
                    part.forget(one.uuid)
                self._bulk.quarantine.release(one.uuid)
                guest = _Guest(one.handle, one.number, one.name, self._turn)
                self._turn += 1
            guest.handle, guest.name = one.handle, one.name
            if one.xml is not None:
                guest.read = now
                try:
                    guest.config, guest.problem = parse_domain(one.xml), None
                except XmlError as error:
                    guest.problem = str(error)
            guests[one.uuid] = guest
        self._guests = guests
        for part in (self._block, self._balloon, *self._parts.values()):
            part.keep(guests)
        self._bulk.quarantine.keep(guests)
        self._fresh.keep(set(guests))

    def _described(self) -> tuple[Domain, ...]:
        processes = {} if self._processes is None else self._processes.by_uuid()
        return tuple(
            Domain(
                uuid=uuid,
                name=guest.name,
                pid=processes[uuid].pid if uuid in processes else None,
                cores=None if guest.config is None else guest.config.cores,
                memory_kb=None if guest.config is None else guest.config.memory_kb,
                disks=() if guest.config is None else guest.config.disks,
                nics=None if guest.config is None else guest.config.nics,
                reason=guest.problem or ("its configuration is not read yet" if guest.config is None else None),
            )
            for uuid, guest in self._guests.items()
        )

    # statistics

    def _ask(self, prime: bool) -> None:
        for answer in self._bulk.collect():
            self._take(answer)
        handles = self._handles()
        may, answers = self._bulk.ready(handles)
        for answer in answers:
            self._take(answer)
        if not may:
            return
        awake = self._awake(self._guests)
        if prime or answers or self._cycle % self._every == 0:
            parts = ("BLOCK", "VCPU", "INTERFACE") if self._remote else ("BLOCK",)
            block = self._bulk.ask(handles, awake, parts)
            if block is None:
                return
            self._every = max(1, math.ceil(block.took / (_BUSY_SHARE * self._interval)))
            self._take(block)
            if missed := skipped(block):
                again = self._bulk.ask(handles, missed, parts)
                if again is None:
                    return
                self._take(again)
        every = self._balloon_every
        due = [
            uuid
            for uuid in awake
            if prime or self._guests[uuid].turn % every == self._cycle % every or uuid not in self._balloon
        ]
        balloon = self._bulk.ask(handles, due, ("BALLOON",))
        if balloon is not None:
            self._take(balloon)

    def _ask_side_by_side(self, lanes: Lanes, part: str, answers: list[Answer]) -> None:
        """Takes what was asked on several connections, and asks for the rest."""
        for answer in [*self._bulk.collect(), *answers]:
            self._take(answer)
        missed = [uuid for answer in answers for uuid in skipped(answer)]
        rest = self._bulk.ask(self._handles(), [*missed, *lanes.failed], (part,))
        if rest is not None:
            self._take(rest)

    def _leave_lanes(self) -> None:
        """From now on there is one connection."""
        if self._lanes is not None:
            self._lanes.close()
            self._lanes = None

    def _handles(self) -> Handles:
        return {uuid: guest.handle for uuid, guest in self._guests.items()}

    @property
    def _balloon_every(self) -> int:
        return min(10, max(5, math.ceil(10 / self._interval)))

    def _awake(self, uuids: Iterable[str]) -> list[str]:
        """Those of these VMs that may be asked: not quarantined, and their process not stopped."""
        stopped = set()
        if self._processes is not None:
            states = self._processes.states()
            stopped = {uuid for uuid, qemu in self._processes.by_uuid().items() if states[qemu.pid] in STOPPED}
        return [uuid for uuid in uuids if uuid not in self._bulk.quarantine and uuid not in stopped]

    def _take(self, answer: Answer) -> None:
        for uuid, (at, record) in answer.records.items():
            guest = self._guests.get(uuid)
            if guest is None:
                continue
            if "BLOCK" in answer.parts and has_block(record):
                disks = {disk.name for disk in guest.config.disks} if guest.config is not None else set()
                self._block.put(uuid, _rows(uuid, at, block_rows(record, disks)))
            if "BALLOON" in answer.parts and has_balloon(record):
                self._balloon.put(uuid, {uuid: Row(at, balloon_row(record, self._is_fresh(uuid, guest, record)))})
            if "VCPU" in answer.parts and (vcpus := vcpu_rows(record)):
                self._parts["vcpu"].put(uuid, _rows(uuid, at, vcpus))
            if "INTERFACE" in answer.parts:
                self._parts["interface"].put(uuid, _rows(uuid, at, interface_rows(record)))

    def _is_fresh(self, uuid: str, guest: _Guest, record: Record) -> bool:
        period = 0 if guest.config is None else guest.config.period
        last = record.get("balloon.last-update")
        allowed = max(2 * self._balloon_every * self._interval, 3 * period)
        return self._fresh.is_fresh(uuid, last if isinstance(last, int) else None, allowed)

    def _quarantined(self) -> str | None:
        names = [guest.name for uuid, guest in self._guests.items() if uuid in self._bulk.quarantine]
        if not names:
            return None
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"QEMU does not answer: {', '.join(names[:_NAMED])}{more}"


def _processes(settings: Settings) -> Processes:
    return Processes(Files(settings.procfs, settings.sysfs), time.monotonic, told=True, only=IDENTITY)


def _running(connection: Any) -> list[_Found]:
    """In the caller's thread: the running VMs."""
    import libvirt

    domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return [_Found(domain, domain.UUIDString(), domain.ID(), domain.name()) for domain in domains]


def _described(connection: Any, found: Iterable[_Found], known: Mapping[str, int]) -> list[_Found]:
    """In the caller's thread: those that still run, with the XML of who is not known under its number; what takes too
    long is left for the next time."""
    import libvirt

    until = time.monotonic() + _XML_S
    left = []
    for one in found:
        if known.get(one.uuid) != one.number and time.monotonic() < until:
            try:
                one.xml = one.handle.XMLDesc(0)
            except libvirt.libvirtError:
                if not connection.isAlive():
                    raise
                continue  # it ended meanwhile
        left.append(one)
    return left


def _rows(uuid: str, at: float, rows: Mapping[str, tuple[Value, ...]]) -> dict[str, Row]:
    return {f"{uuid}/{name}": Row(at, values) for name, values in rows.items()}
