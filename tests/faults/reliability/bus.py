"""The bus: readers that stop, connections that say nothing, frames that are none."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import zmq

from proxtop.bus import endpoints, frames, topics
from proxtop.bus.sockets import Publisher, Subscriber, bounded
from proxtop.model import Sample, Snapshot, Stamp, Table
from tests.faults.garbage import garbage
from tests.faults.reliability.bench import INTERVAL_S, Bench, Row, in_time, resident_kb
from tests.faults.rig import eventually
from tests.faults.supervised import NODE

_EVERY = 4
"""One more snapshot in so many turns of 20 ms: a dozen a second, as from a dozen hosts."""


def reader_stopped(bench: Bench, seconds: float = 60.0) -> Row:
    """A reader of everything that stops for a minute: nobody waits for it, the broker keeps little, and it can say
    exactly what it lost."""
    fleet = bench.fleet
    broker = fleet.up()["broker"]
    code = (
        "import sys, json, zmq\n"
        "from proxtop.bus.sockets import Context, Subscriber\n"
        "s = Subscriber(Context(), sys.argv[1], [b'sample/', b'snapshot/'])\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    zmq.backend.zmq_poll([(s.socket, 1)], -1)\n"
        "    for m in s.drain():\n"
        "        print(json.dumps([m.kind, m.part, m.stamp.epoch, m.stamp.seq, s.tracker.lost]), flush=True)\n"
    )
    command = [sys.executable, "-P", "-c", code, endpoints.subscribe(str(fleet.run))]
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(_Reader(command)) for _ in range(2)]
        slow, quick = readers
        eventually("both read", lambda: all(reader.read() and reader.frames for reader in readers))
        before = resident_kb(broker)
        os.kill(slow.pid, signal.SIGSTOP)
        stack.callback(_continue, slow.pid)
        begin, most, turn = time.monotonic(), 0, 0
        flood = stack.enter_context(_flood(bench))
        while time.monotonic() < begin + seconds:
            turn += 1
            if turn % _EVERY == 0:
                flood()
            quick.read()
            fleet.take()
            most = max(most, resident_kb(broker) - before)
        slow_at = len(slow.frames)
        os.kill(slow.pid, signal.SIGCONT)
        resumed = time.monotonic()
        last = next(frame for frame in reversed(quick.frames) if frame[:2] == ["sample", "cpu"])
        eventually("what is new", lambda: slow.read() and quick.read() and slow.frames[-1][3] and slow.after(last))
        back = time.monotonic() - resumed
        missed = quick.keys(slow.first()) - slow.keys(slow.first())
        upto = {key for key in missed if slow.passed(key)}
        lost = slow.frames[-1][4]
        assert quick.frames[-1][4] == 0, "a reader that reads lost something"
        assert lost == len(upto) > 0, (lost, len(upto))
        assert slow_at < len(slow.frames)
    assert most <= 10_240, f"the broker grew by {most} kB"
    assert fleet.pids()["broker"] == broker
    return Row(
        f"a reader stops for {seconds:g} s",
        f"{lost} frames for that reader, counted exactly; nobody else any",
        f"its own count of lost frames; the broker grew by {most / 1024:.1f} MB",
        back,
    )


class _Reader:
    """A reader of the bus as another process: the frames that it got."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._out = self._process.stdout
        assert self._out.readline() == b"ready\n"
        os.set_blocking(self._out.fileno(), False)
        self._rest = b""
        self.frames: list[list[object]] = []

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self) -> bool:
        """Takes in what it has said since."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._out.fileno(), 1 << 16):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        self.frames += map(json.loads, lines)
        return True

    def first(self) -> dict[tuple[object, ...], int]:
        """The first number that it got, by topic and publisher."""
        found: dict[tuple[object, ...], int] = {}
        for kind, part, epoch, seq, _ in self.frames:
            found.setdefault((kind, part, epoch), seq)  # type: ignore[arg-type]
        return found

    def keys(self, since: dict[tuple[object, ...], int]) -> set[tuple[object, ...]]:
        """What it got after those numbers."""
        return {
            (kind, part, epoch, seq)
            for kind, part, epoch, seq, _ in self.frames
            if seq >= since.get((kind, part, epoch), sys.maxsize)  # type: ignore[operator]
        }

    def passed(self, key: tuple[object, ...]) -> bool:
        """Whether it got a later frame of the same topic."""
        *topic, seq = key
        return any(frame[:3] == topic and frame[3] > seq for frame in self.frames)  # type: ignore[operator]

    def after(self, frame: list[object]) -> bool:
        """Whether it got that frame, or a later one of the topic."""
        return any(mine[:3] == frame[:3] and mine[3] >= frame[3] for mine in self.frames)  # type: ignore[operator]


@contextlib.contextmanager
def _flood(bench: Bench) -> Iterator[Callable[[], None]]:
    """More traffic than one machine makes: snapshots of a host of 100 VMs, as often as they are asked for."""
    publisher = Publisher(bench.fleet.context, endpoints.publish(str(bench.fleet.run)), NODE + "-big")
    columns: dict[str, list[object]] = {f"figure_{n}": [n * 1.25 + m for m in range(100)] for n in range(60)}
    table = Table([f"vm-{n}" for n in range(100)], columns)  # type: ignore[arg-type]
    body = Snapshot({"vm": table}, 1.0, ("cpu",), "qemu")
    eventually("the broker", lambda: publisher.socket.poll(100) if hasattr(publisher.socket, "poll") else True)

    def send() -> None:
        publisher.publish(topics.SNAPSHOT, "", 0, body)
        publisher.on_readable()

    try:
        yield send
    finally:
        publisher.close()


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def silent_connections(bench: Bench, number: int = 200) -> Row:
    """Connections that say nothing, at both ends of the bus."""
    fleet = bench.fleet

    def act() -> None:
        with contextlib.ExitStack() as stack:
            for path in (endpoints.subscribe(str(fleet.run)), endpoints.publish(str(fleet.run))):
                for _ in range(number // 2):
                    line = stack.enter_context(socket.socket(socket.AF_UNIX))
                    line.connect(path.removeprefix("ipc://"))
            place = len(fleet.seen)
            eventually("cycles beside them", lambda: fleet.take() or len(fleet.seen) > place + 3)
            begin = time.monotonic()
            late = Subscriber(fleet.context, endpoints.subscribe(str(fleet.run)), [b"snapshot/"])
            stack.callback(late.close)
            eventually("another reader", lambda: late.socket.poll(20) and list(late.drain()))
            assert time.monotonic() - begin < 2 * INTERVAL_S + 1

    before = fleet.pids()
    row = bench.broken(f"{number} connections that say nothing", act, again=())
    assert fleet.pids() == before and row.lost == "0 cycles"
    return row


def descriptors_exhausted(bench: Bench) -> Row:
    """The broker may have no more descriptors and gets more connections: libzmq ends it, and it is replaced."""
    fleet = bench.fleet
    broker = fleet.pids()["broker"]

    def act() -> None:
        resource.prlimit(broker, resource.RLIMIT_NOFILE, (48, 48))
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                line = stack.enter_context(socket.socket(socket.AF_UNIX))
                with contextlib.suppress(OSError):
                    line.connect(endpoints.subscribe(str(fleet.run)).removeprefix("ipc://"))
            fleet.replaced("broker", broker)

    return in_time(bench, bench.broken("no descriptors left at the broker", act, again=("broker",)))


def out_of_memory(bench: Bench) -> Row:
    """The aggregator may take no more memory."""
    pid = bench.fleet.pids()["aggregator"]

    def act() -> None:
        size = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
        with _flood_of_samples(bench):
            bench.fleet.replaced("aggregator", pid)

    return in_time(bench, bench.broken("the aggregator gets no more memory", act, again=("aggregator",), noticed=10))


@contextlib.contextmanager
def _flood_of_samples(bench: Bench) -> Iterator[None]:
    """Samples so large that whoever reads them has to ask for memory."""
    end = bounded(bench.fleet.context.socket(zmq.XPUB))
    end.connect(endpoints.publish(str(bench.fleet.run)))
    eventually("the broker", lambda: end.poll(100))
    rows = [f"vm-{n}" for n in range(20_000)]
    table = Table(rows, {f"figure_{n}": [n * 1.25 + m for m in range(20_000)] for n in range(30)})
    sample = Sample("cpu", {"vm": table}, 1.0)
    try:
        for seq in range(1, 4):
            stamp = Stamp(NODE, 1, seq, 0, time.time(), time.monotonic())
            end.send_multipart(frames.encode(topics.SAMPLE, "cpu", stamp, sample))
        yield
    finally:
        end.close(0)


def rubbish(bench: Bench) -> Row:
    """Garbage, oversized and forged frames from a local writer."""
    fleet = bench.fleet
    before = fleet.up()
    drops = fleet.status()["aggregator"]["drops"]

    def act() -> None:
        rogue = fleet.context.socket(zmq.XPUB)
        rogue.linger = 0
        rogue.connect(endpoints.publish(str(fleet.run)))
        assert rogue.poll(10_000)
        for message in garbage(NODE):
            rogue.send_multipart(message)
        eventually("the count of drops", lambda: fleet.take() or (fleet.status()["aggregator"]["drops"] or 0) > drops)
        rogue.close(0)

    row = bench.broken("garbage, oversized and forged frames from a local writer", act, again=())
    assert fleet.pids() == before
    counted = {name: entry["drops"] for name, entry in fleet.status().items() if entry["drops"]}
    total = sum(counted.values())
    return Row(row.fault, row.lost, f"{total} drops counted by {len(counted)} workers in status", row.seconds)
