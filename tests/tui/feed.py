"""A bus without a fleet: `python -m tests.tui.feed SOCKET VMS INTERVAL` publishes snapshots as an aggregator does."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

import zmq

from proxtop.bus import topics
from proxtop.bus.frames import encode
from proxtop.model import Profiles, Snapshot, Stamp, Status, Table
from tests.tui.recorded import many, recorded

_START_S = 20.0


class Feed:
    """The publisher as a process of its own, in a `with` block."""

    def __init__(self, path: pathlib.Path, vms: int = 0, interval: float = 0.5, *, scored: bool = False) -> None:
        self.path = path
        self.uri = f"ipc://{path}"
        self._command = [
            sys.executable,
            "-m",
            "tests.tui.feed",
            str(path),
            str(vms),
            str(interval),
            *(["scored"] if scored else []),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Starts it, also anew; it listens when this returns."""
        self.path.unlink(missing_ok=True)
        root = pathlib.Path(__file__).parents[2]
        self.process = subprocess.Popen(self._command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
        deadline = time.monotonic() + _START_S
        while not self.path.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "the feed does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main(path: str, vms: int, interval: float, *, scored: bool) -> None:
    """Publishes until killed, with the scores of a profiler if `scored`; each new reader gets the last frames, as from
    a broker."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.bind(f"ipc://{path}")
    stamp, snapshot = many(vms) if vms else recorded()[-1]
    cycles: list[Snapshot] = [many(vms, number)[1] for number in range(4)] if vms else [snapshot]
    epoch = time.time_ns()
    seq = 0
    due = time.monotonic()
    last: list[list[bytes]] = []
    while True:
        if socket.poll(int(max(0.0, due - time.monotonic()) * 1000)):
            if socket.recv()[:1] == b"\x01":
                for frame in last:
                    socket.send_multipart(frame)
            continue
        seq += 1
        due += interval
        now = time.time()
        own = Stamp(stamp.node, epoch, seq, round(now * 1000), now, time.monotonic())
        status = Status("aggregator", "running", os.getpid(), interval,
                        info={"families": ",".join(snapshot.families), "connector": "libvirt"})  # fmt: skip
        last = [encode(topics.STATUS, "aggregator", own, status),
                encode(topics.SNAPSHOT, "", own, cycles[seq % len(cycles)])]  # fmt: skip
        if scored:
            ids = snapshot.tables["vm"].ids
            rising = [round(1.5 + 3 * place, 1) for place in range(len(ids))]
            last.append(
                encode(topics.PROFILE, "", own, Profiles({"vm": Table(ids, {"profile_anomaly": rising})}, 10.0))
            )
        for frame in last:
            socket.send_multipart(frame)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), scored=sys.argv[4:] == ["scored"])
