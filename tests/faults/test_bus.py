"""The bus: who stops reading slows nobody, what is no frame of ours harms nobody, a fleet can be shared."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from proxtop.attach import reachable
from proxtop.bus import endpoints
from proxtop.bus.sockets import Subscriber, bounded
from proxtop.model import Snapshot, Stamp, Status
from tests.faults.garbage import garbage
from tests.faults.rig import PATIENCE_S, Machine, Rig, alive, children, domain, eventually, one_line, proxtop

INTERVAL_S = 0.5
NODE = os.uname().nodename


class Fleet:
    """A fleet in a directory of the test's choice, as an administrator's own would serve a host."""

    def __init__(self, directory: pathlib.Path, families: tuple[str, ...] = ("cpu", "mem", "io")) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700)
        setup = {
            "directory": str(directory), "node": NODE, "interval": INTERVAL_S, "families": families,
            "connector": "qemu",
        }  # fmt: skip
        with contextlib.ExitStack() as mine:
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            mine.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._ready, ready_end = os.pipe()
            lifeline_end, self._lifeline = os.pipe()
            mine.callback(os.close, ready_end)
            mine.callback(os.close, lifeline_end)
            ends = (ready_end, lifeline_end, lock)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxtopd.fleet", json.dumps(setup), *map(str, ends)],
                pass_fds=ends, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        self.uri = endpoints.subscribe(str(directory))
        assert os.read(self._ready, 100) == b"ready\n"  # the hypervisor answers; the bus may not be there yet
        eventually("its bus", lambda: reachable(self.uri) is None)

    def workers(self) -> dict[str, int]:
        return {name.removeprefix("pt-"): pid for pid, name in children(self.process.pid).items() if name[:3] == "pt-"}

    def close(self) -> bytes:
        """Ends it as its owner's end would: the lifeline breaks. What it said on stderr."""
        os.close(self._lifeline)
        os.close(self._ready)
        try:
            return self.process.communicate(timeout=PATIENCE_S)[1]
        finally:
            self.process.kill()


class Shared:
    """A fleet, a machine for it to watch, and a reader of its bus."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.machine = rig.machine("shared")
        self.fleet = Fleet(rig.folder / "bus")
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.reader = Subscriber(self.context, self.fleet.uri, [b"snapshot/", b"status/"])
        self.status: dict[str, Status] = {}

    def snapshots(self, count: int) -> list[tuple[Stamp, Snapshot]]:
        """So many, from now on."""
        for _ in self.reader.drain():
            pass
        found: list[tuple[Stamp, Snapshot]] = []

        def enough() -> bool:
            self.reader.socket.poll(100)
            for message in self.reader.drain():
                if isinstance(message.body, Snapshot):
                    found.append((message.stamp, message.body))
                elif isinstance(message.body, Status):
                    self.status[message.part] = message.body
            return len(found) >= count

        eventually(f"{count} snapshots", enough)
        return found

    def close(self) -> None:
        self.reader.close()
        self.context.destroy(linger=0)
        self.fleet.close()


@pytest.fixture(scope="module")
def shared(shared_rig: Rig) -> Iterator[Shared]:
    shared = Shared(shared_rig)
    try:
        eventually("a first snapshot", lambda: shared.snapshots(1))
        yield shared
    finally:
        shared.close()


def _unharmed(shared: Shared, workers: dict[str, int]) -> None:
    """The same workers, and snapshots of the right machine on time."""
    begin = time.monotonic()
    found = shared.snapshots(4)
    assert time.monotonic() - begin < 4 * INTERVAL_S + 2
    assert all(stamp.node == NODE for stamp, _ in found)
    assert any(shared.machine.uuid in body.tables["vm"].ids for _, body in found)
    assert shared.fleet.workers() == workers


def test_several_clients_share_a_fleet_and_a_late_one_gets_its_line_at_once(shared: Shared) -> None:
    options = ("--bus", shared.fleet.uri, "-p", "json", "-f", str(INTERVAL_S), "--cpu")
    clients = [shared.rig.proxtop(*options) for _ in range(3)]
    for client in clients:
        assert domain(client.cycles(2)[-1], shared.machine)
        assert client.errors == []
        assert not children(client.pid)
    started = time.monotonic()
    late = proxtop(*options, "-r", "1")
    assert late.returncode == 0
    assert domain(json.loads(late.stdout), shared.machine)
    assert time.monotonic() - started < 3
    for client in clients:
        assert client.stop() == 0
    assert shared.snapshots(1)


def test_a_multiple_of_the_interval_is_computed_over_the_whole_span(shared: Shared) -> None:
    running = shared.rig.proxtop("--bus", shared.fleet.uri, "-p", "json", "-f", "2", "--cpu")
    running.cycles(1)
    begin, used = time.monotonic(), shared.machine.on_cpu_s()
    lines = running.cycles(3)
    share = 100 * (shared.machine.on_cpu_s() - used) / (time.monotonic() - begin)
    assert [line["cycle"] % 2000 for line in lines] == [0, 0, 0]
    assert [line["span"] for line in lines] == pytest.approx([2, 2, 2], abs=0.5)
    rates = [row["cpu_total"] for line in lines if (row := domain(line, shared.machine))]
    assert sum(rates) / 3 == pytest.approx(share, abs=max(10, share / 2))
    assert running.stop() == 0


def test_an_attached_client_survives_the_broker(shared: Shared) -> None:
    running = shared.rig.proxtop("--bus", shared.fleet.uri, "-p", "json", "-f", str(INTERVAL_S), "--cpu")
    running.cycles(1)
    os.kill(shared.fleet.workers()["broker"], signal.SIGKILL)
    running.cycles(4)
    assert running.stop() == 0
    eventually("the broker", lambda: "broker" in shared.fleet.workers())
    assert shared.snapshots(2)


def test_a_reader_that_stops_reading_slows_nobody(shared: Shared) -> None:
    workers = shared.fleet.workers()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            socket_ = bounded(shared.context.socket(zmq.SUB))
            stack.callback(socket_.close, 0)
            socket_.subscribe(b"")
            socket_.connect(shared.fleet.uri)
        client = shared.rig.proxtop("--bus", shared.fleet.uri, "-p", "json", "-f", str(INTERVAL_S))
        client.cycles(1)
        client.process.send_signal(signal.SIGSTOP)
        _unharmed(shared, workers)
        client.process.send_signal(signal.SIGCONT)
        last = client.all()[-1]["cycle"]
        client.until("a later cycle", lambda line: line["cycle"] > last)
        assert client.stop() == 0


def test_garbage_from_a_rogue_worker_harms_nobody_and_is_counted(shared: Shared) -> None:
    workers = shared.fleet.workers()
    reading = shared.rig.proxtop("--bus", shared.fleet.uri, "-p", "json", "-f", str(INTERVAL_S))
    reading.cycles(1)
    shared.snapshots(1)
    before = shared.status["aggregator"].drops if "aggregator" in shared.status else 0
    rogue = shared.context.socket(zmq.XPUB)
    rogue.linger = 0
    rogue.connect(endpoints.publish(str(shared.fleet.directory)))
    assert rogue.poll(10_000)
    for _ in range(3):
        for message in garbage(NODE):
            rogue.send_multipart(message)
    _unharmed(shared, workers)
    eventually("the count of drops", lambda: shared.snapshots(1) and shared.status["aggregator"].drops > before)
    rogue.close(0)
    reading.cycles(3)
    assert not [line for line in reading.errors if "Traceback" in line]
    assert reading.stop() == 0


def test_bytes_that_are_no_zeromq_harm_nobody(shared: Shared) -> None:
    workers = shared.fleet.workers()
    with contextlib.ExitStack() as stack:
        for path in (shared.fleet.uri, endpoints.publish(str(shared.fleet.directory))):
            for greeting in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 4096, b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"):
                stranger = stack.enter_context(socket.socket(socket.AF_UNIX))
                stranger.connect(path.removeprefix("ipc://"))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    stranger.sendall(greeting)
        _unharmed(shared, workers)


def test_the_publishing_end_lets_no_reader_in(shared: Shared) -> None:
    workers = shared.fleet.directory / "workers"
    assert workers.stat().st_mode & 0o077 == 0
    assert (workers / "publish.sock").stat().st_mode & 0o077 == 0
    assert (shared.fleet.directory / "subscribe.sock").stat().st_mode & 0o007 == 0


def test_a_fleet_that_ends_is_waited_for_by_who_is_attached_and_comes_back(rig: Rig) -> None:
    machine = rig.machine("shared")
    first = Fleet(rig.folder / "bus")
    running = rig.proxtop("--bus", first.uri, "-p", "json", "-f", str(INTERVAL_S), "--cpu")
    running.cycles(2)
    workers = first.workers()
    assert first.close() == b""
    eventually("the end of the workers", lambda: not any(map(alive, workers.values())))
    assert not first.directory.exists()
    assert not running.ended()
    second = Fleet(rig.folder / "bus")
    rig.callback(second.close)
    line = running.until(
        "the new fleet's lines", lambda line: (domain(line, machine) or {}).get("cpu_total") is not None
    )
    assert line["node"] == NODE
    cycles = [line["cycle"] for line in running.all()]
    assert cycles == sorted(set(cycles))
    assert running.stop() == 0


def _serves(rig: Rig, *options: str) -> tuple[Machine, Any]:
    machine = rig.machine("local")
    fleet = Fleet(pathlib.Path(endpoints.LOCAL))
    rig.callback(fleet.close)
    done = proxtop("-p", "json", *options, env=os.environ | {"XDG_RUNTIME_DIR": str(rig.runtime)})
    assert done.returncode == 0, done.stderr
    assert domain(json.loads(done.stdout.splitlines()[-1]), machine)
    return machine, done


local = pytest.mark.skipif(
    os.geteuid() != 0 or pathlib.Path(endpoints.LOCAL).exists(),
    reason=f"needs root and a host without {endpoints.LOCAL}",
)


@local
def test_a_client_attaches_to_the_fleet_of_the_host(rig: Rig) -> None:
    _, done = _serves(rig, "-f", "1", "--cpu", "-r", "2")
    assert done.stderr == ""


@local
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--disk"], "disk"), (["--cpu", "-f", "0.3"], "interval"), (["--cpu", "--node=other"], "node"),
        (["--cpu", "--procfs=/proc/."], "procfs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_the_fleet_of_the_host_does_not_serve_is_served_by_a_private_one(
    rig: Rig, options: list[str], why: str
) -> None:
    _, done = _serves(rig, "-r", "1", "--qemu", *options)
    said = [line for line in done.stderr.splitlines() if "private fleet" in line]
    assert why in one_line(said)
