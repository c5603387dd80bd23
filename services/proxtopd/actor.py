"""The one loop of every worker: a publisher, a subscriber, timers, signals, a heartbeat."""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import endpoints, topics
from proxtop.bus.sockets import Context, Publisher, Subscriber
from proxtop.model import Message, Payload, Status, Value
from proxtopd.clock import Grid
from proxtopd.setup import Setup

Handler = Callable[[Message], None]
Callback = Callable[[], None]

_BEAT_S = 2.0
_BEAT_CYCLES = 2
"""A heartbeat comes every second cycle; every that many seconds where that is earlier, though not more often than
cycles; and at once when there is something new to say."""


class Stop(Exception):
    """Ends the loop from within a handler."""


class Actor:
    """A worker on the bus. It knows topics, never processes, and any of them can vanish at any moment. `given_up`
    counts what it could not bring to where it belongs."""

    def __init__(self, name: str, setup: Setup, subscribe: Sequence[str] = ()) -> None:
        self.name = name
        self.setup = setup
        self.grid = Grid(setup.interval)
        self.reason: str | None = None
        self.info: Mapping[str, Value] = {}
        self.given_up = 0
        self.cycle = 0
        self._context = Context()
        self.publisher = Publisher(self._context, endpoints.publish(setup.directory), setup.node)
        prefixes = [topic.encode() for topic in subscribe]
        self.subscriber = (
            Subscriber(self._context, endpoints.subscribe(setup.directory), prefixes) if prefixes else None
        )
        self._sources: list[tuple[Any, int]] = []
        self._watched: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Callback]] = []
        self._count = 0
        self._cost = _cpu_seconds()
        self._last_cost: float | None = None
        self._beaten = 0.0
        self._told: tuple[str | None, int, int] | None = None
        self._beat_s = max(setup.interval, min(_BEAT_S, _BEAT_CYCLES * setup.interval))
        self._stopped = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Actor:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._sources.append((self.publisher.socket, zmq.POLLIN))
        if self.subscriber is not None:
            self._sources.append((self.subscriber.socket, zmq.POLLIN))
        self._sources.append((self._wake_read, zmq.POLLIN))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.publisher.close(100)
        if self.subscriber is not None:
            self.subscriber.close()
        self._context.term()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def watch(self, descriptor: int, callback: Callback) -> None:
        """Calls back when the descriptor is readable."""
        self._watched[descriptor] = callback
        self._sources.append((descriptor, zmq.POLLIN))

    def watches(self, descriptor: int) -> bool:
        """Whether it is being waited for."""
        return descriptor in self._watched

    def unwatch(self, descriptor: int) -> None:
        """Calls back for it no more; before the descriptor is closed."""
        del self._watched[descriptor]
        self._sources = [entry for entry in self._sources if entry[0] != descriptor]

    def at(self, mono: float, callback: Callback) -> None:
        """Calls back once, at that monotonic second."""
        self._count += 1
        heapq.heappush(self._timers, (mono, self._count, callback))

    def publish(
        self, kind: str, part: str, cycle: int, body: Payload, *, mono: float | None = None, node: str | None = None
    ) -> None:
        """Sends a message; `mono` is the instant of its data, `node` the host that it is about where that is not the
        fleet's."""
        self.publisher.publish(kind, part, cycle, body, mono=mono, node=node)

    def finished(self, cycle: int) -> None:
        """Says that the work of a cycle is done: the heartbeat tells its CPU time."""
        self.cycle = cycle
        now = _cpu_seconds()
        self._last_cost, self._cost = now - self._cost, now
        late = time.monotonic() + self.setup.interval / 2 >= self._beaten + self._beat_s
        if late or self._told != self._news():
            self.beat()

    def _news(self) -> tuple[str | None, int, int]:
        """(reason, frames dropped, frames lost)"""
        subscriber = self.subscriber
        drops, lost = (subscriber.drops, subscriber.tracker.lost) if subscriber else (0, 0)
        return self.reason, self.publisher.drops + drops + self.given_up, lost

    def beat(self) -> None:
        """Publishes the heartbeat."""
        self._told = reason, drops, lost = self._news()
        status = Status(
            actor=self.name,
            state="degraded" if reason else "running",
            pid=os.getpid(),
            interval=self.setup.interval,
            cost=self._last_cost,
            drops=drops,
            lost=lost,
            reason=reason,
            info=self.info,
        )
        self.publish(topics.STATUS, self.name, self.cycle, status)
        self._beaten = time.monotonic()

    def run(self, on: Mapping[str, Handler]) -> None:
        """Runs until SIGTERM; `on` maps a kind to its handler."""
        while not self._stopped:
            try:
                self._turn(on)
            except Stop:
                return

    def _turn(self, on: Mapping[str, Handler]) -> None:
        # a worker beats too where no cycle has of late: one that waits for others lives
        heart = self._beaten + 1.5 * self._beat_s
        now = time.monotonic()
        if now >= heart:
            self.beat()
            heart = now + 1.5 * self._beat_s
        until = min(heart, self._timers[0][0]) if self._timers else heart
        timeout = max(0, math.ceil((until - now) * 1000))
        for source, _ in zmq_poll(self._sources, timeout):
            if source is self.publisher.socket:
                self.publisher.on_readable()
            elif source == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 512)
            elif source in self._watched:
                self._watched[source]()
        if self.subscriber is not None:
            for message in self.subscriber.drain():
                handler = on.get(message.kind)
                if handler is not None:
                    handler(message)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
