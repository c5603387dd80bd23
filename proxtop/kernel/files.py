"""The one reader of /proc and /sys: files stay open and are read again with pread.

A read has three outcomes: bytes; None, when the file is gone (its process ended, the device was pulled); or FileError.
Only procfs, sysfs and cgroup files are kept: these answer anew at each pread. On any other file system (FUSE as lxcfs
uses it, sshfs, a tree of text) and past the budget of descriptors, each read opens the file anew.

A process is held by a descriptor of its directory whose start time was verified once; whatever is opened below it
belongs to that process or is gone, so a PID that is used again can never be taken for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from errno import ENODEV, ENOENT, ENOTDIR, ESRCH
from typing import Any, TypeVar, cast

from proxtop.kernel.about import boot_id, lasting_devices, own_pid, raise_limit
from proxtop.kernel.errors import FileError, ParseError
from proxtop.kernel.pid_stat import parse_start, parse_ticks

GONE = frozenset({ENOENT, ESRCH, ENODEV, ENOTDIR})
"""Error numbers of a file, a process or a device that is no more: removed cgroups and interfaces say ENODEV."""

PAGE_KB = os.sysconf("SC_PAGE_SIZE") >> 10
"""Size of this machine's memory pages."""

_HALF_PAGE = 2048
_FIRST_SIZE = 512
_MOST_KEPT = 50_000
_RESERVE = 64
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_FILE = os.O_RDONLY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY

T = TypeVar("T")


class File:
    """A file that is read again and again."""

    __slots__ = ("_fd", "_files", "_keeps", "_owner", "_size", "path")

    def __init__(self, files: Files, path: str, owner: Process | None = None) -> None:
        self.path = path
        self._files = files
        self._owner = owner
        self._fd = -1
        self._keeps = True
        self._size = _FIRST_SIZE

    def read(self) -> bytes | None:
        """Its bytes now, None when it is gone; FileError when it can't be read."""
        fd = self._fd
        if fd < 0:
            return self._open()
        try:
            text = os.pread(fd, self._size, 0)
            # the kernel hands out long files a page at a time: a short read of less than half a page is the last
            if len(text) < self._size and len(text) < _HALF_PAGE:
                return text
            text = _rest(fd, text)
        except OSError as error:
            return self._failed(error)
        self._size = max(self._size, 2 * len(text))
        return text

    @property
    def descriptor(self) -> int:
        """What it is open as; below 0 while it is not, or not to be kept."""
        return self._fd

    def close(self) -> None:
        """Gives the descriptor back; the next read opens the file anew."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._files.kept -= 1
            self._files.closings += 1

    def _open(self) -> bytes | None:
        owner = self._owner
        if owner is not None and owner.fd < 0:
            return None
        try:
            fd = os.open(self.path, _FILE, dir_fd=None if owner is None else owner.fd)
        except OSError as error:
            return self._failed(error)
        try:
            text = os.pread(fd, self._size, 0)
            if len(text) == self._size or len(text) >= _HALF_PAGE:
                text = _rest(fd, text)
            keep = self._keeps and self._files.keeps(fd)
        except OSError as error:
            os.close(fd)
            return self._failed(error)
        self._size = max(self._size, 2 * len(text))
        if keep:
            self._fd = fd
            self._files.kept += 1
        else:
            os.close(fd)
            self._keeps = self._files.is_full  # else its file system is none whose files may be kept
        return text

    def _failed(self, error: OSError) -> bytes | None:
        self.close()
        owner = self._owner
        if error.errno in GONE:
            if owner is not None and not self.path.startswith("/"):
                owner.check()
            return None
        path = self.path if owner is None else os.path.join(owner.path, self.path)
        raise FileError(path, error.errno or 0) from None


class Process:
    """A process by its open directory. Once gone it stays gone: all its files read None."""

    __slots__ = ("_files", "_kept", "_reader", "fd", "path", "pid", "start")

    def __init__(self, reader: Files, pid: int, start: int, path: str, fd: int) -> None:
        self._reader = reader
        self._files: dict[str, File] = {}
        self.pid = pid
        self.start = start
        self.path = path
        self.fd = fd

    @property
    def gone(self) -> bool:
        """Whether it was found to have ended."""
        return self.fd < 0

    def file(self, name: str) -> File:
        """A file below its directory ("stat", "task/7/schedstat"); one elsewhere, by its absolute path, that shall be
        closed when the process is gone, as its cgroup's."""
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = File(self._reader, name, self)
        return file

    def read(self, name: str) -> bytes | None:
        """The bytes of such a file, None when it is gone."""
        return self.file(name).read()

    def retain(self, prefix: str, names: Collection[str]) -> None:
        """Closes the files with that prefix which are not among `names`: those of threads that ended."""
        for name in [name for name in self._files if name.startswith(prefix) and name not in names]:
            self._files.pop(name).close()

    @property
    def clock(self) -> int | None:
        """Its CPU clock, as clock_gettime(2) knows it; None where it has none, as on another host's /proc."""
        # the kernel's CPUCLOCK_SCHED of a process: ~PID << 3 | 2 (include/linux/posix-timers_types.h)
        return ~self.pid << 3 | 2 if self._reader.local else None

    def clock_ns(self) -> int | None:
        """CPU time of all its threads, ended ones too, to the nanosecond; None where it has no clock. It may be a later
        process' unless something of this one is read after it."""
        clock = self.clock
        if clock is None:
            return None
        try:
            return time.clock_gettime_ns(clock)
        except OSError:
            return None

    def ticks_ns(self) -> int | None:
        """The same by the ticks of its stat; None when it is gone."""
        text = self.read("stat")
        return None if text is None else parse_ticks(text) * _NS_PER_TICK

    def ended(self) -> bool:
        """Whether it is gone now, asked in the cheapest way; one that can't be read is not known to be."""
        try:
            return self.read("schedstat") is None and self.check()
        except FileError:
            return self.check()

    def check(self) -> bool:
        """Whether it is gone; if so, closes all that is open of it."""
        if self.fd >= 0:
            try:
                os.close(os.open("stat", _FILE, dir_fd=self.fd))
            except OSError as error:
                if error.errno in GONE:
                    self.close()
        return self.fd < 0

    def close(self) -> None:
        """Closes its directory and all files kept of it."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._reader.kept -= 1
            self._reader.closings += 1


class Files:
    """A host's /proc and /sys.

    `here` says that PROCFS is this machine's, `local` that it is this PID namespace's own too. `sysfs` is None where
    the SYSFS given is this machine's but PROCFS is another's: what it would say is of the wrong host. `node` is the
    host's name as given, else as PROCFS has it; `named` says that it was given. `clock` tells monotonic seconds. `kept`
    counts the descriptors that are open, `closings` those that were closed so far.
    One for each OS process: what is open must not be shared across a fork.
    """

    def __init__(
        self,
        procfs: str = "/proc",
        sysfs: str = "/sys",
        node: str | None = None,
        *,
        budget: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.procfs = procfs.rstrip("/") or "/"
        self.clock = clock
        self.kept = 0
        self.closings = 0
        limit = raise_limit()
        self.budget = min(limit - _RESERVE, _MOST_KEPT) if budget is None else budget
        self._lasting = lasting_devices()
        self._files: dict[str, File] = {}
        self._processes: dict[int, Process] = {}
        self._memories: dict[type[Any], Any] = {}
        self.here = boot_id(self.procfs) is not None and boot_id(self.procfs) == boot_id("/proc")
        self.local = self.here and own_pid(self.procfs) == os.getpid()
        sysfs = sysfs.rstrip("/")
        self.sysfs: str | None = None if not self.here and os.path.realpath(sysfs) == "/sys" else sysfs
        self.named = bool(node)
        self.node = node or self._hostname()

    def proc(self, name: str) -> bytes | None:
        """PROCFS/name, kept open."""
        return self.file(f"{self.procfs}/{name}").read()

    def sys(self, name: str) -> bytes | None:
        """SYSFS/name, kept open; None where there is no SYSFS of this host."""
        return None if self.sysfs is None else self.file(f"{self.sysfs}/{name}").read()

    def file(self, path: str) -> File:
        """The file at that absolute path, kept open until `forget`."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = File(self, path)
        return file

    def forget(self, path: str) -> None:
        """Closes the file at that path for good."""
        if (file := self._files.pop(path, None)) is not None:
            file.close()

    def once(self, path: str) -> bytes | None:
        """The bytes of a file that is seldom read, and not kept."""
        try:
            fd = os.open(path, _FILE)
        except OSError as error:
            _unless_gone(path, error)
            return None
        try:
            return _rest(fd, b"")
        except OSError as error:
            _unless_gone(path, error)
            return None
        finally:
            os.close(fd)

    def process(self, pid: int, start: int) -> Process | None:
        """The process with that PID that started at that tick; None when it is gone, whoever has its PID now."""
        gen = start << 22 | pid
        process = self._processes.get(gen)
        if process is not None:
            if process.fd >= 0:
                return process
            del self._processes[gen]
        path = f"{self.procfs}/{pid}"
        try:
            fd = os.open(path, _DIRECTORY)
        except OSError as error:
            _unless_gone(path, error)
            return None
        self.kept += 1
        process = Process(self, pid, start, path, fd)
        try:
            text = process.read("stat")
            found = None if text is None else parse_start(text)
        except (FileError, ParseError):
            process.close()
            raise
        if found != start:
            process.close()
            return None
        self._processes[gen] = process
        return process

    def keep(self, gens: Collection[int]) -> None:
        """Closes the processes (start << 22 | pid, as VM.gen) that are not among these."""
        for gen in self._processes.keys() - gens:
            self._processes.pop(gen).close()

    def memory(self, kind: type[T]) -> T:
        """What a collector remembers between its passes, made by `kind()` at first: it lives as long as these files."""
        if kind not in self._memories:
            self._memories[kind] = kind()
        return cast(T, self._memories[kind])

    def keeps(self, fd: int) -> bool:
        """Whether an open file may stay open: by its file system, and by what is left of the budget. A quarter of the
        budget is kept for directories of processes, which can't be done without."""
        return not self.is_full and os.fstat(fd).st_dev in self._lasting

    @property
    def is_full(self) -> bool:
        """Whether no more files are kept open now."""
        return self.kept >= self.budget * 3 // 4

    def close(self) -> None:
        """Closes everything; reading again opens it anew."""
        self.keep(())
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _hostname(self) -> str | None:
        try:
            text = self.once(f"{self.procfs}/sys/kernel/hostname")
        except FileError:
            return None
        return None if text is None else text.decode(errors="replace").strip() or None


def _rest(fd: int, text: bytes) -> bytes:
    """The text and what follows it up to the end of the file."""
    size = max(2 * len(text), 4096)
    while part := os.pread(fd, size, len(text)):
        text += part
        size = max(2 * len(text), 4096)
    return text


def _unless_gone(path: str, error: OSError) -> None:
    if error.errno not in GONE:
        raise FileError(path, error.errno or 0) from None
