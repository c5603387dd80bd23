"""The aggregator worker: samples of a cycle in, one snapshot out. It alone computes rates."""

from __future__ import annotations

import time
from dataclasses import replace

from proxtop import __version__
from proxtop.bus import topics
from proxtop.join import Joiner
from proxtop.model import Inventory, Message, Sample, Snapshot, Status
from proxtopd.actor import Actor
from proxtopd.report import FLEET
from proxtopd.setup import Setup


class Aggregation:
    """Feeds the joiner and publishes what it closes."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.joiner = Joiner(actor.setup.families, actor.setup.interval)
        self._alarm: float | None = None
        self._problems: dict[str, str] = {}

    def on_status(self, message: Message) -> None:
        """proxtopd says which workers are down, and why: readers of snapshots shall know."""
        if isinstance(message.body, Status) and message.part == FLEET:
            found = {key.rpartition("."): value for key, value in message.body.info.items()}
            self._problems = {
                name: f"its worker {value}" for (name, _, field), value in found.items() if field == "reason" and value
            }

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

    def _explained(self, snapshot: Snapshot) -> Snapshot:
        """The same with what is known of workers that are down."""
        if not self._problems:
            return snapshot
        stale = {name: self._problems.get(name, why) for name, why in snapshot.stale.items()}
        others = [f"{name}: {why}" for name, why in self._problems.items() if name in ("connector", "lookup")]
        return replace(snapshot, stale=stale, reason="; ".join([*others, *filter(None, [snapshot.reason])]) or None)

    def _close(self) -> None:
        now = time.monotonic()
        subscriber = self.actor.subscriber
        while (closed := self.joiner.close(now)) is not None:
            lost = subscriber.tracker.lost if subscriber else 0
            snapshot = self._explained(replace(closed.snapshot, lost=lost))
            self.actor.reason = "; ".join(f"{name}: {why}" for name, why in snapshot.stale.items()) or None
            self.actor.publish(topics.SNAPSHOT, "", closed.cycle, snapshot, mono=closed.mono)
            self.actor.finished(closed.cycle)
        deadline = self.joiner.deadline()
        if deadline is not None and deadline != self._alarm:
            self._alarm = deadline
            self.actor.at(deadline, self._close)


def serve(name: str, setup: Setup) -> int:
    """Aggregates until SIGTERM."""
    prefixes = [f"{kind}/{setup.node}/" for kind in (topics.INVENTORY, topics.SAMPLE)]
    prefixes.append(f"{topics.STATUS}/{setup.node}/{FLEET}")
    with Actor(name, setup, prefixes) as actor:
        actor.info = {
            "families": ",".join(setup.families),
            "procfs": setup.procfs,
            "sysfs": setup.sysfs,
            "uri": setup.uri,
            "node": setup.node,
            "version": __version__,
        }
        aggregation = Aggregation(actor)
        actor.run(
            {
                topics.INVENTORY: aggregation.on_inventory,
                topics.SAMPLE: aggregation.on_sample,
                topics.STATUS: aggregation.on_status,
            }
        )
    return 0
