"""The host's QEMU processes and the kernel threads that work for one, by a scan of /proc that reads new PIDs only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from proxtop.kernel.errors import KernelError, ParseError
from proxtop.kernel.files import Files, Process
from proxtop.kernel.pid_stat import parse_process
from proxtop.kernel.threads import parse_owner
from proxtop.lookup.identity import Identity, is_same, parse_identity
from proxtop.lookup.process import below, hold, once, thread_count
from proxtop.model import Domain, Thread

SETTLED = 5.0
"""Seconds after which a process is what it is: one just forked bears its parent's command line until it execs QEMU."""

AT_ONCE = 256
"""Of the processes that were there before our start so many are read a second time per scan, the youngest PIDs first:
hardly one of them was about to exec."""

_KTHREADD = 2


@dataclass(slots=True)
class _Seen:
    """What a process was found to be; `final` once that can't change any more."""

    inode: int
    since: float
    final: bool
    identity: Identity | None = None
    owner: int | None = None
    role: str = ""


class Processes:
    """A cache of what each PID is. A PID's inode number in /proc tells a process from its successor, and comes with the
    listing."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._seen: dict[int, _Seen] = {}
        self._first: float | None = None
        self.reason: str | None = None
        self.workers: dict[int, tuple[Thread, ...]] = {}
        """Kernel threads by the PID of the process that they work for."""

    def scan(self, now: float) -> None:
        """Look at all PIDs; read those that are new, or were too young to be sure of."""
        inodes: dict[int, int] = {}
        self.reason = None
        try:
            with os.scandir(self._files.procfs) as entries:
                inodes = {int(entry.name): entry.inode() for entry in entries if entry.name.isdecimal()}
        except OSError as error:
            self.reason = f"{self._files.procfs}: {error.strerror}"
        known, self._seen = self._seen, {}
        budget = AT_ONCE
        for pid, inode in sorted(inodes.items(), reverse=True):
            seen = known.get(pid)
            if seen is None or seen.inode != inode:
                seen = self._classified(pid, _Seen(inode, now, False))
            elif not seen.final:
                settled, old = now - seen.since >= SETTLED, seen.since == self._first
                if not old or (settled and budget > 0):
                    budget -= old
                    seen = self._classified(pid, _Seen(inode, seen.since, settled))
            self._seen[pid] = seen
        if self._first is None:
            self._first = now
        self.workers = {}
        for pid, seen in sorted(self._seen.items()):
            if seen.owner is not None:
                self.workers[seen.owner] = (*self.workers.get(seen.owner, ()), Thread(pid, seen.role, pid))

    def bind(self, domain: Domain) -> Process | None:
        """The process of a VM: the PID that its connector told if that runs this VM, else the one whose command line
        names it, the oldest first (a child of QEMU's about to exec bears its command line too)."""
        if domain.pid is not None and (process := self._verified(domain.pid, domain, told=True)) is not None:
            return process
        found = [process for pid in self._candidates(domain) if (process := self._verified(pid, domain)) is not None]
        return min(found, key=lambda process: (process.start, process.pid), default=None)

    def _classified(self, pid: int, seen: _Seen) -> _Seen:
        root = f"{self._files.procfs}/{pid}"
        cmdline = once(self._files, f"{root}/cmdline")
        if cmdline:
            seen.identity = parse_identity(cmdline)
            seen.final |= seen.identity is not None  # were it but a child of QEMU's about to exec: `bind` reads again
        elif (owner := parse_owner((once(self._files, f"{root}/comm") or b"").rstrip(b"\n"))) is not None:
            try:
                is_kernel = parse_process(once(self._files, f"{root}/stat") or b"").ppid == _KTHREADD
            except ParseError:
                is_kernel = False
            if is_kernel:  # a program may take any name
                seen.owner, seen.role = owner
        return seen

    def _candidates(self, domain: Domain) -> Iterator[int]:
        for pid, seen in self._seen.items():
            if seen.identity is not None and is_same(domain, seen.identity):
                yield pid

    def _verified(self, pid: int, domain: Domain, *, told: bool = False) -> Process | None:
        """That process if it runs that VM, held before its command line is read: so both are one process'."""
        held = hold(self._files, pid)
        if held is None:
            return None
        process, _ = held
        cmdline = below(process, "cmdline") or b""
        identity = parse_identity(cmdline)
        if identity is None and told:  # an emulator by another name, if it has exactly the options
            identity, told = parse_identity(cmdline, told=True), False
        if identity is None or not is_same(domain, identity, told=told):
            return None
        try:
            return process if thread_count(process) is not None else None
        except KernelError:
            return None
