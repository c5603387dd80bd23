"""The lookup worker: the connector's VMs, joined with /proc and /sys, become the inventory."""

from __future__ import annotations

import time

from proxtop.bus import topics
from proxtop.bus.frames import DOMAINS
from proxtop.lookup import Lookup
from proxtop.model import Domains, Inventory, Message
from proxtopd.actor import Actor
from proxtopd.setup import Setup

LEAD = 0.08
"""The fraction of the interval before a cycle at which the inventory is brought up to date."""

_MAX_LEAD_S = 0.15


class Inventories:
    """Publishes the inventory when it changed; the first one starts the collectors' clocks."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self._lookup = Lookup(actor.setup.procfs, actor.setup.sysfs)
        self._domains: Domains | None = None
        self._last: Inventory | None = None
        self._lead = min(LEAD * actor.setup.interval, _MAX_LEAD_S)

    def on_source(self, message: Message) -> None:
        """The connector's VMs changed."""
        if isinstance(message.body, Domains):
            first = self._domains is None
            self._domains = message.body
            self._look(message.stamp.cycle)
            if first:
                self._next()

    def _next(self) -> None:
        now = time.monotonic()
        tick = self.actor.grid.after(time.time() + self._lead, now + self._lead)
        self.actor.at(tick.at - self._lead, lambda: self._tick(tick.cycle))

    def _tick(self, cycle: int) -> None:
        self._next()
        self._look(cycle)
        self.actor.finished(cycle)

    def _look(self, cycle: int) -> None:
        if self._domains is None:
            return
        inventory = self._lookup.inventory(self._domains)
        self.actor.reason = inventory.reason
        if self._last is None:
            inventory_first = Inventory(
                inventory.connector, inventory.vms, inventory.reason, inventory.remote, self._domains.prime
            )
            self.actor.publish(topics.INVENTORY, "", cycle, inventory_first)
        elif inventory is not self._last:
            self.actor.publish(topics.INVENTORY, "", cycle, inventory)
        self._last = inventory


def serve(name: str, setup: Setup) -> int:
    """Looks up until SIGTERM."""
    with Actor(name, setup, [f"{topics.SOURCE}/{setup.node}/{DOMAINS}"]) as actor:
        inventories = Inventories(actor)
        actor.run({topics.SOURCE: inventories.on_source})
    return 0
