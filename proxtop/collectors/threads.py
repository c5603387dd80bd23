"""The threads of all VMs in one row, read in one go: each VM's vCPUs, then its others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxtop.collectors.base import Reasons
from proxtop.kernel.batch import Batch, Outcome
from proxtop.kernel.errors import FileError, KernelError, ParseError
from proxtop.kernel.files import File, Files, Process
from proxtop.kernel.pid_stat import parse_last_cpu
from proxtop.kernel.schedstat import parse_schedstat, parse_schedstats
from proxtop.model import VM

NO_SCHEDSTAT = "no run-queue times on this kernel (CONFIG_SCHED_INFO)"

Members = list[tuple[VM, Process | None]]
"""VMs with their processes; None where none is known."""


class Thread(NamedTuple):
    """A thread of a VM: `key` is its row's, `kind` its role, of a vCPU its thread id. `own` is 0 for a vhost kernel
    thread, which is in no process of the VM. A vCPU's has a `stat`, which tells the CPU that it ran on last."""

    key: str
    kind: int | str
    own: int
    schedstat: File
    stat: File | None = None


class Rows(NamedTuple):
    """Some of the threads: their places, and what stands still of each."""

    places: list[int]
    keys: list[str]
    kinds: list[int | str]
    own: list[int]

    def without(self, out: frozenset[int]) -> Rows:
        """The same but for the threads at these places."""
        if not out:
            return self
        rows = [row for row in zip(*self, strict=True) if row[0] not in out]
        return Rows(*map(list, zip(*rows, strict=True))) if rows else Rows([], [], [], [])


class Times(NamedTuple):
    """What the threads' schedstats say, a list of each; `gone` are the places of threads that say nothing, `living`
    those of threads that are there."""

    run_ns: list[int | None]
    wait_ns: list[int | None]
    slices: list[int]
    gone: frozenset[int]


class Crew:
    """All threads of these VMs. `spans` has each VM's places, `cpus` the CPU that each vCPU ran on last."""

    def __init__(self, files: Files, members: Members, ended: frozenset[str]) -> None:
        self.members = members
        self.threads: list[Thread] = []
        self.spans: list[range] = []
        groups: list[tuple[Process, list[File]]] = []
        for vm, process in members:
            own = [] if process is None else [one for one in _threads(vm, process) if one.key not in ended]
            self.spans.append(range(len(self.threads), len(self.threads) + len(own)))
            self.threads += own
            if process is not None:
                groups.append((process, [thread.schedstat for thread in own]))
        self._batch = Batch(files, groups)
        self.vcpus = self._rows([place for place, thread in enumerate(self.threads) if thread.stat is not None])
        self.others = self._rows([place for place, thread in enumerate(self.threads) if thread.stat is None])
        self.cpus: list[int | None] = [None] * len(self.threads)
        self._slices = [-1] * len(self.threads)

    def _rows(self, places: list[int]) -> Rows:
        threads = [self.threads[place] for place in places]
        return Rows(places, [one.key for one in threads], [one.kind for one in threads], [one.own for one in threads])

    def read(self, reasons: Reasons) -> tuple[list[int | None], Times]:
        """(the CPU time of each VM's process, of the VMs that have one, read just before its threads; the threads'
        times)."""
        clocks, texts = self._batch.read()
        times = _times(texts, reasons)
        if 0 in times.slices:
            for place, slices in enumerate(times.slices):
                if not slices and place not in times.gone:
                    times.run_ns[place] = times.wait_ns[place] = None
                    if self.threads[place].stat is not None:
                        # a vCPU that was found by its name has run: so the kernel does not count
                        reasons.add(NO_SCHEDSTAT)
        if times.slices != self._slices:
            self._look_where(times, reasons)
        return clocks, times

    def _look_where(self, times: Times, reasons: Reasons) -> None:
        """The CPU that a vCPU ran on last is read again only when it was scheduled since: its stat is dearer to read
        than its schedstat by far."""
        before, self._slices = self._slices, times.slices
        for place in self.vcpus.places:
            slices, stat = times.slices[place], self.threads[place].stat
            if place in times.gone or stat is None or (slices and slices == before[place]):
                continue
            try:
                text = stat.read()
                self.cpus[place] = None if text is None else parse_last_cpu(text)
            except KernelError as error:
                reasons.add(error)
                self.cpus[place] = None
            if self.cpus[place] is None or not slices:
                self._slices = [*self._slices[:place], -1, *self._slices[place + 1 :]]  # asked again


def _threads(vm: VM, process: Process) -> list[Thread]:
    """With their files; those of threads that it has no more are closed."""
    found = [
        Thread(f"{vm.uuid}/{number}", tid, 1, process.file(f"task/{tid}/schedstat"), process.file(f"task/{tid}/stat"))
        for number, tid in vm.vcpus
    ]
    root = process.path.rpartition("/")[0]
    for thread in vm.threads:
        # a vhost kernel thread is a process of its own: its file is held here, to be closed with the VM
        task = f"task/{thread.tid}" if thread.pid == vm.pid else f"{root}/{thread.pid}/task/{thread.tid}"
        file = process.file(f"{task}/schedstat")
        found.append(Thread(f"{vm.uuid}/{thread.tid}", thread.role, int(thread.pid == vm.pid), file))
    used = {file.path for one in found for file in (one.schedstat, one.stat) if file is not None}
    process.retain("task/", used)
    process.retain(f"{root}/", used)
    return found


def _times(texts: Sequence[Outcome], reasons: Reasons) -> Times:
    try:
        columns = parse_schedstats(texts)  # type: ignore[arg-type]
    except TypeError:  # one of them is no text
        columns = None
    if columns is not None:
        run, wait, slices = columns
        return Times([*run], [*wait], slices, frozenset())
    rows: list[tuple[int, int, int]] = []
    gone = set()
    for place, text in enumerate(texts):
        row = (0, 0, 0)
        try:
            if isinstance(text, FileError):
                raise text
            if text is None:
                gone.add(place)
            else:
                row = parse_schedstat(text)
        except (FileError, ParseError) as error:
            reasons.add(error)
            gone.add(place)
        rows.append(row)
    return Times([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], frozenset(gone))


class Plan:
    """The crew for as long as VMs, processes and threads stay the same."""

    __slots__ = ("_crew", "_ended")

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._ended: frozenset[str] = frozenset()

    def crew(self, files: Files, members: Members) -> Crew:
        """Who is to be read now."""
        if self._crew is None or (self._crew.members is not members and self._crew.members != members):
            listed = {f"{vm.uuid}/{thread.tid}" for vm, _ in members for thread in vm.threads}
            self._ended &= listed
            self._crew = Crew(files, members, self._ended)
        return self._crew

    def strike(self, times: Times) -> None:
        """Has threads that are no process' own and ended never opened again: their PIDs may be others' by then."""
        assert self._crew is not None
        threads = self._crew.threads
        if ended := {threads[place].key for place in times.gone if not threads[place].own}:
            self._ended |= ended
            self._crew = None
