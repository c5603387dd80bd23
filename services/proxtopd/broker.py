"""The broker: workers' frames in, readers' frames out, the last frame of every topic for who comes late."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import zmq

from proxtop.bus import endpoints
from proxtop.bus.sockets import bounded
from proxtop.bus.topics import MAX_TOPIC_BYTES
from proxtopd.setup import Setup

_MAX_TOPICS = 4096


def run(setup: Setup, ready: Callable[[], None]) -> int:
    """Forwards until SIGTERM. `ready` is called once both ends are bound."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inward = bounded(context.socket(zmq.XSUB))
    outward = bounded(context.socket(zmq.XPUB))
    outward.setsockopt(zmq.XPUB_VERBOSE, 1)
    _bind(inward, endpoints.publish(setup.path), 0o077)
    _bind(outward, endpoints.subscribe(setup.path), 0o007)
    inward.send(b"\x01")
    wake, alarm = socket.socketpair()
    wake.setblocking(False)
    alarm.setblocking(False)
    signal.set_wakeup_fd(alarm.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    poller = zmq.Poller()
    for end in (inward, outward, wake):
        poller.register(end, zmq.POLLIN)
    ready()
    last: dict[bytes, list[bytes]] = {}
    while True:
        events = dict(poller.poll())
        if wake.fileno() in events:
            break
        if inward in events:
            _forward(inward, outward, last)
        if outward in events:
            _replay(outward, last)
    for end in (inward, outward):
        end.close(0)
    context.term()
    return 0


def _bind(end: zmq.Socket[bytes], endpoint: str, mask: int) -> None:
    """Binds with the mode that the mask leaves: a chmod after the bind would come too late."""
    Path(endpoint.removeprefix("ipc://")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = os.umask(mask)
    try:
        end.bind(endpoint)
    finally:
        os.umask(before)


def _forward(inward: zmq.Socket[bytes], outward: zmq.Socket[bytes], last: dict[bytes, list[bytes]]) -> None:
    while True:
        try:
            frames = inward.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return
        if len(frames) == 2 and len(frames[0]) <= MAX_TOPIC_BYTES:
            outward.send_multipart(frames)
            if frames[0] in last or len(last) < _MAX_TOPICS:
                last[frames[0]] = frames


def _replay(outward: zmq.Socket[bytes], last: dict[bytes, list[bytes]]) -> None:
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
                outward.send_multipart(frames)
