"""A private fleet: every worker forked from one parent that imported once.

It lives as long as its owner: the parent holds a lifeline pipe, the workers die with the parent. A worker that dies is
forked again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from proxtop.postpone import postpone

if TYPE_CHECKING:
    from proxtopd.setup import Setup

FATAL = 2
"""The exit status of a worker that cannot do its work and must not be started again."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_RESPAWN_S = 0.1
_RESPAWN_MAX_S = 5.0
_STEADY_S = 10.0
_GRACE_S = 0.5
_STARTS = 3
"""Failures of a worker in a row, before any of its lives was steady, after which the fleet gives up."""

Work = Callable[[], int]


class Worker:
    """One forked worker: what it runs, its process, and how soon it may start again."""

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.work = work
        self.pid = 0
        self.started = 0.0
        self.delay = _RESPAWN_S
        self.failures: int | None = 0
        self.due: float | None = None

    def hopeless(self, status: int) -> bool:
        """Notes an end with that exit status; whether the worker never lived and never will."""
        if self.failures is None or time.monotonic() - self.started > _STEADY_S:
            self.failures = None
            return False
        self.failures += status > 0
        return self.failures >= _STARTS


class Fleet:
    """The parent. It makes no ZeroMQ context of its own, so that it may fork at any time."""

    def __init__(self, setup: Setup, ready: int, lifeline: int) -> None:
        self.setup = setup
        self._ready = ready
        self._lifeline = lifeline
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._signals, self._alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._bound, self._bound_end = os.pipe2(os.O_CLOEXEC)
        self.workers: list[Worker] = []

    def _tell_bound(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._bound_end, b"x")

    def _tell_owner(self, problem: str | None) -> None:
        """Says through the ready pipe that the hypervisor answers, or why it does not; a reader that has gone by then
        does not matter."""
        with contextlib.suppress(OSError):
            os.write(self._ready, (f"error {problem}" if problem else "ready").encode() + b"\n")

    def run(self) -> int:
        """Supervises until the owner goes, SIGTERM, or a worker's fatal end."""
        self._libc.prctl(_PR_SET_NAME, b"pt-fleet")
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        from proxtopd import workers

        try:
            first = workers.first(self.setup, self._tell_owner)
            workers.prepare()
            self._start(first.items())
            broker, *others = workers.others(self.setup, self._tell_bound).items()
            workers.prepare()
            self._start([broker])
            select.select([self._bound, self._lifeline], [], [], 5)
            self._start(others)
            return self._supervise()
        finally:
            self._end()

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _start(self, works: Iterable[tuple[str, Work]]) -> None:
        for name, work in works:
            self.workers.append(Worker(name, work))
            self._fork(self.workers[-1])

    def _supervise(self) -> int:
        while not self._stopping:
            due = [worker.due for worker in self.workers if worker.due is not None]
            timeout = max(0.0, min(due) - time.monotonic()) if due else None
            readable, _, _ = select.select([self._lifeline, self._signals], [], [], timeout)
            if self._lifeline in readable:
                return 0
            if self._signals in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._signals, 512)
            for worker in self.workers:
                status = self._ended(worker) if worker.pid else None
                if status == FATAL:
                    return FATAL
                if status is not None and worker.hopeless(status):
                    return 1
                if worker.due is not None and worker.due <= time.monotonic():
                    self._fork(worker)
        return 0

    def _ended(self, worker: Worker) -> int | None:
        """The exit status of a worker that ended, None while it runs."""
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid == 0:
            return None
        now = time.monotonic()
        code = os.waitstatus_to_exitcode(status)
        if not self._stopping and code <= 0:
            how = f"was killed by signal {-code}" if code else "ended"
            _say(f"worker {worker.name} {how}; it is started again")
        worker.pid = 0
        worker.delay = _RESPAWN_S if now - worker.started > _STEADY_S else min(worker.delay * 2, _RESPAWN_MAX_S)
        worker.due = now + worker.delay
        return code

    def _fork(self, worker: Worker) -> None:
        parent = os.getpid()
        worker.started, worker.due = time.monotonic(), None
        worker.pid = os.fork()
        if worker.pid == 0:
            os._exit(self._child(worker, parent))

    def _child(self, worker: Worker, parent: int) -> int:
        """The life of a worker: it dies with its parent, and says on stderr why it failed."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                return 0
            for descriptor in (self._lifeline, self._signals, self._alarm):
                os.close(descriptor)
            self._libc.prctl(_PR_SET_NAME, f"pt-{worker.name}".encode())
            return worker.work()
        except BaseException as error:  # noqa: BLE001 - the edge of the process
            _say(f"worker {worker.name} failed: {type(error).__name__}: {error}")
            if self.setup.verbose:
                sys.excepthook(type(error), error, error.__traceback__)
            return 1

    def _end(self) -> None:
        """Ends every worker and takes the directory away."""
        alive = [worker for worker in self.workers if worker.pid]
        for number, grace in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
            for worker in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)
            deadline = time.monotonic() + grace
            while alive and time.monotonic() < deadline:
                alive = [worker for worker in alive if os.waitpid(worker.pid, os.WNOHANG)[0] == 0]
                if alive:
                    select.select([self._signals], [], [], max(0.0, deadline - time.monotonic()))
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._signals, 512)
        _remove(self.setup.directory)


def _say(text: str) -> None:
    """One line on stderr, which may be gone."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"proxtop: {text}\n")
        sys.stderr.flush()


def _remove(directory: str) -> None:
    """Removes a bus directory: sockets, a lock, and the workers' directory with its socket."""
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove(entry.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)
        os.rmdir(directory)


def main(argv: Sequence[str]) -> int:
    """Runs a fleet for the process that started this one: SETUP, a map in JSON, and three descriptors: where to say
    that the hypervisor answers, the owner's lifeline, and the lock that is held while the directory is in use."""
    text, *numbers = argv
    ready, lifeline, lock = map(int, numbers)
    for descriptor in (ready, lifeline, lock):
        os.set_inheritable(descriptor, False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    postpone()
    from proxtopd.setup import Setup

    return Fleet(Setup.load(text), ready, lifeline).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
