"""A private fleet on a host's VMs: what it costs, how fast it is, how much of everything it takes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import zmq

from bench import watch
from bench.watch import Usage
from proxtop.bus.frames import decode
from proxtop.bus.ids import IdsReader
from proxtop.bus.sockets import Context, receive
from proxtop.model import Message, Sample, Snapshot
from tests.e2e.running import Proxtop, run

FAMILIES = ("--cpu", "--mem", "--disk", "--net", "--io", "--pressure", "--host")
LIBVIRTD = "libvirtd"
WARM_CYCLES = 8
PARTS = 3
PART_CYCLES = 6
STARTS = 9


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a fleet, by process: seconds of CPU a cycle and wake-ups a cycle (medians over parts of the run), and MB of
    memory. libvirtd is not among them. `gaps` counts the cycles that did not come when due."""

    cpu: Mapping[str, float]
    wakes: Mapping[str, float]
    memory: Mapping[str, float]
    libvirtd: float
    gaps: int
    vms: int


class Fleet:
    """`proxtop` in JSON with a private fleet of its own, at a cycle a second."""

    def __init__(
        self, connector: str, families: Sequence[str] = FAMILIES, options: Sequence[str] = (), **env: str
    ) -> None:
        self._env = env
        self._command = (f"--{connector}", *families, *options, "-p", "json")

    def costs(self, parts: int = PARTS) -> Costs:
        """What it costs while it runs."""
        with self._running() as proxtop:
            vms = len(proxtop.lines(WARM_CYCLES, timeout=30)[-1].data["domains"])
            names = self._processes(proxtop)
            watched = names | dict.fromkeys(watch.named(LIBVIRTD), LIBVIRTD)
            gains: list[dict[str, Usage]] = []
            cycles: list[int] = []
            for _ in range(parts):
                before = watch.usages(watched)
                cycles += [line.data["cycle"] for line in proxtop.lines(PART_CYCLES, timeout=30)]
                after = watch.usages(watched)
                gains.append({watched[pid]: after[pid] - before[pid] for pid in watched})
            memory = {name: watch.pss_mb(pid) for pid, name in names.items()}
        cpu = {name: statistics.median(gain[name].cpu for gain in gains) / PART_CYCLES for name in gains[0]}
        wakes = {name: statistics.median(gain[name].switches for gain in gains) / PART_CYCLES for name in gains[0]}
        libvirtd = cpu.pop(LIBVIRTD, 0.0)
        wakes.pop(LIBVIRTD, None)
        gaps = sum(after - before != 1000 for before, after in itertools.pairwise(cycles))
        return Costs(cpu, wakes, memory, libvirtd, gaps, vms)

    def delays(self, cycles: int) -> list[float]:
        """Of so many cycles the ms from the last family's frame to the snapshot, decoded by a subscriber; all of them
        ahead of whatever else runs on the machine."""
        found = []
        with _ahead(), self._running(ahead=True) as proxtop:
            proxtop.lines(2, timeout=30)
            ids = IdsReader()
            frames: list[list[bytes]] = []
            for parts in subscribed(proxtop, b"sample/", b"snapshot/"):
                if parts[0].startswith(b"sample/"):
                    frames.append(parts)
                    continue
                stamp = decode(parts, ids).stamp
                decoded = time.time()
                sent = [decode(frame).stamp for frame in frames]
                frames.clear()
                if last := max((one.time for one in sent if one.cycle == stamp.cycle), default=0.0):
                    found.append((decoded - last) * 1000)
                if len(found) > cycles:
                    return found[1:]  # decoding the first one's ids is a start's work
        raise AssertionError("the bus ended")

    def frame(self) -> int:
        """The bytes of a snapshot frame, topic included."""
        with self._running() as proxtop:
            proxtop.lines(3, timeout=30)
            parts = next(subscribed(proxtop, b"snapshot/"))
            return sum(map(len, parts))

    def bodies(self, count: int) -> Iterator[Message]:
        """The next messages with a sample or a snapshot, each in order, until there were so many snapshots."""
        with self._running() as proxtop:
            proxtop.lines(2, timeout=60)
            ids = IdsReader()
            for parts in subscribed(proxtop, b"sample/", b"snapshot/"):
                message = decode(parts, ids)
                count -= isinstance(message.body, Snapshot)
                if isinstance(message.body, Sample | Snapshot):
                    yield message
                if not count:
                    return

    def start(self) -> float:
        """Seconds from the command to its first true line, ahead of whatever else runs on the machine."""
        status, lines, stderr = run((*self._command, "--runs=1"), self._env, ahead=True)
        assert status == 0 and len(lines) == 1, stderr
        data = json.loads(lines[0].text)
        assert data["domains"] and not data.get("stale"), data
        return lines[0].after_s

    @contextlib.contextmanager
    def _running(self, *, ahead: bool = False) -> Iterator[Proxtop]:
        with Proxtop(*self._command, "-f", "1", env=self._env, ahead=ahead) as proxtop:
            yield proxtop

    def _processes(self, proxtop: Proxtop) -> dict[int, str]:
        names = {pid: watch.name(pid).removeprefix("pt-") for pid in watch.tree(proxtop.process.pid)}
        assert "broker" in names.values(), f"{proxtop} has no fleet of its own: end the host's first"
        (parent,) = watch.children(proxtop.process.pid)
        return names | {proxtop.process.pid: "client", parent: "parent"}


@contextlib.contextmanager
def _ahead() -> Iterator[None]:
    """This process ahead of others in the queue for a core, where that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def subscribed(proxtop: Proxtop, *prefixes: bytes) -> Iterator[list[bytes]]:
    """The frames of its private fleet's bus, as they come."""
    (path,) = proxtop.runtime.glob("*/subscribe.sock")
    context = Context()
    socket = context.socket(zmq.SUB)
    try:
        for prefix in prefixes:
            socket.set(zmq.SUBSCRIBE, prefix)
        socket.connect(f"ipc://{path}")
        while True:
            assert zmq.zmq_poll([(socket, zmq.POLLIN)], 30_000), f"{proxtop}: nothing on its bus"
            while (parts := receive(socket)) is not None:
                yield parts
    finally:
        socket.close(0)
        context.term()


def p95(values: Sequence[float]) -> float:
    """The value that 95 % do not exceed."""
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]
