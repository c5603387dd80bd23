"""The two ends of a bus: a publisher that never loses its first frames, and a subscriber that drains."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import zmq
from zmq import backend

from proxtop.bus.frames import MAX_BYTES, Tracker, decode, encode
from proxtop.bus.ids import IdsReader, IdsWriter
from proxtop.bus.wire import FrameError
from proxtop.model import Message, Payload, Stamp

HIGH_WATER = 128
"""Frames kept per connection: ZeroMQ drops the new at the mark, so marks are small and readers drain."""

FAR_HIGH_WATER = 2048
"""The same of a bus over the network, which may carry many hosts: all of them come in one burst."""

_RECONNECT_MS = 10
_RECONNECT_MAX_MS = 1000
_AWAY_MS = 100
_AWAY_MAX_MS = 2000
_HANDSHAKE_MS = 2000
_HEARTBEAT_MS = 4000
_HEARTBEAT_LOST_MS = 8000
_PARTS = 2
_NOW = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_RCVMORE = int(zmq.RCVMORE)

Socket = backend.Socket


class Sockets(Protocol):
    """What makes sockets: pyzmq's Context, or the one below."""

    def socket(self, socket_type: int, /) -> Socket:
        """A new socket of that type."""


class Context(backend.Context):
    """ZeroMQ's context without pyzmq's Python layer: 0.25 MB less in each process, and fewer calls a frame. All its
    sockets must be closed before `term`."""

    def socket(self, socket_type: int, /) -> Socket:
        """A new socket of that type."""
        return Socket(self, socket_type)


def bounded(socket: Socket) -> Socket:
    """The same socket with the limits that every socket of the bus has; to be set before bind or connect."""
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, HIGH_WATER)
    socket.set(zmq.RCVHWM, HIGH_WATER)
    socket.set(zmq.MAXMSGSIZE, MAX_BYTES + 4096)
    socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.set(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    return socket


def networked(socket: Socket) -> Socket:
    """The same socket with what a network needs beside: whoever says nothing is given 2 s to shake hands; a peer that
    vanished without a word is noticed in 12 s."""
    socket.set(zmq.RECONNECT_IVL, _AWAY_MS)
    socket.set(zmq.RECONNECT_IVL_MAX, _AWAY_MAX_MS)
    socket.set(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.set(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.set(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_LOST_MS)
    socket.set(zmq.HEARTBEAT_TTL, _HEARTBEAT_MS + _HEARTBEAT_LOST_MS)
    socket.set(zmq.CONNECT_TIMEOUT, _HEARTBEAT_LOST_MS)
    socket.set(zmq.IPV6, 1)
    return socket


def listen(socket: Socket, address: str, backlog: int) -> None:
    """Binds to a checked tcp:// address; OSError or ZMQError where that can't be. The socket that listens is made here:
    for its own, libzmq lists the machine's interfaces over netlink, and aborts in a sandbox that has no netlink."""
    import socket as network

    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if host == "*":  # every address of this machine, of both kinds where it has both
        host = "::" if network.has_dualstack_ipv6() else "0.0.0.0"
    found = network.getaddrinfo(host.strip("[]"), int(port), type=network.SOCK_STREAM, flags=network.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    with network.socket(family, kind | network.SOCK_NONBLOCK | network.SOCK_CLOEXEC, protocol) as listening:
        listening.setsockopt(network.SOL_SOCKET, network.SO_REUSEADDR, 1)
        if family == network.AF_INET6:
            listening.setsockopt(network.IPPROTO_IPV6, network.IPV6_V6ONLY, 0)
        listening.bind(where)
        listening.listen(backlog)
        socket.set(zmq.USE_FD, listening.fileno())
        socket.bind(address)
        listening.detach()  # it is libzmq's now


class Secure(Protocol):
    """What makes a socket a secure one, before it is connected."""

    def apply(self, socket: Socket, /) -> None:
        """Sets the keys on it."""


def send(socket: Socket, frames: list[bytes]) -> None:
    """Sends a message of two parts, both or none; zmq.Again where it does not fit in now."""
    socket.send(frames[0], _MORE)
    socket.send(frames[1], _NOW)


def receive(socket: Socket) -> list[bytes] | None:
    """The parts of the next message, None when there is none now. Of one with more than a frame of ours has, the rest
    is thrown away: it would have no bound."""
    if not socket.get(_EVENTS) & _READABLE:  # type: ignore[operator]  # an int; at half the price of an exception
        return None
    try:
        parts = [socket.recv(_NOW)]
    except zmq.Again:  # who sent it went meanwhile
        return None
    while socket.get(_RCVMORE):
        part = socket.recv()
        if len(parts) <= _PARTS:
            parts.append(part)
    return parts


class Publisher:
    """The publishing end of one actor: stamps frames, counts what it could not send.

    It is an XPUB that connects to the broker: the broker's subscription arrives first, so a frame sent after it is not
    lost; `connected` says that it is there. The last frame of each topic is kept and sent at each subscription: what
    came before it, and what a broker that was started again has lost. Readers that saw it drop it as a replay.
    """

    def __init__(self, context: Sockets, endpoint: str, node: str) -> None:
        self.socket = bounded(context.socket(zmq.XPUB))
        self.socket.set(zmq.XPUB_NODROP, 1)
        self.socket.set(
            zmq.XPUB_VERBOSE, 1
        )  # the pipe outlives a broker, and the next one's subscription is no new one
        self.socket.connect(endpoint)
        self.node = node
        self.epoch = time.time_ns()
        self.drops = 0
        self._seq: dict[tuple[str, str, str], int] = {}
        self._last: dict[bytes, list[bytes]] = {}
        self._unsent: set[bytes] = set()
        self._ids = IdsWriter()
        self.connected = False

    def publish(
        self, kind: str, part: str, cycle: int, body: Payload, *, mono: float | None = None, node: str | None = None
    ) -> None:
        """Sends a message, stamped now; `mono` is the instant of its data where that was earlier, `node` the host that
        it is about where that is another one."""
        node = node or self.node
        key = (kind, node, part)
        seq = self._seq[key] = self._seq.get(key, 0) + 1
        now = time.monotonic()
        stamp = Stamp(node, self.epoch, seq, cycle, time.time(), now if mono is None else mono)
        frames = encode(kind, part, stamp, body, self._ids)
        if not self.connected:
            self.on_readable()
        topic = frames[0]
        self._last[topic] = frames
        if self.connected:
            self._send(frames)
        else:
            self.drops += topic in self._unsent
            self._unsent.add(topic)

    def _send(self, frames: list[bytes]) -> None:
        if len(frames[1]) > MAX_BYTES:
            self.drops += 1
            return
        try:
            send(self.socket, frames)
        except zmq.Again:
            self.drops += 1

    def on_readable(self) -> None:
        """Takes the broker's subscription; sends what it may not have."""
        subscribed = False
        while True:
            try:
                subscribed = self.connected = self.socket.recv(zmq.DONTWAIT)[:1] == b"\x01"
            except zmq.Again:
                break
        if subscribed:
            self._unsent.clear()
            for frames in self._last.values():
                self._send(frames)

    def close(self, linger_ms: int = 0) -> None:
        """Closes the socket; waits that long for what is on its way."""
        self.socket.close(linger_ms)


class Subscriber:
    """The reading end: decodes, drops replays, counts losses and what does not decode."""

    def __init__(
        self, context: Sockets, endpoint: str, prefixes: Iterable[bytes], secure: Secure | None = None
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._prefixes = tuple(prefixes)
        self._secure = secure
        self.socket = self._connected()
        self.tracker = Tracker()
        self.undecodable = 0
        self._ids = IdsReader()

    def _connected(self) -> Socket:
        socket = bounded(self._context.socket(zmq.SUB))
        if self._endpoint.startswith("tcp:"):
            networked(socket)
            socket.set(zmq.RCVHWM, FAR_HIGH_WATER)
        if self._secure is not None:
            self._secure.apply(socket)
        for prefix in self._prefixes:
            socket.set(zmq.SUBSCRIBE, prefix)
        socket.connect(self._endpoint)
        return socket

    def renew(self) -> None:
        """Another socket in the place of this one: libzmq does not knock again where its key was not let in."""
        self.socket.close(0)
        self.socket = self._connected()

    @property
    def drops(self) -> int:
        """Frames dropped because they did not decode."""
        return self.undecodable

    def drain(self, limit: int = 1000) -> Iterator[Message]:
        """Every new message that is there now, oldest first, at most `limit` frames."""
        for _ in range(limit):
            frames = receive(self.socket)
            if frames is None:
                return
            try:
                message = decode(frames, self._ids)
            except FrameError:
                self.undecodable += 1
                continue
            if self.tracker.accept(message):
                yield message

    def close(self) -> None:
        """Closes the socket at once."""
        self.socket.close(0)
