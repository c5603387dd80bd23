"""A supervised fleet under test: proxtopd as a child, its status, its snapshots."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from proxtop.bus import endpoints
from proxtop.bus.sockets import Subscriber
from proxtop.control import ControlError, ask
from proxtop.model import Snapshot, Stamp, Status
from tests.faults.rig import PATIENCE_S, alive, eventually

PROXTOPD = pathlib.Path(sys.executable).with_name("proxtopd")
NODE = os.uname().nodename
AS_CALLER = ("PROXTOP_USER=root", "PROXTOP_GROUP=root") if os.geteuid() == 0 else ()
"""Workers that run as root, without its capabilities: the interpreter of a test may lie where nobody else may look."""


def proxtopd(*arguments: str, timeout: float = PATIENCE_S, **options: Any) -> subprocess.CompletedProcess[str]:
    """A proxtopd that ends by itself."""
    return subprocess.run(
        [PROXTOPD, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **options
    )


class Supervised:
    """`proxtopd run` in a directory of the test's own, and a reader of its bus."""

    def __init__(
        self,
        folder: pathlib.Path,
        *settings: str,
        run: pathlib.Path | None = None,
        interval: float = 0.5,
        config: str | None = None,
        prefix: Sequence[str] = (),
        account: Sequence[str] = AS_CALLER,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.run = run or folder / "bus"
        self.own = pathlib.Path(endpoints.own(str(self.run)))
        self.interval = interval
        self.settings = [f"PROXTOP_RUN={self.run}", f"PROXTOP_INTERVAL={interval:g}", *account, *settings]
        self.path = folder / "proxtop.conf"
        self.path.write_text("PROXTOP_CONNECTOR=qemu\n" if config is None else config)
        self._prefix, self._environment = prefix, environment
        self._said = folder / "said"
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.start()
        self.reader = Subscriber(self.context, endpoints.subscribe(str(self.run)), [b"snapshot/", b"status/"])
        self.status_frames: dict[str, Status] = {}
        self.seen: list[tuple[float, Stamp, Snapshot]] = []

    def start(self) -> None:
        """A new process of the same fleet."""
        command = [*self._prefix, str(PROXTOPD), f"--config={self.path}", "run", *self.settings]
        environment = os.environ | (self._environment or {})
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said, env=environment)

    @property
    def words(self) -> list[str]:
        """What it said on stderr."""
        return self._said.read_text().splitlines()

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same fleet."""
        return proxtopd(f"--config={self.path}", *arguments, *self.settings)

    def status(self) -> dict[str, dict[str, Any]]:
        """The rows of its status by worker."""
        return {row["worker"]: row for row in ask(str(self.run), "status")["workers"]}

    def pids(self) -> dict[str, int]:
        """The workers' processes."""
        return {name: row["pid"] for name, row in self.status().items()}

    def supervisord(self) -> int:
        """supervisord's process."""
        return int((self.own / "supervisord.pid").read_text())

    def up(self, timeout: float = 60) -> dict[str, int]:
        """Waits until every worker beats and a snapshot in which nothing is stale has come: the workers' processes."""

        def running() -> bool:
            assert self.process.poll() is None, self.words
            with contextlib.suppress(ControlError):
                return all(row["state"] in ("running", "degraded") for row in self.status().values())
            return False

        eventually("every worker's heartbeat", running, timeout)
        self.until("a whole snapshot", lambda snapshot: not snapshot.stale, timeout)
        return self.pids()

    def take(self) -> None:
        """Reads what has come on the bus since."""
        self.reader.socket.poll(20)
        for message in self.reader.drain():
            if isinstance(message.body, Snapshot):
                self.seen.append((time.monotonic(), message.stamp, message.body))
            elif isinstance(message.body, Status):
                self.status_frames[message.part] = message.body

    def until(self, what: str, condition: Callable[[Snapshot], bool], timeout: float = PATIENCE_S) -> Snapshot:
        """The first snapshot from now on for which the condition holds."""
        self.take()
        place = len(self.seen)

        def found() -> Snapshot | None:
            nonlocal place
            self.take()
            while place < len(self.seen):
                place += 1
                if condition(self.seen[place - 1][2]):
                    return self.seen[place - 1][2]
            return None

        snapshot = eventually(what, found, timeout)
        assert snapshot is not None
        return snapshot

    def replaced(self, name: str, pid: int, timeout: float = PATIENCE_S) -> int:
        """Waits for another process of a worker that beats: its id."""

        def found() -> int | None:
            with contextlib.suppress(ControlError):
                row = self.status()[name]
                if row["pid"] not in (None, pid) and row["state"] in ("running", "degraded"):
                    return int(row["pid"])
            return None

        new = eventually(f"another {name}", found, timeout)
        assert new is not None
        return new

    def close(self) -> None:
        """The end of the test: all of it goes."""
        self.reader.close()
        self.context.destroy(linger=0)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def descendants(pid: int) -> list[int]:
    """Every process below that one."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, fresh = [], [pid]
    while fresh:
        fresh = [child for child, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def all_gone(pids: Sequence[int], timeout: float = PATIENCE_S) -> None:
    """Waits for the end of all of them."""
    eventually("the end of every process", lambda: not any(map(alive, pids)), timeout)
