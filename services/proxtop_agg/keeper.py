"""The parent of the workers: hub, door and outputs are processes of their own, and come back whatever ends them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from proxtop_agg import config
from proxtop_agg.config import Config, ConfigError
from proxtopd.configuration import PROFILER
from proxtopd.setup import Setup

_PR_SET_PDEATHSIG = 1
_RESPAWN_S = 0.2
_RESPAWN_MAX_S = 30.0
_STEADY_S = 30.0
_GRACE_S = 3.0


class Busy(Exception):
    """Another proxtop-agg has this directory."""


class Worker:
    """A child: its command, its process, when it may start again."""

    def __init__(self, name: str, command: Sequence[str], keep: Sequence[int] = ()) -> None:
        self.name = name
        self.command = tuple(command)
        self._keep = tuple(keep)
        self._process: subprocess.Popen[bytes] | None = None
        self._delay = _RESPAWN_S
        self._started = 0.0
        self.due: float | None = time.monotonic()

    def start(self, now: float) -> None:
        """A new process; it ends with us, however we end."""
        libc = ctypes.CDLL(None)
        self.due, self._started = None, now
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=self._keep,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )  # fmt: skip

    def ended(self, now: float) -> int | None:
        """The exit status if it has just ended; it is due again after a pause, longer each time that it does not
        last."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._process = None
        self.failed(now)
        return status

    def failed(self, now: float) -> None:
        """It does not run, and is due again after a pause."""
        self._delay = _RESPAWN_S if now - self._started > _STEADY_S else min(self._delay * 2, _RESPAWN_MAX_S)
        self.due = now + self._delay

    def signal(self, number: signal.Signals) -> None:
        """Tells it, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def end(self) -> None:
        """Ends it and waits for it."""
        self.signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process, self.due = None, None


class Keeper:
    """Starts what the configuration names, and starts it again. SIGHUP: what changed is changed, the rest goes on."""

    def __init__(self, path: str, loaded: Config, say: Callable[[str], None]) -> None:
        self._path = path
        self._config = loaded
        self._say = say
        self._lock = _lock(loaded.directory)
        self._workers: dict[str, Worker] = {}
        self._signals: set[int] = set()
        self._wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: self._signals.add(number))

    def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        self._follow(self._config)
        try:
            while not self._signals & {signal.SIGTERM, signal.SIGINT}:
                if signal.SIGHUP in self._signals:
                    self._signals.discard(signal.SIGHUP)
                    self._reload()
                self._turn()
        finally:
            for worker in list(self._workers.values())[::-1]:
                worker.end()
            os.close(self._lock)
        return 0

    def _turn(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            status = worker.ended(now)
            if status is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
                self._say(f"{worker.name} {how}; it is started again")
            if worker.due is not None and worker.due <= now:
                try:
                    worker.start(now)
                except OSError as error:  # no process can be had just now
                    worker.failed(now)
                    self._say(f"{worker.name} can't be started: {error.strerror}; it is tried again")
        due = [worker.due for worker in self._workers.values() if worker.due is not None]
        select.select([self._wake], [], [], max(0.0, min(due) - time.monotonic()) if due else None)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)

    def _reload(self) -> None:
        try:
            loaded = config.load(self._path)
        except ConfigError as error:
            # the door looks at its keys all the same: one that was revoked is out whatever else is wrong
            self._say(f"{error}; the configuration of before stays")
        else:
            self._follow(loaded)
        for name in ("hub", "door"):
            if name in self._workers:
                self._workers[name].signal(signal.SIGHUP)

    def _follow(self, loaded: Config) -> None:
        self._config = loaded
        python = (sys.executable, "-P", "-m")
        wanted = {"hub": Worker("hub", (*python, "proxtop_agg.hub", self._path, str(self._lock)), (self._lock,))}
        if loaded.door is not None:
            wanted["door"] = Worker("door", (*python, "proxtopd.door", json.dumps(asdict(loaded.door))))
        if loaded.profiler is not None:
            told = Setup(loaded.directory, loaded.name, loaded.profiler[0], (), options={PROFILER: loaded.profiler[1]})
            wanted["profiler"] = Worker("profiler", (*python, "proxtopd.profiler", told.dump()))
        for number, words in enumerate(loaded.outputs, 1):
            wanted[f"output {number}"] = Worker(f"output {number}", (*python, "proxtop", *words))
        for name, worker in list(self._workers.items()):
            if name not in wanted or wanted[name].command != worker.command:
                worker.end()
                del self._workers[name]
        for name, worker in wanted.items():
            self._workers.setdefault(name, worker)


def _lock(directory: str) -> int:
    """Makes the directory of the bus, and holds it for us alone."""
    os.makedirs(directory, mode=0o750, exist_ok=True)
    os.makedirs(os.path.join(directory, "workers"), mode=0o700, exist_ok=True)
    path = os.path.join(directory, "lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise Busy(f"{directory}: another proxtop-agg{f' (process {pid})' if pid else ''} serves this bus") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def running(directory: str) -> int | None:
    """The process that holds this directory, None where nobody does."""
    try:
        lock = os.open(os.path.join(directory, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.read(lock, 32)
        return int(text) if text.strip().isdigit() else None
    finally:
        os.close(lock)
