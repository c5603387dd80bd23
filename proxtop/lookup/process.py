"""One process, held by its directory: nothing read here can be of a later process with the same PID."""

from __future__ import annotations

import contextlib
import os

from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.kernel.pid_stat import ProcessStat, parse_process

_ENDED = "ZXx"
_OWN_LINKS = 2


def once(files: Files, path: str) -> bytes | None:
    """The bytes of a file; None when it is gone or not for us to read: here both mean that there is nothing to join."""
    try:
        return files.once(path)
    except KernelError:
        return None


def hold(files: Files, pid: int) -> tuple[Process, ProcessStat] | None:
    """The process that has this PID now, None when there is none or it ended and only waits for its parent."""
    try:
        text = files.once(f"{files.procfs}/{pid}/stat")
        if text is None:
            return None
        stat = parse_process(text)
        process = None if stat.state in _ENDED else files.process(pid, stat.start)
    except KernelError:
        return None
    return None if process is None else (process, stat)


def thread_count(process: Process, known: int = 0) -> int | None:
    """How many threads it has now, None once it ended; KernelError when that can't be read. `known` is how many it had
    when it was asked last.

    The hot one: asked of every VM before every cycle. The links of its task directory are two more than its threads
    (kernel: fs/proc/base.c, proc_task_getattr), for less than half the price of its stat; of a process that ended and
    waits for its parent one is left, as of one with a single thread. Its main thread's stat says the same as the
    process' own, at half the price: the times of all threads are not added up for it.
    """
    if known > 1:
        with contextlib.suppress(OSError, ValueError):
            if os.stat("task", dir_fd=process.fd).st_nlink == known + _OWN_LINKS:
                return known
    text = process.read(f"task/{process.pid}/stat")
    if text is None:
        return None
    fields = text[text.rfind(b")") + 2 :].split(b" ", 20)
    if len(fields) < 21 or fields[0] in (b"Z", b"X", b"x") or int(fields[19]) != process.start:
        return None
    return int(fields[17])


def names(process: Process, directory: str) -> list[str] | None:
    """The entries of a directory below the process' own, None when it is gone or not for us to see."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.fd)
    except (OSError, ValueError):
        return None
    try:
        return os.listdir(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def below(process: Process, name: str) -> bytes | None:
    """The bytes of a file below the process' directory that is not kept open; None when there is nothing to read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.fd)
    except (OSError, ValueError):
        return None
    try:
        text = b""
        while part := os.read(fd, 65536):
            text += part
        return text
    except OSError:
        return None
    finally:
        os.close(fd)
