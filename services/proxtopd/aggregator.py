"""The aggregator worker: samples of a cycle in, one snapshot out. It alone computes rates."""

from __future__ import annotations

import time
from dataclasses import replace

from proxtop import __version__
from proxtop.bus import topics
from proxtop.join import Joiner
from proxtop.model import Inventory, Message, Sample
from proxtopd.actor import Actor
from proxtopd.setup import Setup


class Aggregation:
    """Feeds the joiner and publishes what it closes."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.joiner = Joiner(actor.setup.families, actor.setup.interval)
        self._alarm: float | None = None

    def on_inventory(self, message: Message) -> None:
        """The VMs from now on."""
        if isinstance(message.body, Inventory):
            self.joiner.inventory(message.stamp.node, message.body)
            if self.actor.info.get("connector") != message.body.connector:
                self.actor.info = {**self.actor.info, "connector": message.body.connector}
                self.actor.beat()  # who looks for a fleet with this connector need not wait for the next cycle
            self._close()

    def on_sample(self, message: Message) -> None:
        """A family reports."""
        if isinstance(message.body, Sample):
            self.joiner.sample(message.stamp, message.body, time.monotonic())
            self._close()

    def _close(self) -> None:
        now = time.monotonic()
        subscriber = self.actor.subscriber
        while (closed := self.joiner.close(now)) is not None:
            lost = subscriber.tracker.lost if subscriber else 0
            snapshot = replace(closed.snapshot, lost=lost)
            self.actor.reason = "; ".join(f"{name}: {why}" for name, why in snapshot.stale.items()) or None
            self.actor.publish(topics.SNAPSHOT, "", closed.cycle, snapshot, mono=closed.mono)
            self.actor.finished(closed.cycle)
        deadline = self.joiner.deadline()
        if deadline is not None and deadline != self._alarm:
            self._alarm = deadline
            self.actor.at(deadline, self._close)


def run(setup: Setup) -> int:
    """Aggregates until SIGTERM."""
    prefixes = [f"{kind}/{setup.node}/" for kind in (topics.INVENTORY, topics.SAMPLE)]
    with Actor("aggregator", setup, prefixes) as actor:
        actor.info = {
            "families": ",".join(setup.families),
            "procfs": setup.procfs,
            "sysfs": setup.sysfs,
            "uri": setup.uri,
            "node": setup.node,
            "version": __version__,
        }
        aggregation = Aggregation(actor)
        actor.run({topics.INVENTORY: aggregation.on_inventory, topics.SAMPLE: aggregation.on_sample})
    return 0
