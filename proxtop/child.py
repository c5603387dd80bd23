"""The process of a private fleet: a fork of this one where that is safe, else an interpreter of its own."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

FLEET = "proxtopd.fleet"
"""The module whose `main` it runs; by name, as nothing here imports what is the services'."""

_LEAVING_S = 0.05
_LOOK_S = 0.001


def start(arguments: Sequence[str], kept: Sequence[int], *, verbose: bool) -> int:
    """Runs the fleet's `main` on these arguments in a process with a session of its own, which has the descriptors
    `kept`, our stderr and nothing else of ours; returns its id. OSError where none can be had.

    A fork saves the start of an interpreter, and shares what this one has in memory. With threads there may be locks
    held that nobody would ever release in it: those of libzmq, of the allocator.
    """
    return _forked(arguments, kept, verbose=verbose) if _alone() else _spawned(arguments, kept)


def _alone() -> bool:
    """Whether this process has one thread; those of libraries count, which Python knows nothing of. One that was joined
    is listed until the kernel is through with it: that is waited for."""
    until = time.monotonic() + _LEAVING_S
    try:
        while len(os.listdir("/proc/self/task")) > 1:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
    except OSError:
        return False
    return True


def _spawned(arguments: Sequence[str], kept: Sequence[int]) -> int:
    # -P: or modules would come out of whatever directory the caller happens to be in; -m would load runpy first
    code = f"import sys; from {FLEET} import main; sys.exit(main(sys.argv[1:]))"
    ends = [
        *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)),
        *((os.POSIX_SPAWN_DUP2, number, number) for number in kept),  # has it outlive the exec
    ]
    command = [sys.executable, "-P", "-c", code, *arguments]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=ends, setsid=True)


def _forked(arguments: Sequence[str], kept: Sequence[int], *, verbose: bool) -> int:
    import proxtop.bus.sockets  # noqa: F401 - what both will need is loaded once, into memory that they share

    gc.collect()
    gc.freeze()  # neither one's collector passes over it again, which would copy it
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()  # or the fleet would say it again
    # until the handlers are the parent's no more
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(arguments, kept, verbose=verbose)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _live(arguments: Sequence[str], kept: Sequence[int], *, verbose: bool) -> NoReturn:
    """The life of the fork. It never gets back to who called us, whose buffers are not its own to flush."""
    status = 1
    try:
        _leave(kept)
        status = importlib.import_module(FLEET).main(arguments)
    except BaseException as error:  # noqa: BLE001 - the edge of the process
        sys.stderr.write(f"proxtop: the private fleet failed: {type(error).__name__}: {error}\n")
        if verbose:
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _leave(kept: Sequence[int]) -> None:
    """Leaves the parent's terminal, signals and descriptors to it."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    os.setsid()
    # The data go to stdout: nothing of the fleet's may mix with them, and their reader sees the end with the client's.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):  # that of the list is there no more
                os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
