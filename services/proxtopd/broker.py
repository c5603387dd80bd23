"""The broker: workers' frames in, readers' frames out, the last frame of every topic for who comes late."""

from __future__ import annotations

import os
import resource
import signal
import struct
import time
from collections.abc import Callable
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import endpoints
from proxtop.bus.frames import encode
from proxtop.bus.sockets import Context, Socket, bounded, receive, send
from proxtop.bus.topics import MAX_TOPIC_BYTES, STATUS
from proxtop.model import Stamp, Status
from proxtopd.setup import Setup

_MAX_TOPICS = 4096
_HIGH_WATER = 96
"""Frames kept for each reader: some seconds of a whole bus, and on a host with 100 VMs not more than 7 MB for one that
has stopped."""

_BEAT_S = 2.0
_ACL_VERSION = 2
_NOBODY = 0xFFFFFFFF


def serve(name: str, setup: Setup) -> int:
    """Forwards until SIGTERM, and beats, so that it is missed when it hangs."""
    return run(setup, lambda: None, beat=True)


def run(setup: Setup, ready: Callable[[], None], *, beat: bool = False) -> int:
    """Forwards until SIGTERM. `ready` is called once both ends are bound."""
    context = Context()
    inward = bounded(context.socket(zmq.XSUB))
    outward = bounded(context.socket(zmq.XPUB))
    outward.set(zmq.XPUB_VERBOSE, 1)
    outward.set(zmq.SNDHWM, _HIGH_WATER)
    _bind(inward, endpoints.publish(setup.directory), 0o077, trusted=setup.trusted)
    _bind(outward, endpoints.subscribe(setup.directory), 0o007)
    inward.send(b"\x01")
    wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sources: list[tuple[Any, int]] = [(end, zmq.POLLIN) for end in (inward, outward, wake)]
    ready()
    last: dict[bytes, list[bytes]] = {}
    drops = 0
    heart = _Heart(setup) if beat else None
    while True:
        events = {source for source, _ in zmq_poll(sources, -1 if heart is None else heart.wait_ms())}
        if wake in events:
            break
        if heart is not None and heart.wait_ms() == 0:
            frames = heart.beat(drops)
            send(outward, frames)
            last[frames[0]] = frames
        if inward in events:
            drops += _forward(inward, outward, last)
        if outward in events:
            _replay(outward, last)
    for end in (inward, outward):
        end.close(0)
    context.term()
    return 0


class _Heart:
    """The broker's own heartbeat."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._epoch = time.time_ns()
        self._seq = 0
        self._due = 0.0
        self._cost: float | None = None

    def wait_ms(self) -> int:
        """Until the next one."""
        return max(0, round((self._due - time.monotonic()) * 1000))

    def beat(self, drops: int) -> list[bytes]:
        """A heartbeat. Its cost is that of an interval: the broker has no cycles of its own."""
        setup, mono, before = self._setup, time.monotonic(), self._cost
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cost = usage.ru_utime + usage.ru_stime
        self._seq += 1
        self._due = mono + _BEAT_S
        cost = None if before is None else (self._cost - before) / _BEAT_S * setup.interval
        status = Status("broker", "running", os.getpid(), setup.interval, cost, drops)
        stamp = Stamp(setup.node, self._epoch, self._seq, 0, time.time(), mono)
        return encode(STATUS, "broker", stamp, status)


def _bind(end: Socket, endpoint: str, mask: int, *, trusted: bool = False) -> None:
    """Binds with the mode that the mask leaves: a chmod after the bind would come too late. Behind a directory that
    lets the owner and root in, and nobody else, the socket itself is open: root's processes without any capability
    publish too."""
    directory = os.path.dirname(endpoint.removeprefix("ipc://"))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if trusted:
        os.setxattr(directory, "system.posix_acl_access", _owner_and_root())
        mask = 0
    before = os.umask(mask)
    try:
        end.bind(endpoint)
    finally:
        os.umask(before)


def _owner_and_root() -> bytes:
    """An access control list that gives all to the owner and to root, nothing to anyone else (acl(5); the layout is
    linux/posix_acl_xattr.h's: tag, permissions, id)."""
    entries = ((0x01, 7, _NOBODY), (0x02, 7, 0), (0x04, 0, _NOBODY), (0x10, 7, _NOBODY), (0x20, 0, _NOBODY))
    return struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _forward(inward: Socket, outward: Socket, last: dict[bytes, list[bytes]]) -> int:
    """Forwards what is there; the number of messages that can be no frame."""
    drops = 0
    while True:
        frames = receive(inward)
        if frames is None:
            return drops
        if len(frames) == 2 and len(frames[0]) <= MAX_TOPIC_BYTES:
            send(outward, frames)
            if frames[0] in last or len(last) < _MAX_TOPICS:
                last[frames[0]] = frames
        else:
            drops += 1


def _replay(outward: Socket, last: dict[bytes, list[bytes]]) -> None:
    """Sends the last frames of every topic that somebody has just subscribed to, all readers see them again."""
    prefixes: list[bytes] = []
    while True:
        try:
            request = outward.recv(zmq.DONTWAIT)
        except zmq.Again:
            break
        if request[:1] == b"\x01":
            prefixes.append(request[1:])
    if prefixes:
        wanted = tuple(prefixes)
        for topic, frames in last.items():
            if topic.startswith(wanted):
                send(outward, frames)
