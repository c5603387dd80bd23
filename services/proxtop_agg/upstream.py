"""One host, or one other aggregator, as it is listened to: a SUB socket of its own, so that who sent a frame is known.

Every frame is held against what its peer may say: its own node alone, nothing old, not more than can be meant. The body
is handed on as it came; whoever reads it checks it.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import zmq

from proxtop.bus import topics
from proxtop.bus.curve import Joining
from proxtop.bus.frames import Tracker, decode, head
from proxtop.bus.keys import Pair
from proxtop.bus.sockets import Context, Socket, bounded, networked, receive
from proxtop.bus.wire import FrameError
from proxtop.model import Stamp, Status
from proxtop_agg.config import Peer
from proxtopd.outlet import ALWAYS, ASKED

HEARTBEAT = "aggregator"
"""The one heartbeat of a host that goes on: that of its own aggregator, which speaks for its fleet."""

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_FAILED = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "does not shake hands: is its key the right one?",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "does not shake hands: with keys on both sides, or on neither",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "does not let this aggregator's key in",
}
_EVENT = struct.Struct("=Hi")
_TCP_INFO_BYTES = 192
_RTT = struct.Struct("=68xI")
_RECEIVED = struct.Struct("=128xQ")
_AGAIN_S = 5.0
_PUNISHED_S = 30.0
_MOST_UNREAD = 32 << 20
"""Bytes that may have come of messages that are not whole yet."""

_MOST_FRAMES = 200
"""Frames a second and node that can be meant; more in ten seconds are a flood."""

_BUDGET_S = 10.0
_MOST_TOPICS = 64
_MOST_NODES = 5000
_VISIT = 256
_TRIPS = 30
_STEP_S = 1.0
"""From which difference on a clock was set; a cycle is told of up to an interval after the instant of its data."""


@dataclass(slots=True)
class Host:
    """A node as it is heard: its last cycle and when that came, how far apart they come (s), what is known of its
    clock. `trips` are the last ones: (seconds there and back as TCP saw them then, our clock at arrival less its at
    sending); `replayed`: the next cycle may be an older one, that was kept for who comes late, and says nothing of it.
    `apart` is by how much its wall clock is ahead of its monotonic one, less the same of ours: it stays, but for steps.
    """

    node: str
    stamp: Stamp | None = None
    came: float = 0.0
    came_wall: float = 0.0
    interval: float | None = None
    version: str | None = None
    tracker: Tracker = field(default_factory=Tracker)
    trips: list[tuple[float, float]] = field(default_factory=list)
    replayed: bool = True
    apart: float | None = None

    def heard(self, stamp: Stamp, now: float, rtt: float | None) -> None:
        """A cycle came now."""
        wall = time.time()
        before, self.apart = self.apart, stamp.time - stamp.mono - (wall - now)
        if before is not None and abs(self.apart - before) > max(_STEP_S, self.interval or 0.0):
            self.trips = []  # a clock was set: what was known is of another one
        if self.stamp is not None and stamp.cycle > self.stamp.cycle:
            self.interval = (stamp.cycle - self.stamp.cycle) / 1000
        self.stamp, self.came, self.came_wall = stamp, now, wall
        if not self.replayed:
            self.trips = [*self.trips[1 - _TRIPS :], (rtt or 0.0, wall - stamp.time)]
        self.replayed = False

    @property
    def offset(self) -> float | None:
        """Seconds by which its clock is ahead of ours, by the quickest of the last trips (as NTP's clock filter has
        it); None while nothing came."""
        if not self.trips:
            return None
        rtt, delta = min(self.trips)
        return rtt / 2 - delta

    @property
    def lag(self) -> float | None:
        """Seconds from the instant of its last cycle, by its own clock, until that was here."""
        offset = self.offset
        return None if offset is None or self.stamp is None else self.came_wall + offset - self.stamp.cycle / 1000


class Upstream:
    """The connection to one peer. `claim` says whether a node that is heard for the first time may come from there."""

    def __init__(
        self, context: Context, peer: Peer, own: Pair | None, high_water: int, claim: Callable[[str, Upstream], bool]
    ) -> None:
        self.peer = peer
        self._claim = claim
        self.hosts: dict[str, Host] = {} if peer.tree else {peer.name: Host(peer.name)}
        self.connected: float | None = None
        self.reason: str | None = "not connected yet"
        self.foreign = 0
        self.undecodable = 0
        self.floods = 0
        self._context = context
        self._own = own
        self._high_water = high_water if peer.tree else 0
        self._fetched: set[str] = set()
        self._again: float | None = None
        self._socket: Socket | None = None
        self._monitor: Socket | None = None
        self._tcp: int | None = None
        self._read = 0
        self._count = 0
        self._since = 0.0
        self.open()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What tells that there is something to read."""
        return tuple(int(s.get(zmq.FD)) for s in (self._socket, self._monitor) if s is not None)

    def open(self) -> None:
        """A socket that connects, and goes on trying."""
        peer = self.peer
        socket = networked(bounded(self._context.socket(zmq.SUB)))
        if self._high_water:
            socket.set(zmq.RCVHWM, self._high_water)
        if peer.key is not None and self._own is not None:
            Joining(self._own, peer.key).apply(socket)
        monitor = self._context.socket(zmq.PAIR)
        monitor.set(zmq.LINGER, 0)
        where = f"inproc://monitor-{id(self)}-{time.monotonic_ns()}"
        socket.monitor(where, int(_EVENTS))
        monitor.connect(where)
        for kind in ALWAYS:
            socket.set(zmq.SUBSCRIBE, self._prefix(kind))
        self._socket, self._monitor, self._again, self._tcp = socket, monitor, None, None
        self._fetched = set()
        self._count, self._since, self._read = 0, time.monotonic(), 0
        socket.connect(peer.address)

    def _prefix(self, kind: str) -> bytes:
        """What is subscribed to: cycles of whatever node, so that one under a wrong name is seen and counted."""
        if kind == topics.STATUS and not self.peer.tree:
            return topics.topic(kind, self.peer.name, HEARTBEAT)
        return f"{kind}/".encode()

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is not None and self._monitor is not None:
            self._socket.monitor(None, 0)
            self._monitor.close(0)
            self._socket.close(0)
        self._socket = self._monitor = self._tcp = None
        self.connected = None

    def fetch(self, kinds: set[str]) -> None:
        """From now on these kinds too, and of those that are not always there no others."""
        if self._socket is None:
            return
        for kind in kinds - self._fetched:
            self._socket.set(zmq.SUBSCRIBE, self._prefix(kind))
        for kind in self._fetched - kinds:
            self._socket.set(zmq.UNSUBSCRIBE, self._prefix(kind))
        self._fetched = set(kinds)

    def watch(self, now: float) -> None:
        """Takes in what happened to the connection."""
        while self._monitor is not None and (parts := receive(self._monitor)) is not None:
            event, value = _EVENT.unpack(parts[0][: _EVENT.size])
            if event == zmq.EVENT_CONNECTED:
                self._tcp, self._read = value, 0
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connected, self.reason = time.time(), None
                for host in self.hosts.values():
                    host.replayed = True
            elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED):
                self._tcp = None
                if self.connected is not None or self.reason == "not connected yet":
                    self.reason = "connection lost, trying again" if self.connected else "does not answer"
                self.connected = None
            elif event in _FAILED:
                self.connected, self.reason = None, f"{self.peer.address} {_FAILED[event]}"
                self._again = now + _AGAIN_S  # libzmq itself gives up after some of these

    def tick(self, now: float) -> bool:
        """Now and then: whether the socket was closed or changed for another one."""
        if self._socket is not None:
            if now - self._since > _BUDGET_S:
                self._count, self._since = 0, now
            if self._count > _MOST_FRAMES * _BUDGET_S * max(1, len(self.hosts)):
                self._punish(now, "sends more frames than can be meant")
                return True
            received = self._info(_RECEIVED)
            if received is not None and received - self._read > _MOST_UNREAD:
                self._punish(now, "sends a message without an end")
                return True
        if self._again is not None and now >= self._again:
            reason = self.reason
            self.close()
            self.open()
            self.reason = reason
            return True
        return False

    def _punish(self, now: float, why: str) -> None:
        self.close()
        self.floods += 1
        self.reason, self._again = f"{self.peer.address} {why}: cut off for {_PUNISHED_S:.0f} s", now + _PUNISHED_S

    def rtt(self) -> float | None:
        """Seconds there and back, as TCP sees it."""
        micro = self._info(_RTT)
        return None if micro is None else micro / 1e6

    def _info(self, what: struct.Struct) -> int | None:
        """A field of the connection's tcp_info (linux/tcp.h), None without a connection."""
        if self._tcp is None:
            return None
        with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(self._tcp)) as connection:
            raw = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
            if len(raw) >= what.size:
                value: int = what.unpack_from(raw)[0]
                return value
        return None

    def take(self, now: float) -> tuple[list[tuple[Host, str, list[bytes]]], bool]:
        """(what came and may go on: host, kind, frames; whether there may be more)"""
        found: list[tuple[Host, str, list[bytes]]] = []
        for _ in range(_VISIT):
            if self._socket is None or (frames := receive(self._socket)) is None:
                return found, False
            self._count += 1
            self._read += sum(map(len, frames))
            accepted = self._accept(frames, now)
            if accepted is not None:
                found.append((*accepted, frames))
        return found, True

    def _accept(self, frames: list[bytes], now: float) -> tuple[Host, str] | None:
        try:
            kind, part, stamp = head(frames)
        except FrameError:
            self.undecodable += 1
            return None
        if kind not in (*ALWAYS, *ASKED) or (kind == topics.STATUS and part != HEARTBEAT):
            return None
        host = self.hosts.get(stamp.node)
        if host is None:
            allowed = self.peer.tree and any(fnmatchcase(stamp.node, glob) for glob in self.peer.nodes)
            if not allowed or len(self.hosts) >= _MOST_NODES or not self._claim(stamp.node, self):
                self.foreign += 1
                return None
            host = self.hosts[stamp.node] = Host(stamp.node)
        if len(host.tracker) >= _MOST_TOPICS and not host.tracker.knows(kind, part, stamp.node):
            self.undecodable += 1
            return None
        if not host.tracker.fresh(kind, part, stamp):
            return None
        if kind == topics.SNAPSHOT:
            host.heard(stamp, now, None if self.peer.tree else self.rtt())
        elif kind == topics.STATUS and not self._learn(host, frames):
            return None
        return host, kind

    def _learn(self, host: Host, frames: list[bytes]) -> bool:
        """Takes in what a host's heartbeat tells; whether it is one."""
        try:
            body = decode(frames).body
        except FrameError:
            body = None
        if not isinstance(body, Status) or body.actor != HEARTBEAT:  # readers go by who it says it is
            self.undecodable += 1
            return False
        version = body.info.get("version")
        host.version = str(version) if version is not None else None
        host.interval = body.interval if body.interval > 0 else host.interval
        return True

    def lost(self) -> int:
        """Frames that this peer's publishers sent and that never came."""
        return sum(host.tracker.lost for host in self.hosts.values())
