"""The connector worker: the only one that speaks to libvirt or QMP. One thread asks, the loop publishes."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from proxtop import connectors
from proxtop.bus import topics
from proxtop.bus.frames import DOMAINS
from proxtop.connectors import Connector, ConnectorError
from proxtop.model import EMPTY, Domains, Statistics
from proxtopd.actor import Actor, Stop
from proxtopd.clock import Grid, Tick
from proxtopd.memory import settle
from proxtopd.setup import Setup

PARTS = ("block", "balloon", "vcpu", "interface")
RATED = ("block", "vcpu", "interface")
LEAD = 0.15
"""The fraction of the interval before a cycle at which the connector looks for changes."""

_MAX_LEAD_S = 0.25
_SPAN_S = 0.25
"""The least that lies between the two times at which a row of a first line is read."""

_HEARD_S = 5.0
"""How long a reader that has its VMs waits for a bus on which to tell of them."""

_LISTEN_S = 0.005
_AGAIN_S = 2.0
"""How long a patient worker waits before it tries to reach the hypervisor again."""


class Reader:
    """The thread that asks: changes shortly before each cycle and on events, statistics on each cycle."""

    def __init__(self, connector: Connector, setup: Setup) -> None:
        self.results: queue.SimpleQueue[tuple[int, Domains | Statistics | BaseException]] = queue.SimpleQueue()
        self.wake_loop, self._ready = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake, self._end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._connector = connector
        self._grid = Grid(setup.interval)
        self._lead = min(LEAD * setup.interval, _MAX_LEAD_S)
        self._ended = False
        self._remote = False
        self._heard = threading.Event()
        self._thread = threading.Thread(target=self._guard, name="connector", daemon=True)

    def start(self) -> None:
        """Starts asking."""
        self._thread.start()

    def go(self) -> None:
        """There is a bus: what is published from now on is heard, by those too who come a little later."""
        self._heard.set()

    def stop(self) -> None:
        """Asks no more; a call in flight is left to itself."""
        self._ended = True
        self._heard.set()
        os.write(self._end, b"x")

    def drained(self) -> None:
        """Takes the wake-ups out of the pipe."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_loop, 512)

    def _put(self, cycle: int, result: Domains | Statistics | BaseException) -> None:
        self.results.put((cycle, result))
        with contextlib.suppress(BlockingIOError):
            os.write(self._ready, b"x")

    def _guard(self) -> None:
        try:
            self._ask()
        except BaseException as error:  # noqa: BLE001 - the thread's edge: the loop ends the worker with it
            self._put(0, error)

    def _ask(self) -> None:
        domains = self._discover(prime=True)
        self._heard.wait(_HEARD_S)  # the first line's span begins now
        cycle = round(time.time() * 1000)
        self._put(cycle, domains)
        read = self._statistics(cycle, prime=True)
        tick = self._grid.first(cycle, time.time(), time.monotonic())
        tick = Tick(tick.cycle, max(tick.at, read + _SPAN_S))
        prime = True
        while not self._ended:
            self._wait_and_discover(cycle, tick.at, prime=prime)
            if self._ended:
                return
            prime = False
            cycle = tick.cycle
            tick = self._grid.following(cycle, time.time(), time.monotonic())
            self._statistics(cycle)

    def _wait_and_discover(self, cycle: int, at: float, *, prime: bool) -> None:
        """Waits for the next cycle; on an event, and shortly before the cycle, looks what changed. Until the first one
        what it finds is still `prime`: there are workers that have yet to hear of it."""
        looked = False
        while not self._ended:
            now = time.monotonic()
            if now >= at:
                return
            until = at if looked else max(now, at - self._lead)
            changed = self._connector.wait(max(0.0, until - now), self._wake)
            before = not looked and time.monotonic() >= at - self._lead
            looked = looked or before
            if changed or before:
                self._put(cycle, self._discover(prime=prime))

    def _discover(self, *, prime: bool) -> Domains:
        domains = self._connector.discover()
        self._remote = domains.remote
        return replace(domains, prime=True) if prime else domains

    def _statistics(self, cycle: int, *, prime: bool = False) -> float:
        """Publishes every part as it comes; one that somebody waits for and that this connector does not have is empty.
        When the first row was read of which there will be rates."""
        first = time.monotonic()
        had = set()
        for part in self._connector.statistics(prime=prime):
            self._put(cycle, part)
            had.add(part.part)
            if part.part in RATED:
                first = min((at for at in part.table.at or () if at is not None and at < first), default=first)
        for name in PARTS:
            if name not in had and (prime or name == "block" or (self._remote and name != "balloon")):
                self._put(cycle, Statistics(name, EMPTY, self._grid.interval, prime=prime))
        return first


def serve(name: str, setup: Setup) -> int:
    """Serves until SIGTERM; until the hypervisor answers there are no VMs, and the reason."""
    with Actor(name, setup) as actor:
        connector = _reached(actor, setup)
        if connector is not None:
            _read(actor, connector, setup)
    return 0


def run(setup: Setup, report: Callable[[str | None], None]) -> int:
    """Serves until SIGTERM. `report` is told once whether the hypervisor answered: None, or the one line that says
    why not; then the exit status is 2."""
    try:
        connector = _made(setup)
        connector.open()
    except ConnectorError as error:
        report(str(error))
        return 2
    report(None)
    with Actor("connector", setup) as actor:
        _read(actor, connector, setup)
    return 0


def _made(setup: Setup) -> Connector:
    """The connector that was asked for or that fits the host."""
    settings = connectors.Settings(
        uri=setup.uri,
        uri_given=setup.uri_given,
        procfs=setup.procfs,
        procfs_given=setup.procfs_given,
        sysfs=setup.sysfs,
        root=setup.root,
        interval=setup.interval,
    )
    return connectors.create(setup.connector or connectors.detect(settings), settings)


def _reached(actor: Actor, setup: Setup) -> Connector | None:
    """The connector once the hypervisor answers; until then the host has no VMs. None after SIGTERM. It is tried
    beside: a hypervisor that hangs takes its time, and who does not beat meanwhile counts as hung."""
    tries: queue.SimpleQueue[tuple[Connector, BaseException | None]] = queue.SimpleQueue()
    wake, done = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    found: Connector | None = None

    def attempt() -> None:
        connector = _made(setup)  # anew each time: the hypervisor may only just be starting
        problem: BaseException | None = None
        try:
            connector.open()
        except BaseException as error:  # noqa: BLE001 - the thread's edge: the loop raises it
            problem = error
        tries.put((connector, problem))
        os.write(done, b"x")

    def begin() -> None:
        threading.Thread(target=attempt, name="open", daemon=True).start()

    def end() -> None:
        nonlocal found
        os.read(wake, 512)
        connector, problem = tries.get()
        if problem is None:
            found = connector
            raise Stop
        if not isinstance(problem, ConnectorError):
            raise problem
        if actor.reason != str(problem):
            actor.reason = str(problem)
            nothing = Domains(connector.name, (), actor.reason, prime=True)
            actor.publish(topics.SOURCE, DOMAINS, round(time.time() * 1000), nothing)
            actor.beat()
        actor.at(time.monotonic() + _AGAIN_S, begin)

    actor.watch(wake, end)
    begin()
    actor.run({})
    actor.unwatch(wake)
    for descriptor in (wake, done):
        os.close(descriptor)
    return found


def _read(actor: Actor, connector: Connector, setup: Setup) -> None:
    """Publishes what the connector's thread reads, until SIGTERM."""
    settle()
    actor.info = {"connector": connector.name}
    reader = Reader(connector, setup)
    published: Domains | None = None

    def take() -> None:
        nonlocal published
        reader.drained()
        while True:
            try:
                cycle, result = reader.results.get_nowait()
            except queue.Empty:
                return
            if isinstance(result, Domains):
                actor.reason = result.reason
                if result != published:
                    published = result
                    actor.publish(topics.SOURCE, DOMAINS, cycle, result)
            elif isinstance(result, Statistics):
                actor.publish(topics.SOURCE, result.part, cycle, result)
                if result.part == "block":
                    actor.finished(cycle)
            else:
                sys.stderr.write(f"worker connector: {type(result).__name__}: {result}\n")
                raise Stop from result

    def listen() -> None:
        if actor.publisher.connected:
            reader.go()
        else:
            actor.at(time.monotonic() + _LISTEN_S, listen)

    actor.watch(reader.wake_loop, take)
    reader.start()
    listen()
    actor.run({})
    reader.stop()
