"""Many hypervisors on one machine, and what an aggregator makes of them: `python -m bench.simulator [HOSTS …]`.

Each host is a socket of its own with keys of its own, as its door would be, and publishes on the grid of its interval
the recorded cycle of real guests (tests/tui/fixtures/libvirt.json) under other names, within `SPREAD_S` of the tick, as
real hosts do. A reader on the aggregator's bus tells how long each frame took, from its stamp to there. All
of them run on this machine: the aggregator has what the others leave.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import zmq
from zmq.backend import zmq_poll

from bench import watch
from bench.figures import Figure, note
from proxtop.bus import curve, endpoints, keys, topics
from proxtop.bus.curve import Gate
from proxtop.bus.frames import VERSION, Tracker, encode, head
from proxtop.bus.ids import IdsWriter
from proxtop.bus.keys import Pair
from proxtop.bus.sockets import Context, Socket, bounded, networked, receive, send
from proxtop.bus.wire import FrameError, to_wire
from proxtop.model import Snapshot, Stamp, Status, Table
from tests.faults.rig import children
from tests.tui.recorded import many

VMS = 50
INTERVAL_S = 2.0
SPREAD_S = 0.1
"""Real hosts publish their cycle some 30 to 130 ms after the tick."""

BAR_HOSTS = 500
STOPPED = 3
CURVE_HOSTS = (10, 100, 250, 500, 1000)
_WARM_S = 3 * INTERVAL_S
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run showed. `lost`: frames that never came by their seq; `silent`: hosts of which nothing came.
    Latencies in ms from a frame's stamp to the reader; memory in MiB; CPU in % of one core."""

    hosts: int
    vms: int
    stopped: int
    frames: int
    lost: int
    silent: int
    median_ms: float
    p95_ms: float
    most_ms: float
    memory_mib: float
    cpu: float
    simulator_cpu: float
    bytes_each: int


class _Host:
    """A simulated host: its socket, and its frames with everything but the head made ahead."""

    def __init__(self, context: Context, own: Pair, node: str, snapshot: Snapshot) -> None:
        self.node = node
        self.socket: Socket = networked(bounded(context.socket(zmq.XPUB)))
        curve.serve(self.socket, own)
        self.socket.bind("tcp://127.0.0.1:*")
        self.address = bytes(self.socket.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
        self._body = msgpack.packb(to_wire(snapshot, IdsWriter()))
        self._epoch = time.time_ns()
        self._seq = 0

    def publish(self, cycle: int) -> int:
        """Its cycle, stamped now: the bytes."""
        self._seq += 1
        stamp = Stamp(self.node, self._epoch, self._seq, cycle, time.time(), time.monotonic())
        payload = msgpack.packb({"v": VERSION, **to_wire(stamp, IdsWriter()), "body": None})[:-1] + self._body
        send(self.socket, [topics.topic(topics.SNAPSHOT, self.node), payload])
        if self._seq % 2:
            status = Status(
                "aggregator", "running", 1, INTERVAL_S, info={"connector": "libvirt", "version": "simulated"}
            )
            send(self.socket, encode(topics.STATUS, "aggregator", replace(stamp, seq=self._seq // 2 + 1), status))
        return len(payload)


def _renamed(snapshot: Snapshot, number: int) -> Snapshot:
    """The same VMs with the identity that they have on another host."""

    def identity(key: str) -> str:
        owner, slash, part = key.partition("/")
        return f"{number:08x}{owner[8:]}{slash}{part}"

    tables = dict(snapshot.tables)
    for scope in ("vm", "vcpu", "thread", "disk", "nic"):
        table = tables[scope]
        ids = [identity(_spread(key)) for key in table.ids]
        columns = dict(table.columns)
        if "name" in columns:
            columns["name"] = [f"{name}-{number}" for name in columns["name"]]
        tables[scope] = Table(ids, columns)
    return replace(snapshot, tables=tables)


def _spread(key: str) -> str:
    """An id whose own number stands at its end, so that its beginning is free for the host's."""
    return key[:24] + key[:8] + key[32:36] + key[36:]


def simulate(hosts: int, vms: int, folder: str) -> None:
    """Publishes until killed; tells its addresses and keys in a file of that folder."""
    context = Context()
    context.set(zmq.MAX_SOCKETS, 10 * hosts + 100)
    aggregator = keys.load(f"{folder}/agg.key")
    gate = Gate(context, {aggregator.public: "agg"})
    _, snapshot = many(vms)
    pairs = [Pair(f"sim{number:04}", *zmq.curve_keypair()) for number in range(hosts)]
    made = [_Host(context, pair, pair.name, _renamed(snapshot, n)) for n, pair in enumerate(pairs)]
    told = [(host.node, host.address, pair.public.decode()) for host, pair in zip(made, pairs, strict=True)]
    fresh = pathlib.Path(folder, "hosts.json.new")
    fresh.write_text(json.dumps(told), encoding="ascii")
    fresh.rename(pathlib.Path(folder, "hosts.json"))
    chance = random.Random(1)
    step = round(INTERVAL_S * 1000)
    cycle = (round(time.time() * 1000) // step + 1) * step
    while True:
        order = sorted((cycle / 1000 + chance.uniform(0.03, 0.03 + SPREAD_S), n) for n in range(hosts))
        for due, number in order:
            while (left := due - time.time()) > 0:
                if zmq_poll([(gate.socket, zmq.POLLIN)], int(left * 1000)):
                    gate.answer()
                elif left < 0.001:
                    break
            gate.answer()
            made[number].publish(cycle)
            if number % 50 == 0:
                for host in made:
                    _listen(host.socket)
        cycle += step


def _listen(socket: Socket) -> None:
    try:
        while True:
            socket.recv(zmq.DONTWAIT)
    except zmq.Again:
        return


def measure(problems: list[str]) -> list[Figure]:
    """The curve as figures, and one with readers that stopped reading. Bars: what one aggregator takes of 500 hosts x
    50 VMs at 2 s on two cores."""
    found = []
    for hosts, stopped in (*((hosts, 0) for hosts in CURVE_HOSTS), (BAR_HOSTS, STOPPED)):
        note(f"{hosts} simulated hosts with {VMS} VMs each, {stopped} readers that stopped reading")
        figures, bars = run(hosts, stopped=stopped), hosts == BAR_HOSTS
        section = f"aggregator, hosts x {VMS} VMs at {INTERVAL_S:g} s"
        what = f"{hosts}, {stopped} readers stopped" if stopped else f"{hosts}"
        for name, value, unit, bar in (
            ("frames lost", figures.lost + figures.silent, "", 0),
            ("p95 from a host's stamp to a reader", figures.p95_ms, "ms", 200),
            ("median of the same", figures.median_ms, "ms", None),
            ("memory (RSS)", figures.memory_mib, "MiB", 400),
            ("CPU of one core", figures.cpu, "%", None),
        ):
            found.append(Figure(section, f"{what}: {name}", value, unit, bar if bars else None, watch.load()))
        if bars and figures.lost + figures.silent:
            problems.append(f"{figures.lost} frames and {figures.silent} hosts did not come through the aggregator")
    return found


def run(hosts: int, vms: int = VMS, cycles: int = 10, stopped: int = 0) -> Figures:
    """One run: so many hosts with so many VMs each, over so many cycles, with readers that stopped reading."""
    folder = tempfile.mkdtemp(prefix="pxs-")
    running: list[subprocess.Popen[Any]] = []
    try:
        keys.create(f"{folder}/agg.key", "agg")
        simulator = subprocess.Popen(
            [sys.executable, "-m", "bench.simulator", "--simulate", str(hosts), str(vms), folder]
        )
        running.append(simulator)
        _wait(lambda: pathlib.Path(folder, "hosts.json").exists(), 120)
        lines = ['name = "agg"', f'directory = "{folder}/bus"', f'key = "{folder}/agg.key"']
        for node, address, key in json.loads(pathlib.Path(f"{folder}/hosts.json").read_text()):
            lines += ["[[hypervisors]]", f'node = "{node}"', f'address = "{address}"', f'key = "{key}"']
        pathlib.Path(f"{folder}/agg.toml").write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "proxtop_agg", "run", f"--config={folder}/agg.toml"]
        aggregator = subprocess.Popen(command)
        running.append(aggregator)
        endpoint = endpoints.subscribe(f"{folder}/bus")
        _wait(lambda: pathlib.Path(endpoint.removeprefix("ipc://")).exists(), 60)
        hub = next(iter(children(aggregator.pid)))
        for _ in range(stopped):
            words = ["--bus", endpoint, "--printer=json", "--output=file", f"--target={folder}/stopped"]
            reader = subprocess.Popen([sys.executable, "-m", "proxtop", *words])
            running.append(reader)
            _wait(lambda: pathlib.Path(folder, "stopped").exists(), 60)
            reader.send_signal(signal.SIGSTOP)
        return _watch(endpoint, hub, simulator.pid, hosts, vms, cycles, stopped)
    finally:
        for process in running[::-1]:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _watch(endpoint: str, hub: int, simulator: int, hosts: int, vms: int, cycles: int, stopped: int) -> Figures:
    context = Context()
    socket = bounded(context.socket(zmq.SUB))
    socket.set(zmq.RCVHWM, 100_000)
    socket.set(zmq.SUBSCRIBE, b"snapshot/")
    socket.connect(endpoint)
    try:
        _drain(socket, time.monotonic() + _WARM_S, lambda stamp, size, wall: None)
        heard: set[str] = set()
        deadline = time.monotonic() + 60
        while len(heard) < hosts and time.monotonic() < deadline:
            _drain(socket, time.monotonic() + INTERVAL_S, lambda stamp, size, wall: heard.add(stamp.node))
        tracker, delays, sizes, most = Tracker(), [], [0], 0.0
        came: set[str] = set()
        first = round((time.time() + INTERVAL_S) / INTERVAL_S) * INTERVAL_S
        time.sleep(max(0.0, first - 0.2 - time.time()))
        _drain(socket, time.monotonic(), lambda stamp, size, wall: None)

        def take(stamp: Stamp, size: int, wall: float) -> None:
            if tracker.fresh(topics.SNAPSHOT, "", stamp):
                delays.append((wall - stamp.time) * 1000)
                came.add(stamp.node)
                sizes[0] += size

        before, began = (_cpu_s(hub), _cpu_s(simulator)), time.monotonic()
        for _ in range(cycles):
            _drain(socket, time.monotonic() + INTERVAL_S, take)
            most = max(most, _resident_mib(hub))
        took = time.monotonic() - began
        after = (_cpu_s(hub), _cpu_s(simulator))
        used = [100 * (b - a) / took for a, b in zip(before, after, strict=True)]
    finally:
        socket.close(0)
        context.term()
    delays.sort()
    return Figures(
        hosts, vms, stopped, len(delays), tracker.lost, hosts - len(came), statistics.median(delays),
        delays[int(len(delays) * 0.95)], delays[-1], most, used[0], used[1], sizes[0] // max(1, len(delays)),
    )  # fmt: skip


def _drain(socket: Socket, until: float, take: Any) -> None:
    while True:
        left = until - time.monotonic()
        while (frames := receive(socket)) is not None:
            wall = time.time()
            try:
                _, _, stamp = head(frames)
            except FrameError:
                continue
            take(stamp, len(frames[1]), wall)
        if left <= 0:
            return
        zmq_poll([(socket, zmq.POLLIN)], int(left * 1000) + 1)


def _wait(condition: Any, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the simulator or the aggregator does not start")
        time.sleep(0.05)


def _resident_mib(pid: int) -> float:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / (1 << 20)


def _cpu_s(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


_COLUMNS = (
    ("hosts", "hosts", "d"), ("stopped", "stopped", "d"), ("frames", "frames", "d"), ("lost", "lost", "d"),
    ("silent", "silent", "d"), ("p50 ms", "median_ms", ".1f"), ("p95 ms", "p95_ms", ".1f"),
    ("max ms", "most_ms", ".0f"),
    ("MiB", "memory_mib", ".0f"), ("CPU %", "cpu", ".1f"), ("sim %", "simulator_cpu", ".1f"),
    ("bytes", "bytes_each", "d"),
)  # fmt: skip


def row(figures: Figures) -> str:
    """A line of the table."""
    return "  ".join(f"{format(getattr(figures, name), form):>7}" for _, name, form in _COLUMNS)


def main(argv: Sequence[str]) -> None:
    """Prints the curve, or that of the numbers of hosts that are named."""
    if argv[:1] == ["--simulate"]:
        simulate(int(argv[1]), int(argv[2]), argv[3])
        return
    sys.stdout.write("  ".join(f"{head:>7}" for head, _, _ in _COLUMNS) + "\n")
    for hosts in map(int, argv) if argv else CURVE_HOSTS:
        sys.stdout.write(row(run(hosts)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
