"""CPU: the host's time, each VM's process clock, and the run-queue times of its vCPUs and other threads.

Steal is the run-queue wait of a vCPU's thread (schedstat): what KVM itself reports to the guest as steal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtop.catalog.cpu import FAMILY
from proxtop.collectors.base import NO_PROCFS, Reasons, Row, host_table, picked, processes, table, taken, times, unseen
from proxtop.collectors.frequency import Frequencies
from proxtop.collectors.throttle import Throttles
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import File, Files, Process
from proxtop.kernel.pid_stat import parse_last_cpu
from proxtop.kernel.schedstat import parse_schedstat
from proxtop.kernel.stat import FIELDS, parse_stat
from proxtop.model import VM, Inventory, Sample, Statistics, Table

_VM = ("gen", "cores", "process_ns", "throttled_us")
_VCPU = ("gen", "run_ns", "wait_ns", "cpu")
_THREAD = ("role", "own", "run_ns", "wait_ns")
_NO_SCHEDSTAT = "no run-queue times on this kernel (CONFIG_SCHED_INFO)"


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """Counters of the host, the VMs, their vCPUs and their other threads; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    plan = files.memory(_Plan)
    plan.adopt(inventory)
    vms: list[Row] = []
    vcpus: list[Row] = []
    threads: list[Row] = []
    throttles = files.memory(Throttles)
    throttles.begin(files)
    for vm, process in processes(inventory, files, reasons):
        if process is None:
            vms.append((vm.uuid, vm.gen, vm.cores, None, None))
            continue
        member = plan.member(vm, process)
        process_ns = process.clock_ns()
        marks = len(vcpus), len(threads)
        lives = member.read(vcpus, threads, reasons)
        if process_ns is None:
            try:
                process_ns = process.ticks_ns()
            except KernelError as error:
                reasons.add(error)
        if process.gone or (not lives and process.ended()):
            del vcpus[marks[0] :], threads[marks[1] :]
            continue
        vms.append((vm.uuid, vm.gen, vm.cores, process_ns, throttles.read(vm, process, reasons)))
    tables = {
        "host": _host(inventory, files, reasons),
        "vm": table(_VM, vms),
        "vcpu": _remote_vcpus(inventory, source, reasons) if inventory.remote and not vcpus else table(_VCPU, vcpus),
        "thread": table(_THREAD, threads),
    }
    refresh = source["vcpu"].refresh if tables["vcpu"].at is not None else 0.0
    return Sample(FAMILY.name, tables, refresh, reasons.text)


def _host(inventory: Inventory, files: Files, reasons: Reasons) -> Table:
    columns: dict[str, Any] = dict.fromkeys(("cores", "curfreq", "minfreq", "maxfreq", *FIELDS))
    if unseen(inventory, files):
        reasons.add(NO_PROCFS)
        return host_table(files, columns)
    try:
        text = files.proc("stat")
        if text is None:
            reasons.add(f"{files.procfs}/stat: not there")
        else:
            cores, ticks = parse_stat(text)
            columns.update(zip(FIELDS, ticks, strict=False), cores=cores)
            frequencies = files.memory(Frequencies)
            columns.update(zip(("curfreq", "minfreq", "maxfreq"), frequencies.read(files, cores), strict=True))
    except KernelError as error:
        reasons.add(error)
    return host_table(files, columns)


def _remote_vcpus(inventory: Inventory, source: Mapping[str, Statistics], reasons: Reasons) -> Table:
    """What the connector tells of a remote host's vCPUs, each row with its own time."""
    part = source.get("vcpu")
    ids, places = picked(part, {vm.uuid for vm in inventory.vms})
    if part is not None:
        reasons.add(part.reason)
    return Table(ids, taken(part, _VCPU, places), times(part, places) if part is not None else None)


class _Vcpu:
    """A vCPU's thread. The CPU it ran on last is read again only when it was scheduled since."""

    __slots__ = ("cpu", "key", "schedstat", "slices", "stat", "tid")

    def __init__(self, key: str, tid: int, schedstat: File, stat: File) -> None:
        self.key = key
        self.tid = tid
        self.schedstat = schedstat
        self.stat = stat
        self.slices = -1
        self.cpu: int | None = None

    def last_cpu(self) -> int | None:
        """Its stat is dearer to read than its schedstat by far."""
        text = self.stat.read()
        return None if text is None else parse_last_cpu(text)


class _Member:
    """A VM's open files: of each vCPU and each other thread."""

    __slots__ = ("process", "threads", "vcpus", "vm")

    def __init__(self, vm: VM, process: Process) -> None:
        self.vm = vm
        self.process = process
        self.vcpus: list[_Vcpu] = []
        self.threads: list[tuple[str, str, int, File]] = []
        for number, tid in vm.vcpus:
            schedstat, stat = process.file(f"task/{tid}/schedstat"), process.file(f"task/{tid}/stat")
            self.vcpus.append(_Vcpu(f"{vm.uuid}/{number}", tid, schedstat, stat))
        root = process.path.rpartition("/")[0]
        for thread in vm.threads:
            # a vhost kernel thread is a process of its own: its file is held here, to be closed with the VM
            task = f"task/{thread.tid}" if thread.pid == vm.pid else f"{root}/{thread.pid}/task/{thread.tid}"
            own = int(thread.pid == vm.pid)
            self.threads.append((f"{vm.uuid}/{thread.tid}", thread.role, own, process.file(f"{task}/schedstat")))
        used = {file.path for vcpu in self.vcpus for file in (vcpu.schedstat, vcpu.stat)}
        used.update(file.path for *_, file in self.threads)
        process.retain("task/", used)
        process.retain(f"{root}/", used)

    def read(self, vcpus: list[Row], threads: list[Row], reasons: Reasons) -> bool:
        """Appends a row for each thread that is still there; whether there was one of the process' own."""
        lives = False
        for vcpu in self.vcpus:
            try:
                text = vcpu.schedstat.read()
                if text is None:
                    continue
                lives = True
                run, wait, slices = parse_schedstat(text)
                if slices != vcpu.slices or vcpu.cpu is None:
                    vcpu.slices, vcpu.cpu = slices, vcpu.last_cpu()
            except KernelError as error:
                reasons.add(error)
                continue
            if slices:
                vcpus.append((vcpu.key, vcpu.tid, run, wait, vcpu.cpu))
            else:
                # a vCPU that was found by its name has run: so the kernel does not count
                reasons.add(_NO_SCHEDSTAT)
                vcpus.append((vcpu.key, vcpu.tid, None, None, vcpu.last_cpu()))
        ended = []
        for thread in self.threads:
            key, role, own, schedstat = thread
            try:
                text = schedstat.read()
                if text is not None:
                    run, wait, slices = parse_schedstat(text)
                    threads.append((key, role, own, run, wait) if slices else (key, role, own, None, None))
                elif not own:
                    ended.append(thread)
            except KernelError as error:
                reasons.add(error)
        for thread in ended:
            # never opened again: its PID may be another process' by then
            self.threads.remove(thread)
        return lives


class _Plan:
    """The open files of every VM in the inventory."""

    __slots__ = ("_inventory", "_members")

    def __init__(self) -> None:
        self._inventory: Inventory | None = None
        self._members: dict[str, _Member] = {}

    def adopt(self, inventory: Inventory) -> None:
        """Forgets the VMs that left."""
        if inventory is not self._inventory:
            self._inventory = inventory
            uuids = {vm.uuid for vm in inventory.vms}
            self._members = {uuid: member for uuid, member in self._members.items() if uuid in uuids}

    def member(self, vm: VM, process: Process) -> _Member:
        """The VM's files, anew when its threads or its process are others."""
        member = self._members.get(vm.uuid)
        if member is None or member.process is not process or (member.vm is not vm and not _same(member.vm, vm)):
            member = self._members[vm.uuid] = _Member(vm, process)
        member.vm = vm
        return member


def _same(old: VM, new: VM) -> bool:
    return old.vcpus == new.vcpus and old.threads == new.threads


__all__ = ["FAMILY", "sample"]
