"""A collector worker: one family, sampled on every cycle from the inventory and what the connector reads."""

from __future__ import annotations

import time
from dataclasses import replace

from proxtop.bus import topics
from proxtop.bus.frames import DOMAINS
from proxtop.collectors import load
from proxtop.kernel.files import Files
from proxtop.model import Inventory, Message, Statistics
from proxtopd.actor import Actor
from proxtopd.clock import FIRST_SPAN_MS, Tick
from proxtopd.setup import Setup

SOURCES = {"disk": ("block",), "mem": ("balloon",), "cpu": ("vcpu",), "net": ("interface",)}
"""The parts of the connector's statistics that a family uses."""

_WAIT = 0.35
"""The fraction of the interval for which a family waits for this cycle's statistics."""

_FRESH_S = 2.0
"""A first inventory older than this is a replay: the worker joins a fleet that runs already."""


class Collector:
    """Ticks on the grid; a family that needs the connector's figures of the same cycle waits for them, not for ever."""

    def __init__(self, family: str, actor: Actor) -> None:
        self.family = family
        self.actor = actor
        self._collect = load(family)
        setup = actor.setup
        self.files = Files(setup.procfs, setup.sysfs, setup.node if setup.node_given else None)
        self.inventory: Inventory | None = None
        self.source: dict[str, Statistics] = {}
        self._cycles: dict[str, int] = {}
        self._due: Tick | None = None
        self._primed = False
        self._started = False

    def on_source(self, message: Message) -> None:
        """New statistics: a sample that waited for them is due now."""
        body = message.body
        if isinstance(body, Statistics):
            self.source[body.part] = body
            self._cycles[body.part] = message.stamp.cycle
            if body.prime and self._primed and not self._started:
                self._sample(message.stamp.cycle, prime=True, own_times_only=True)
            elif self._due is not None and self._supplied(self._due.cycle):
                self._sample_due()

    def on_inventory(self, message: Message) -> None:
        """The VMs changed; the first inventory starts the clock."""
        if not isinstance(message.body, Inventory):
            return
        self.inventory = message.body
        self.files.keep([vm.gen for vm in self.inventory.vms if vm.gen is not None])
        if self._primed:
            return
        self._primed = True
        now, wall = time.monotonic(), time.time()
        cycle = message.stamp.cycle
        self._sample(cycle, prime=True)
        starting = message.body.prime and 0 <= wall - cycle / 1000 < _FRESH_S
        if starting:
            tick = self.actor.grid.first(cycle, wall, now)
            primed = time.monotonic() + FIRST_SPAN_MS / 1000 - 0.01
            self._schedule(Tick(tick.cycle, max(tick.at, primed)))
        else:
            self._next()

    def _next(self) -> None:
        self._schedule(self.actor.grid.after(time.time(), time.monotonic()))

    def _schedule(self, tick: Tick) -> None:
        self.actor.at(tick.at, lambda: self._tick(tick))

    def _tick(self, tick: Tick) -> None:
        self._due = tick
        self._started = True
        self._schedule(self.actor.grid.following(tick.cycle, time.time(), time.monotonic()))
        if self._supplied(tick.cycle):
            self._sample_due()
        else:
            self.actor.at(tick.at + _WAIT * self.actor.setup.interval, self._sample_due)

    def _supplied(self, cycle: int) -> bool:
        """Whether what the connector was to read for this cycle is here; balloon figures come seldom and are not
        waited for once there were any."""
        if self.family == "mem":
            return "balloon" in self._cycles
        remote = self.inventory is not None and self.inventory.remote
        if self.family == "disk" or (remote and self.family in ("cpu", "net")):
            return all(self._cycles.get(part, -1) >= cycle for part in SOURCES[self.family])
        return True

    def _sample_due(self) -> None:
        if self._due is not None:
            tick, self._due = self._due, None
            self._sample(tick.cycle)
            self.actor.finished(tick.cycle)

    def _sample(self, cycle: int, *, prime: bool = False, own_times_only: bool = False) -> None:
        if self.inventory is None:
            return
        mono = time.monotonic()
        sample = self._collect(self.inventory, self.source, self.files)
        if own_times_only:
            sample = replace(
                sample, tables={name: table for name, table in sample.tables.items() if table.at is not None}
            )
        if prime:
            sample = replace(sample, prime=True)
        self.actor.reason = sample.reason
        self.actor.publish(topics.SAMPLE, self.family, cycle, sample, mono=mono)


def serve(name: str, setup: Setup) -> int:
    """Collects the family of that name until SIGTERM."""
    parts = SOURCES.get(name, ())
    wanted = [f"{topics.SOURCE}/{setup.node}/{part}" for part in parts if part != DOMAINS]
    with Actor(name, setup, [f"{topics.INVENTORY}/{setup.node}/", *wanted]) as actor:
        collector = Collector(name, actor)
        actor.run({topics.INVENTORY: collector.on_inventory, topics.SOURCE: collector.on_source})
    return 0
