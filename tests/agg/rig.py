"""What the tests of network buses are made of: local buses, doors, readers, keys, each on its own."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import endpoints, keys, topics
from proxtop.bus.curve import Joining
from proxtop.bus.keys import Pair
from proxtop.bus.sockets import Context, Publisher, Subscriber
from proxtop.model import Message, Payload, Snapshot, Status, Table
from tests.faults.rig import PATIENCE_S, PROXTOP, eventually

_BROKER = """
import sys
from proxtopd import broker
from proxtopd.setup import Setup
sys.exit(broker.run(Setup(sys.argv[1], "node", 1.0, ("cpu",)), lambda: print("ready", flush=True)))
"""


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def snapshot(*names: str, node: str = "pve1", value: float = 1.0) -> Snapshot:
    """A small snapshot with VMs of these names, each with its name as UUID."""
    ids = [f"{name}-uuid" for name in names]
    columns: dict[str, list[Any]] = {"name": list(names), "cpu_total": [value] * len(names)}
    return Snapshot({"host": Table([node], {}), "vm": Table(ids, columns)}, 1.0, ("cpu",), "qemu")


def listens(address: str) -> bool:
    """Whether somebody listens there."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class Process:
    """A child whose standard error is read as it comes."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.errors: list[str] = []
        self.popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", **options
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as stream:
            for line in stream:
                self.errors.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self.popen.pid

    def said(self, words: str) -> str:
        """The first line that contains these words, waited for."""
        return eventually(f"{words!r} on stderr", lambda: next((line for line in self.errors if words in line), ""))

    def resident(self) -> int:
        """Its resident memory, in bytes."""
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def stop(self) -> int:
        """Ends it as systemd does: the exit status."""
        self.popen.terminate()
        return self.popen.wait(PATIENCE_S)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)


class Bus:
    """A local bus: the real broker, and a publisher on it."""

    def __init__(self, directory: pathlib.Path, node: str = "pve1") -> None:
        self.directory = directory
        self.node = node
        directory.mkdir(mode=0o700)
        self._start()
        self.context = Context()
        self.publisher = Publisher(self.context, endpoints.publish(str(directory)), node)

    def _start(self) -> None:
        self.process = Process([sys.executable, "-c", _BROKER, str(self.directory)], stdout=subprocess.PIPE)
        assert self.process.popen.stdout is not None
        with self.process.popen.stdout as ready:
            assert ready.readline() == "ready\n"

    def restart(self) -> None:
        """Kills the broker; another one takes its place."""
        self.process.close()
        self._start()

    def publish(
        self,
        kind: str = topics.SNAPSHOT,
        part: str = "",
        body: Payload | None = None,
        cycle: int = 0,
        mono: float | None = None,
    ) -> None:
        """One frame, of a snapshot unless another body is given."""
        self.publisher.publish(kind, part, cycle, body or snapshot("web", node=self.node), mono=mono)

    def close(self) -> None:
        self.publisher.close()
        self.context.term()
        self.process.close()


class Reader:
    """A subscriber, and all that it got."""

    def __init__(
        self, address: str, secure: Joining | None = None, prefixes: Sequence[bytes] = (b"snapshot/",)
    ) -> None:
        self.context = Context()
        self.subscriber = Subscriber(self.context, address, prefixes, secure)
        self.messages: list[Message] = []

    def take(self, wait_ms: int = 20) -> list[Message]:
        """All that came so far, after waiting a little for more."""
        zmq_poll([(self.subscriber.socket, zmq.POLLIN)], wait_ms)
        self.messages += self.subscriber.drain()
        return self.messages

    def until(
        self, what: str, condition: Callable[[Message], Any], meanwhile: Callable[[], None] = lambda: None
    ) -> Message:
        """The first message from now on for which the condition holds."""
        seen = len(self.messages)

        def found() -> Message | None:
            meanwhile()
            self.take()
            return next((message for message in self.messages[seen:] if condition(message)), None)

        message = eventually(what, found)
        assert message is not None
        return message

    def close(self) -> None:
        self.subscriber.close()
        self.context.term()


class Net(contextlib.ExitStack):
    """Keys, buses, doors and readers of one test; all of it is gone when the test ends."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pta-"))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.trusted = self.folder / keys.TRUSTED
        self.trusted.write_text("")
        self.trusted.chmod(0o644)
        return self

    def pair(self, name: str, *, trusted: bool = False) -> Pair:
        """Keys of that name, in NAME.key."""
        pair = keys.create(str(self.folder / f"{name}.key"), name)
        if trusted:
            keys.trust(str(self.trusted), name, pair.public)
        return pair

    def bus(self, node: str = "pve1") -> Bus:
        bus = Bus(self.folder / f"bus-{node}", node)
        self.callback(bus.close)
        return bus

    def door(self, bus: Bus, **options: Any) -> tuple[Process, str]:
        """A door on that bus with its own keys in NODE.key, and its address."""
        address = f"tcp://127.0.0.1:{free_port()}"
        told: dict[str, Any] = {
            "directory": str(bus.directory), "node": bus.node, "interval": 1.0, "address": address,
            "key": str(self.folder / f"{bus.node}.key"), "trusted": str(self.trusted), **options,
        }  # fmt: skip
        process = Process([sys.executable, "-m", "proxtopd.door", json.dumps(told)])
        self.callback(process.close)
        eventually("the door", lambda: process.errors or listens(told["address"]))
        return process, address

    def reader(
        self, address: str, secure: Joining | None = None, prefixes: Sequence[bytes] = (b"snapshot/",)
    ) -> Reader:
        reader = Reader(address, secure, prefixes)
        self.callback(reader.close)
        return reader


class Cluster:
    """Hosts, each a bus with a door, and an aggregator that listens to them."""

    def __init__(self, net: Net, *nodes: str, lost: float = 2, **more: Any) -> None:
        self.net = net
        self.own = net.pair("agg1", trusted=True)
        self.path = net.folder / "agg.toml"
        self.directory = net.folder / "agg"
        self.buses: dict[str, Bus] = {}
        self.doors: dict[str, Process] = {}
        self.addresses: dict[str, str] = {}
        self.keys: dict[str, Pair] = {}
        for node in nodes:
            self.add(node)
        self.lost = lost
        self.more = more
        self.configure()
        self.agg = self.start()

    def add(self, node: str) -> None:
        """A host more."""
        self.keys[node] = self.net.pair(node)
        self.buses[node] = self.net.bus(node)
        self.doors[node], self.addresses[node] = self.net.door(self.buses[node])

    def configure(self, *nodes: str, **keys_of: bytes) -> None:
        """Writes agg.toml: these hosts, by default all; with other keys than they have for those named."""
        lines = ['name = "agg1"', f'directory = "{self.directory}"', f'key = "{self.net.folder}/agg1.key"']
        lines += [f"[intervals]\nlost = {self.lost}", *self.more.values()]
        for node in nodes or self.buses:
            key = keys_of.get(node, self.keys[node].public).decode()
            lines += ["[[hypervisors]]", f'node = "{node}"', f'address = "{self.addresses[node]}"', f'key = "{key}"']
        self.path.write_text("\n".join(lines) + "\n")

    def start(self) -> Process:
        """The aggregator."""
        agg = Process([str(PROXTOP.with_name("proxtop-agg")), "run", f"--config={self.path}"])
        self.net.callback(agg.close)
        return agg

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of proxtop-agg."""
        command = [str(PROXTOP.with_name("proxtop-agg")), *words, f"--config={self.path}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    def reader(self, *prefixes: bytes) -> Reader:
        """A reader of the aggregator's own bus."""
        return self.net.reader(endpoints.subscribe(str(self.directory)), None, prefixes or (b"snapshot/", b"status/"))

    def publish(self, *nodes: str) -> None:
        """A snapshot of each host, or of these. Each was booted some hours after the one before."""
        cycle = time.time_ns() // 500_000_000 * 500
        for node in nodes or self.buses:
            booted = 10_000.0 * list(self.buses).index(node)
            self.buses[node].publish(cycle=cycle, mono=time.monotonic() - booted)


def is_snapshot(message: Message) -> bool:
    return isinstance(message.body, Snapshot)


def is_status(part: str) -> Callable[[Message], bool]:
    return lambda message: isinstance(message.body, Status) and message.part == part


def pair(name: str) -> Pair:
    """Keys that are in no file."""
    return Pair(name, *zmq.curve_keypair())
