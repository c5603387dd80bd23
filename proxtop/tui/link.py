"""The bus as the screen has it: cycles as they come, at the interval that is wanted, and what is wrong with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import zmq

from proxtop.attach import AttachError, PrivateFleet
from proxtop.bus import topics
from proxtop.bus.sockets import Secure
from proxtop.model import Snapshot, Stamp
from proxtop.stream import Recomputed, Snapshots

_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)  # fmt: skip
_EVENTS = (
    zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)  # fmt: skip

StartFleet = Callable[[float], PrivateFleet]
"""Starts a private fleet with that interval in s."""


@dataclass(frozen=True, slots=True)
class Bus:
    """Where to read: the endpoint, and the fleet's interval in s where it is known; of a fleet of our own also its
    process, and the descriptor from which what it says is read; over a network our keys; `node` where one host of
    several is wanted; `control` is the bus's directory where we may control the fleet; `cluster`: it has
    many hosts, each with a monotonic clock of its own."""

    endpoint: str
    interval: float | None
    fleet: PrivateFleet | None = None
    said: int = -1
    secure: Secure | None = None
    node: str | None = None
    control: str | None = None
    cluster: bool = False

    def messages(self) -> list[str] | None:
        """The lines that our own fleet has said since; None when it will say nothing more."""
        try:
            text = os.read(self.said, 65536).decode(errors="replace")
        except BlockingIOError:
            return []
        lines = [line.removeprefix("proxtop: ").strip() for line in text.splitlines()]
        return [line for line in lines if line] if text else None

    def end(self) -> None:
        """Ends our own fleet, which takes its time, beside."""
        if self.fleet is not None:
            os.close(self.said)
            threading.Thread(target=self.fleet.close).start()


def private(start: StartFleet, interval: float) -> Bus:
    """A private fleet of ours."""
    said, say = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(say, True)
    ours = os.dup(2)
    os.dup2(say, 2)  # its workers would write into the screen otherwise
    try:
        fleet = start(interval)
    except AttachError:
        os.close(said)
        raise
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(say)
    return Bus(fleet.endpoint, interval, fleet, said)


class Source:
    """One way to read a bus: as published, or recomputed over a multiple of its interval; with a watch on the
    connection. `problem` is what is wrong with it, in words."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bus: Bus,
        recompute: tuple[str, tuple[str, ...], float] | None = None,
    ) -> None:
        self.bus = bus
        self.recompute = recompute
        self.problem = ""
        self.refused = False
        self._retries = 0
        self.snapshots: Snapshots | Recomputed
        if recompute is None:
            local = bus.interval if bus.endpoint.startswith("ipc:") and not bus.cluster else None
            also = [topics.PROFILE] if bus.fleet is None else []
            if bus.cluster or bus.interval is None:
                also.append(topics.STATUS)  # of a single host they say nothing that is shown
            self.snapshots = Snapshots(
                context, bus.endpoint, interval=local, secure=bus.secure, node=bus.node, also=also
            )
        else:
            node, families, frequency = recompute
            self.snapshots = Recomputed(
                context, bus.endpoint, node=node, families=families, frequency=frequency, secure=bus.secure
            )
        # pyzmq's whole socket, as its context makes them: it can be watched
        self.socket = cast("zmq.Socket[bytes]", self.snapshots.subscriber.socket)
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(_EVENTS)
        self.watch()  # a descriptor tells of nothing before it was asked once

    def take(self) -> Iterator[tuple[Stamp, Snapshot]]:
        """Every cycle that has come. The socket's descriptor tells of changes only: all is read before it is waited
        for again (zmq_getsockopt, ZMQ_FD)."""
        while True:
            yield from self.snapshots.take()
            if not _readable(self.socket):
                return

    def watch(self) -> bool:
        """Takes in what happened to the connection; whether its state changed."""
        from zmq.utils.monitor import recv_monitor_message  # with asyncio, which a fleet that is forked from us has not

        before = self.problem
        while _readable(self.monitor):
            event = recv_monitor_message(self.monitor, zmq.DONTWAIT)["event"]
            if event == zmq.EVENT_CONNECTED:
                self.problem, self._retries = "" if not self.refused else self.problem, 0
            elif event == zmq.EVENT_DISCONNECTED:
                self.problem = self.problem or f"connection lost, trying again: {self.bus.endpoint}"
            elif event in _REFUSED:
                self.problem, self.refused = f"{self.bus.endpoint} does not let this key in, or has another one", True
            elif event == zmq.EVENT_CONNECT_RETRIED:
                self._retries += 1
                if self._retries >= 2 or self.problem:
                    self.problem = f"no connection, trying again: {self.bus.endpoint}"
        return self.problem != before

    def close(self) -> None:
        """Closes the sockets."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.snapshots.subscriber.close()


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
