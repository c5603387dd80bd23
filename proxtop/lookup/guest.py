"""One VM, followed from cycle to cycle at the least cost."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from proxtop.kernel.cgroup import vm_cgroup
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.kernel.pid_stat import parse_start
from proxtop.kernel.threads import format_cpus, parse_allowed, parse_cpus
from proxtop.lookup.crew import Crew, muster
from proxtop.lookup.disks import Disks
from proxtop.lookup.names import clean
from proxtop.lookup.nics import Interfaces
from proxtop.lookup.places import places
from proxtop.lookup.process import below, names, thread_count
from proxtop.lookup.processes import Processes
from proxtop.model import VM, Disk, Domain, Nic, Thread

RELIST = 5.0
"""Seconds between two listings of a VM's threads while their number stays the same: one may end as another starts."""

INSPECT = 10.0
"""Seconds between two looks at what hardly ever changes: cgroup, affinity, namespaces."""

YOUNG = 1.0
"""Seconds for which a new thread's name is read again: it is its maker's until QEMU has set it."""

UNBOUND = "its process is not found"


@dataclass(frozen=True, slots=True)
class Host:
    """What all VMs of a host share. `visible` is False where no /proc of the host is there."""

    files: Files
    processes: Processes
    disks: Disks
    interfaces: Interfaces
    connector: str
    visible: bool


class Guest:
    """A VM as last seen. `vm` stays the same object while nothing changed, and is None once its process ended."""

    def __init__(self, host: Host, domain: Domain, number: int) -> None:
        self.domain = domain
        self.vm: VM | None = None
        self._host = host
        self._stagger = (number + 1) * 0.618 % 1.0  # VMs take turns in what is done seldom
        self._process: Process | None = None
        self._ended = False
        self._nics: tuple[Nic, ...] | None = None
        self._nic_reason: str | None = None
        self._reset()

    @property
    def bound(self) -> bool:
        """Whether its process is known and lives, as far as was last seen."""
        return self._process is not None

    @property
    def gen(self) -> int | None:
        """Its process' start time and PID in one number, as VM.gen."""
        return None if self._process is None else self._process.start << 22 | self._process.pid

    def configure(self, host: Host, domain: Domain) -> None:
        """Its connector tells other things of it now."""
        self._host = host
        if domain != self.domain or self._process is None:
            self.domain = domain
            self._stale = True

    def look(self, now: float, *, search: bool) -> None:
        """Bring `vm` up to date; `search` for its process if it has none."""
        count = self._alive()
        if self._process is None and self._host.visible and (search or self._stale):
            self._process = self._host.processes.bind(self.domain)
            if self._process is not None:
                self._reset()
                self._ended = False
                count = self._alive()
        changed = self._stale
        if self._process is not None and count is not None:
            changed |= self._look_at(self._process, count, now)
        elif changed:
            self._nics, self._nic_reason = self._locate()
        if changed:
            self._stale = False
            self._join()

    def close(self) -> None:
        """The VM is gone."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _reset(self) -> None:
        """Forget all of its process."""
        self._stale = True
        self._count = 0
        self._comms: dict[int, bytes] = {}
        self._young: dict[int, float] = {}
        self._workers: tuple[Thread, ...] = ()
        self._crew = Crew()
        self._relist_at = self._inspect_at = 0.0
        self._cgroup: str | None = None
        self._affinity: str | None = None
        self._nics = None
        self._nic_reason = None

    def _alive(self) -> int | None:
        if self._process is None:
            return None
        try:
            count = thread_count(self._process, self._count)
        except KernelError:
            return self._count  # not known to have ended: as it was
        if count is None:
            self.close()
            self._reset()
            self._ended = True
        return count

    def _look_at(self, process: Process, count: int, now: float) -> bool:
        inspect = self._stale or now >= self._inspect_at
        changed = False
        if inspect:
            cgroup = vm_cgroup(below(process, "cgroup") or b"")
            nics, reason = self._locate()
            if (cgroup, nics, reason) != (self._cgroup, self._nics, self._nic_reason):
                self._cgroup, self._nics, self._nic_reason = cgroup, nics, reason
                changed = True
        remuster = changed or self._stale or (inspect and not self._crew.vcpus)
        workers = self._host.processes.workers.get(process.pid, ())
        if (
            inspect or count != self._count or now >= self._relist_at or self._young or workers != self._workers
        ) and self._relist(process, workers, now, remuster=remuster):
            changed = inspect = True
        self._count = count
        if inspect:
            affinity = self._read_affinity(process)
            changed |= affinity != self._affinity
            self._affinity = affinity
            # the first time early, each VM at its own, so that they take turns from then on
            self._inspect_at = now + INSPECT * (self._stagger if self._inspect_at == 0.0 else 1.0)
        return changed

    def _relist(self, process: Process, workers: tuple[Thread, ...], now: float, *, remuster: bool) -> bool:
        """List its threads anew and read the names of the new ones; whether its crew changed."""
        self._relist_at = now + RELIST
        listed = names(process, "task")
        if listed is None:
            return False  # it ended, which the next look tells, or can't be read for now
        comms: dict[int, bytes] = {}
        for tid in sorted(int(name) for name in listed if name.isdecimal()):
            comm = self._comms.get(tid)
            if comm is None or tid in self._young:
                text = below(process, f"task/{tid}/comm")
                if text is None:
                    continue  # it ended meanwhile
                comm = text.removesuffix(b"\n")
                self._young.setdefault(tid, now)
            comms[tid] = comm
        self._young = {tid: since for tid, since in self._young.items() if tid in comms and now - since < YOUNG}
        if not remuster and comms == self._comms and workers == self._workers:
            self._workers = workers
            return False
        self._comms, self._workers = comms, workers
        crew = muster(
            process.pid,
            comms,
            cores=self.domain.cores,
            placed=lambda: places(self._host.files, self._cgroup),
            started=lambda tid: _started(process, tid),
            workers=workers,
        )
        changed = crew != self._crew
        self._crew = crew
        return changed

    def _read_affinity(self, process: Process) -> str | None:
        if self._host.files.local:
            cpus: set[int] = set()
            for _, tid in self._crew.vcpus:
                with contextlib.suppress(OSError):  # it ended meanwhile
                    cpus |= os.sched_getaffinity(tid)  # a tenth of the cost of its status
            return format_cpus(cpus) or None
        allowed = [parse_allowed(below(process, f"task/{tid}/status") or b"") for _, tid in self._crew.vcpus]
        return format_cpus(cpu for cpus in allowed for cpu in parse_cpus(cpus or "")) or None

    def _locate(self) -> tuple[tuple[Nic, ...] | None, str | None]:
        by_descriptor = self._host.connector == "qemu"
        return self._host.interfaces.locate(self.domain.nics, self._process, by_descriptor=by_descriptor)

    def _disks(self) -> tuple[Disk, ...]:
        disks = []
        for config in self.domain.disks:
            source = config.source
            if self._host.connector == "qemu" and self._process is not None:
                source = self._host.disks.absolute(source, f"{self._process.path}/cwd")
            shown = None if source is None else clean(source, 4096)
            if self._host.visible:
                device, image = self._host.disks.device(source), self._host.disks.image(source)
                disks.append(Disk(clean(config.name), shown, device, image))
            else:
                disks.append(Disk(clean(config.name), shown, None))
        return tuple(disks)

    def _join(self) -> None:
        domain, process, crew = self.domain, self._process, self._crew
        unbound = UNBOUND if process is None and self._host.visible else None
        # what a bare QEMU's command line does not tell is its NICs: no longer missing if its descriptors did
        told = None if domain.nics is None and self._nics is not None else domain.reason
        reasons = [reason for reason in (told, unbound, crew.reason, self._nic_reason) if reason]
        vm = None if self._ended else VM(
            uuid=domain.uuid,
            name=clean(domain.name) or domain.uuid,
            pid=None if process is None else process.pid,
            start=None if process is None else process.start,
            vmid=domain.vmid,
            cores=domain.cores if domain.cores is not None else len(crew.vcpus) or None,
            memory_kb=domain.memory_kb,
            vcpus=crew.vcpus,
            threads=crew.threads,
            disks=self._disks(),
            nics=self._nics,
            cgroup=self._cgroup,
            affinity=self._affinity,
            reason="; ".join(reasons) or None,
        )  # fmt: skip
        if vm != self.vm:
            self.vm = vm


def _started(process: Process, tid: int) -> int:
    try:
        return parse_start(below(process, f"task/{tid}/stat") or b"")
    except KernelError:
        return 1 << 62
