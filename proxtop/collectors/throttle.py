"""How long a CPU limit held each VM back, from its cgroup's cpu.stat.

Most VMs have no limit, and the kernel works for each read of cpu.stat. So only the files of VMs with a limit are read
in every pass; those of the others are looked at again every 32nd, by turns. Of a VM with a limit all are read: one that
was found later would bring all that it has counted so far into a single pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxtop.collectors.base import Members, Reasons, hierarchies
from proxtop.kernel.cgroup import Hierarchies
from proxtop.kernel.cpu_stat import parse_cpu_stat
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.model import VM

_TURNS = 32


class _Entry(NamedTuple):
    """What was looked at, and all its files if one of them tells of a limit."""

    process: Process
    cgroup: str
    vcpus: tuple[int, ...]
    paths: Sequence[str] = ()


class Throttles:
    """For each process the files that are read."""

    __slots__ = ("_failed", "_files", "_limited", "_members", "_pass", "_turns", "_where")

    def __init__(self) -> None:
        self._pass = 0
        self._members: Members | None = None
        self._files: dict[str, _Entry] = {}
        self._limited: set[int] = set()
        self._failed: set[int] = set()
        self._turns: list[list[int]] = [[] for _ in range(_TURNS)]
        self._where = Hierarchies()

    def read(self, members: Members, files: Files, reasons: Reasons) -> list[int | None]:
        """µs of each VM, summed over the CPUs of the host; None without a limit, and for a VM in the root cgroup."""
        self._pass += 1
        if members is not self._members:
            self._adopt(members, files, reasons)
        for place in self._failed.union(self._turns[self._pass % _TURNS]):  # what can't be read is told each time
            self._look(place, files, reasons)
        result: list[int | None] = [None] * len(members.pairs)
        for place in self._limited:
            vm, process = members.pairs[place]
            assert process is not None
            result[place] = _sum(process, self._files[vm.uuid].paths, reasons)
        return result

    def _adopt(self, members: Members, files: Files, reasons: Reasons) -> None:
        """Other VMs, or other processes, cgroups or vCPUs of theirs: those that are new are looked at now."""
        self._members = members
        self._where = hierarchies(files)
        self._limited.clear()
        self._failed.clear()
        self._turns = [[] for _ in range(_TURNS)]
        known, self._files = self._files, {}
        for place, (vm, process) in enumerate(members.pairs):
            if process is None or vm.cgroup is None:
                continue
            self._turns[process.pid % _TURNS].append(place)
            entry = known.get(vm.uuid)
            if entry is None or entry[:3] != (process, vm.cgroup, _numbers(vm)):
                self._look(place, files, reasons)
            else:
                self._keep(place, vm, entry)

    def _look(self, place: int, files: Files, reasons: Reasons) -> None:
        """Searches for the files of that VM."""
        assert self._members is not None
        vm, process = self._members.pairs[place]
        assert process is not None and vm.cgroup is not None
        entry = _Entry(process, vm.cgroup, _numbers(vm))
        found: list[str] = []
        limited = False
        self._failed.discard(place)
        try:
            for path in self._where.cpu_stats(vm.cgroup, entry.vcpus):
                if (text := files.once(path)) is not None:
                    found.append(path)
                    limited |= parse_cpu_stat(text) is not None
        except KernelError as error:
            reasons.add(error)
            self._failed.add(place)
            limited = False
        self._keep(place, vm, entry._replace(paths=found) if limited else entry)

    def _keep(self, place: int, vm: VM, entry: _Entry) -> None:
        self._files[vm.uuid] = entry
        if entry.paths:
            self._limited.add(place)
        else:
            self._limited.discard(place)


def _numbers(vm: VM) -> tuple[int, ...]:
    return tuple([number for number, _ in vm.vcpus])


def _sum(process: Process, paths: Sequence[str], reasons: Reasons) -> int | None:
    try:
        found = [
            us
            for path in paths
            if (text := process.read(path)) is not None and (us := parse_cpu_stat(text)) is not None
        ]
    except KernelError as error:
        reasons.add(error)
        return None
    return sum(found) if found else None
