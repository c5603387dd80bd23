"""The broker: workers' frames in, readers' frames out, the last frame of every topic for who comes late."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import endpoints
from proxtop.bus.sockets import Context, Socket, bounded, receive, send
from proxtop.bus.topics import MAX_TOPIC_BYTES
from proxtopd.setup import Setup

_MAX_TOPICS = 4096


def run(setup: Setup, ready: Callable[[], None]) -> int:
    """Forwards until SIGTERM. `ready` is called once both ends are bound."""
    context = Context()
    inward = bounded(context.socket(zmq.XSUB))
    outward = bounded(context.socket(zmq.XPUB))
    outward.set(zmq.XPUB_VERBOSE, 1)
    _bind(inward, endpoints.publish(setup.directory), 0o077)
    _bind(outward, endpoints.subscribe(setup.directory), 0o007)
    inward.send(b"\x01")
    wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sources: list[tuple[Any, int]] = [(end, zmq.POLLIN) for end in (inward, outward, wake)]
    ready()
    last: dict[bytes, list[bytes]] = {}
    while True:
        events = {source for source, _ in zmq_poll(sources, -1)}
        if wake in events:
            break
        if inward in events:
            _forward(inward, outward, last)
        if outward in events:
            _replay(outward, last)
    for end in (inward, outward):
        end.close(0)
    context.term()
    return 0


def _bind(end: Socket, endpoint: str, mask: int) -> None:
    """Binds with the mode that the mask leaves: a chmod after the bind would come too late."""
    os.makedirs(os.path.dirname(endpoint.removeprefix("ipc://")), mode=0o700, exist_ok=True)
    before = os.umask(mask)
    try:
        end.bind(endpoint)
    finally:
        os.umask(before)


def _forward(inward: Socket, outward: Socket, last: dict[bytes, list[bytes]]) -> None:
    while True:
        frames = receive(inward)
        if frames is None:
            return
        if len(frames) == 2 and len(frames[0]) <= MAX_TOPIC_BYTES:
            send(outward, frames)
            if frames[0] in last or len(last) < _MAX_TOPICS:
                last[frames[0]] = frames


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
