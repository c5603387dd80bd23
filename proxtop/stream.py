"""Snapshots as a client wants them: as the fleet publishes them, or recomputed over a multiple of its interval."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import topics
from proxtop.bus.sockets import Secure, Sockets, Subscriber
from proxtop.model import Inventory, Message, Profiles, Sample, Snapshot, Stamp, Status

_STALE = 1.5
"""Intervals after which a snapshot that the broker replays is history, not news."""

_CLUSTER_S = 0.25
"""How long the heartbeat of a cluster may come after that of one of its hosts."""


class Snapshots:
    """Snapshots as published; `interval` lets an old replay go where the publisher is on this host. With `counters`
    `samples` has the last sample of each family of the host whose snapshot was taken last, for exporters; what is
    wanted `also`, heartbeats or what a profiler says, stands in `heard` until somebody takes it away. `node`: of this
    host alone, where the bus has several."""

    def __init__(
        self,
        context: Sockets,
        endpoint: str,
        *,
        interval: float | None,
        counters: bool = False,
        secure: Secure | None = None,
        node: str | None = None,
        also: Sequence[str] = (),
    ) -> None:
        kinds = [topics.SNAPSHOT, *([topics.SAMPLE] if counters else []), *also]
        self.subscriber = Subscriber(
            context, endpoint, [topics.topic(kind, node) if node else f"{kind}/".encode() for kind in kinds], secure
        )
        self.samples: dict[str, Sample] = {}
        self.heard: list[tuple[Stamp, Status | Profiles]] = []
        self._interval = interval
        self._samples: dict[str, dict[str, Sample]] = {}

    def take(self) -> Iterator[tuple[Stamp, Snapshot]]:
        """What has come since, oldest first."""
        for message in self.subscriber.drain():
            if isinstance(message.body, Sample):
                self._samples.setdefault(message.stamp.node, {})[message.body.family] = message.body
            elif isinstance(message.body, Status | Profiles):
                self.heard.append((message.stamp, message.body))
            elif isinstance(message.body, Snapshot) and not self._history(message.stamp):
                self._interval = None
                self.samples = self._samples.get(message.stamp.node, {})
                yield message.stamp, message.body

    def _history(self, stamp: Stamp) -> bool:
        """Whether it is what the broker replays to who has just come. After the first one that is not, nothing is:
        replays are dropped by their numbers, and a cycle that waited while we were busy is news all the same."""
        return self._interval is not None and time.monotonic() - stamp.mono > _STALE * self._interval

    def wait(self) -> float | None:
        """Seconds until `take` has something to do though nothing came; None for never."""
        return None


class Recomputed:
    """Snapshots over a multiple of the fleet's interval, from its samples: rates cover the whole span."""

    def __init__(
        self,
        context: Sockets,
        endpoint: str,
        *,
        node: str,
        families: Sequence[str],
        frequency: float,
        secure: Secure | None = None,
    ) -> None:
        self.subscriber = Subscriber(
            context, endpoint, [f"{kind}/{node}/".encode() for kind in (topics.INVENTORY, topics.SAMPLE)], secure
        )
        from proxtop.join import Joiner  # hardly anybody recomputes

        self._joiner = Joiner(families, frequency)
        self._step_ms = round(frequency * 1000)
        self._epoch = time.time_ns()
        self._node = node
        self._seq = 0
        self._based: set[str] = set()
        self.samples: dict[str, Sample] = {}
        self.heard: list[tuple[Stamp, Status | Profiles]] = []

    def take(self) -> Iterator[tuple[Stamp, Snapshot]]:
        """What has come since, oldest first."""
        now = time.monotonic()
        for message in self.subscriber.drain():
            if isinstance(message.body, Inventory):
                self._joiner.inventory(message.stamp.node, message.body)
            elif isinstance(message.body, Sample) and self._wanted(message, message.body):
                self.samples[message.body.family] = message.body
                self._joiner.sample(message.stamp, message.body, now)
        while (closed := self._joiner.close(now)) is not None:
            self._seq += 1
            yield Stamp(self._node, self._epoch, self._seq, closed.cycle, time.time(), closed.mono), closed.snapshot

    def _wanted(self, message: Message, sample: Sample) -> bool:
        """The first sample of a family is the base; then those on the multiples."""
        if sample.family not in self._based:
            self._based.add(sample.family)
            return True
        return sample.prime or message.stamp.cycle % self._step_ms == 0

    def wait(self) -> float | None:
        """Seconds until the open cycle closes; None when none is open."""
        deadline = self._joiner.deadline()
        return None if deadline is None else max(0.0, deadline - time.monotonic())


def fleet_status(
    context: Sockets, endpoint: str, patience: float, secure: Secure | None = None, *, cluster: bool = False
) -> tuple[Stamp, Status] | None:
    """What the fleet on that bus says of itself (its aggregator's heartbeat), None when it says nothing in time. One
    that has just started does not know its connector yet: it is given the same time to find out. Where the bus may be
    that of many hosts (`cluster`), the heartbeat for all of them is waited for a moment, and comes first."""
    subscriber = Subscriber(context, endpoint, [f"{topics.STATUS}/".encode()], secure)
    deadline = time.monotonic() + patience
    found, known = None, 0.0
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not zmq_poll([(subscriber.socket, zmq.POLLIN)], int(left * 1000) + 1):
                continue
            for message in subscriber.drain():
                if not isinstance(message.body, Status):
                    continue
                if cluster and message.part == topics.CLUSTER:
                    return message.stamp, message.body
                if message.part == "aggregator" and (found is None or found[1].info.get("connector") is None):
                    found = message.stamp, message.body
            if found is not None and found[1].info.get("connector") is not None:
                if not cluster:
                    return found
                known = known or time.monotonic()
                deadline = min(deadline, known + _CLUSTER_S)
        return found
    finally:
        subscriber.close()
