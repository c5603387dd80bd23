"""The host's QEMU processes, found by a scan of /proc that reads only what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxtop.kernel.batch import Batch
from proxtop.kernel.cmdline import CommandLine, parse_cmdline
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import File, Files, Process
from proxtop.kernel.pid_stat import parse_start

_SETTLED_S = 5.0
_AGAIN = 64
"""Of the processes that are no QEMU so many are looked at again per listing, in turn: any may exec one."""

_LIST_EVERY = 8
"""Scans after which the processes are listed though none was started."""

STOPPED = frozenset("Tt")
"""States of a process that answers nobody: stopped, or held by a debugger."""

ENDED = frozenset(("Z", "X", "x", None))


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU process: what its command line says, and its process, held."""

    process: Process
    line: CommandLine
    text: bytes
    since: float

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def start(self) -> int:
        """Its start in clock ticks since boot."""
        return self.process.start

    @property
    def stat(self) -> File:
        """Its main thread's stat: without the sums over all threads, at half the price."""
        return self.process.file(f"task/{self.pid}/stat")

    def state(self) -> str | None:
        """The letter of its main thread's state (T and t: stopped), None once it is gone."""
        try:
            text = self.stat.read()
        except KernelError:
            return None
        return None if text is None else _state(text)

    def stopped(self) -> bool:
        """Whether it answers nobody: a signal or a debugger has stopped it."""
        return self.state() in STOPPED


class Processes:
    """`found` has the QEMU processes by PID. A PID's inode number in the listing tells it from the next one's. `told`
    says that somebody else tells of VMs that end: those processes are then looked for at each listing only. Of command
    lines `only` these options are read."""

    def __init__(
        self, files: Files, clock: Callable[[], float], *, told: bool = False, only: frozenset[str] | None = None
    ) -> None:
        self._files = files
        self._clock = clock
        self._told = told
        self._only = only
        self._others: dict[int, tuple[int, float]] = {}
        self._inodes: dict[int, int] = {}
        self._turn = 0
        self._newest: bytes | None = None
        self._settled = 0.0
        self._unlisted = 0
        self._stats: Batch | None = None
        self._by_uuid: dict[str, Qemu] | None = None
        self.found: dict[int, Qemu] = {}
        self.reason: str | None = None

    def by_uuid(self) -> Mapping[str, Qemu]:
        """Those whose command lines have a UUID, the oldest where a child bears its parent's command line."""
        if self._by_uuid is None:
            found = sorted(self.found.values(), key=lambda qemu: (qemu.start, qemu.pid), reverse=True)
            self._by_uuid = {qemu.line.uuid.lower(): qemu for qemu in found if qemu.line.uuid is not None}
        return self._by_uuid

    def states(self) -> dict[int, str | None]:
        """Of all that were found, as Qemu.state, by PID: read in one go."""
        if self._stats is None:
            self._stats = Batch(self._files, [(None, [qemu.stat for qemu in self.found.values()])])
        _, texts = self._stats.read()
        return {
            pid: _state(text) if isinstance(text, bytes) else None for pid, text in zip(self.found, texts, strict=True)
        }

    def scan(self) -> bool:
        """Looks for new and gone ones; whether there was any."""
        newest, now = self._last_pid(), self._clock()
        quiet = newest is not None and newest == self._newest and now > self._settled
        quiet = quiet and self._unlisted < _LIST_EVERY
        if quiet and (self._told or ENDED.isdisjoint(self.states().values())):
            self._unlisted += 1
            return False
        self._newest, self._unlisted = newest, 0
        return self._list(now)

    def _last_pid(self) -> bytes | None:
        """The PID or thread id that was given out last, None where it is not known of these processes (kernel:
        Documentation/filesystems/proc.rst, loadavg; of the reader's own PID namespace)."""
        if not self._files.local:
            return None
        try:
            text = self._files.proc("loadavg")
        except KernelError:
            return None
        return None if text is None else text.rpartition(b" ")[2]

    def _list(self, now: float) -> bool:
        try:
            with os.scandir(self._files.procfs) as entries:
                inodes = {int(entry.name): entry.inode() for entry in entries if entry.name.isdecimal()}
            self.reason = None
        except OSError as error:
            self.reason = f"{self._files.procfs}: {error.strerror}"
            return False
        changed = False
        for pid, qemu in list(self.found.items()):
            if inodes.get(pid) != self._inodes[pid] or qemu.state() in ENDED or not self._still(qemu, now):
                del self.found[pid], self._inodes[pid]
                changed = True
        others: dict[int, tuple[int, float]] = {}
        again = self._due(inodes)
        for pid, inode in inodes.items():
            if pid in self.found:
                continue
            seen = self._others.get(pid)
            known = seen is not None and seen[0] == inode
            since = seen[1] if known and seen is not None else now
            if not known:
                self._settled = now + _SETTLED_S
            if (known and now - since > _SETTLED_S and pid not in again) or not self._take(pid, inode, now):
                others[pid] = inode, since
            else:
                changed = True
        self._others = others
        if changed:
            self._stats = self._by_uuid = None
            self._files.keep([qemu.start << 22 | pid for pid, qemu in self.found.items()])
        return changed

    def _still(self, qemu: Qemu, now: float) -> bool:
        """Whether a young process is what it seemed: a child of a QEMU bears its command line until it execs."""
        if now - qemu.since > _SETTLED_S:
            return True
        try:
            return self._files.once(f"{self._files.procfs}/{qemu.pid}/cmdline") == qemu.text
        except KernelError:
            return False

    def _due(self, inodes: dict[int, int]) -> set[int]:
        """The next few PIDs to be looked at again."""
        pids = sorted(inodes)
        if not pids:
            return set()
        first = self._turn % len(pids)
        self._turn = first + _AGAIN
        return {*pids[first : first + _AGAIN]}

    def _take(self, pid: int, inode: int, now: float) -> bool:
        root = f"{self._files.procfs}/{pid}"
        try:
            text = self._files.once(f"{root}/cmdline")
            line = parse_cmdline(text, self._only) if text else None
            if text is None or line is None or line.machine == "none":  # started only to be asked what it can do
                return False
            stat = self._files.once(f"{root}/stat")
            if stat is None or _state(stat) in ENDED:
                return False
            process = self._files.process(pid, parse_start(stat))
        except KernelError:
            return False
        if process is None:
            return False
        self.found[pid] = Qemu(process, line, text, now)
        self._inodes[pid] = inode
        return True

    def close(self) -> None:
        """Closes what is held."""
        self._files.close()
        self._stats = self._by_uuid = None
        self.found.clear()
        self._inodes.clear()
        self._others.clear()


def _state(stat: bytes) -> str:
    place = stat.rfind(b")") + 2
    return stat[place : place + 1].decode("ascii", "replace")
