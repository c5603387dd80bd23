"""Snapshots as a client takes them from a bus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from proxtop.bus import topics
from proxtop.bus.frames import encode
from proxtop.bus.sockets import Context, Socket, bounded, send
from proxtop.model import Payload, Sample, Snapshot, Stamp, Table
from proxtop.stream import Snapshots


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    yield context
    context.term()


class Bus:
    """A publisher's end that readers connect to."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/bus"
        self.socket: Socket = bounded(context.socket(zmq.XPUB))
        self.socket.bind(self.endpoint)
        self._context = context
        self._readers: list[Snapshots] = []
        self._seq = 0

    def reader(self, interval: float | None, *, counters: bool = False) -> Snapshots:
        """A reader whose subscriptions are here."""
        snapshots = Snapshots(self._context, self.endpoint, interval=interval, counters=counters)
        self._readers.append(snapshots)
        self._joined(1 + counters)
        return snapshots

    def close(self) -> None:
        for reader in self._readers:
            reader.subscriber.close()
        self.socket.close(0)

    def _joined(self, count: int) -> None:
        """Waits for so many subscriptions."""
        for _ in range(count):
            assert zmq.backend.zmq_poll([(self.socket, zmq.POLLIN)], 10_000)
            self.socket.recv()

    def say(self, kind: str, body: Payload, *, node: str = "a", part: str = "", ago: float = 0.0) -> None:
        """Publishes what was so that many seconds ago."""
        self._seq += 1
        stamp = Stamp(node, 1, self._seq, self._seq * 1000, time.time() - ago, time.monotonic() - ago)
        send(self.socket, encode(kind, part, stamp, body))


@pytest.fixture
def bus(context: Context, tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(context, tmp_path)
    yield bus
    bus.close()


def snapshot(value: int = 0) -> Snapshot:
    return Snapshot({"host": Table(["h"], {"value": [value]}), "vm": Table([], {})}, 1.0, ("psi",), "qemu")


def psi(value: int) -> Sample:
    return Sample("psi", {"host": Table(["h"], {"psi_some_cpu_us": [value]})}, 0.0)


def taken(snapshots: Snapshots, count: int) -> list[tuple[str, Any, Any]]:
    """(node, value of its snapshot, counter of its last sample) of that many snapshots."""
    found: list[tuple[str, Any, Any]] = []
    while len(found) < count:
        assert zmq.backend.zmq_poll([(snapshots.subscriber.socket, zmq.POLLIN)], 3_000), found
        for stamp, body in snapshots.take():
            sample = snapshots.samples.get("psi")
            counter = None if sample is None else sample.tables["host"].columns["psi_some_cpu_us"][0]
            found.append((stamp.node, body.tables["host"].columns["value"][0], counter))
    return found


def test_the_counters_are_those_of_the_host_whose_cycle_it_is(bus: Bus) -> None:
    snapshots = bus.reader(None, counters=True)
    for node, counter in (("a", 1), ("b", 2)):
        bus.say(topics.SAMPLE, psi(counter), node=node, part="psi")
    for node in ("a", "b", "c"):
        bus.say(topics.SNAPSHOT, snapshot(), node=node)
    assert taken(snapshots, 3) == [("a", 0, 1), ("b", 0, 2), ("c", 0, None)]


def test_what_is_replayed_at_first_is_history_and_cycles_that_waited_are_not(bus: Bus) -> None:
    snapshots = bus.reader(1.0)
    for value, ago in ((1, 60.0), (2, 0.0), (3, 5.0), (4, 4.0), (5, 0.0)):
        bus.say(topics.SNAPSHOT, snapshot(value), ago=ago)
    assert [value for _, value, _ in taken(snapshots, 4)] == [2, 3, 4, 5]
