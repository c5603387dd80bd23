"""CPU: the host's time, each VM's process clock, and the run-queue times of its vCPUs and other threads.

Steal is the run-queue wait of a vCPU's thread (schedstat): what KVM itself reports to the guest as steal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtop.catalog.cpu import FAMILY
from proxtop.collectors.base import (
    NO_PROCFS,
    Members,
    Reasons,
    Row,
    host_table,
    picked,
    processes,
    table,
    taken,
    times,
    unseen,
)
from proxtop.collectors.frequency import Frequencies
from proxtop.collectors.threads import Crew, Plan, Times
from proxtop.collectors.throttle import Throttles
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files
from proxtop.kernel.stat import FIELDS, parse_stat
from proxtop.model import Inventory, Sample, Statistics, Table

_VCPU = ("gen", "run_ns", "wait_ns", "cpu")


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """Counters of the host, the VMs, their vCPUs and their other threads; a VM that left meanwhile has no row."""
    reasons = Reasons(FAMILY.name)
    plan = files.memory(Plan)
    members = processes(inventory, files, reasons)
    crew = plan.crew(files, members.pairs)
    clocks, times = crew.read(reasons)
    ended = _ended(crew, times)
    if times.gone:
        plan.strike(times)
    out = times.gone.union(*(crew.spans[number] for number in ended))
    vcpus, threads = _vcpus(crew, times, out), _threads(crew, times, out)
    tables = {
        "host": _host(inventory, files, reasons),
        "vm": _vms(crew, members, clocks, ended, files, reasons),
        "vcpu": _remote_vcpus(inventory, source, reasons) if inventory.remote and not vcpus.ids else vcpus,
        "thread": threads,
    }
    refresh = source["vcpu"].refresh if tables["vcpu"].at is not None else 0.0
    return Sample(FAMILY.name, tables, refresh, reasons.text)


def _ended(crew: Crew, times: Times) -> frozenset[int]:
    """The VMs, by their places among the members, whose process turned out to have ended. One with a thread of its own
    that could be read has not."""
    found = set()
    for number, ((_, process), span) in enumerate(zip(crew.members, crew.spans, strict=True)):
        if process is None or (span and not times.gone):
            continue
        lives = any(place not in times.gone and crew.threads[place].own for place in span)
        if process.gone or (not lives and process.ended()):
            found.add(number)
    return frozenset(found)


def _vms(
    crew: Crew, members: Members, clocks: list[int | None], ended: frozenset[int], files: Files, reasons: Reasons
) -> Table:
    throttled = files.memory(Throttles).read(members, files, reasons)
    if members.whole and not ended and None not in clocks:
        columns: dict[str, Any] = {
            "gen": members.gens,
            "cores": [vm.cores for vm, _ in members.pairs],
            "process_ns": clocks,
            "throttled_us": throttled,
        }
        return Table(members.ids, columns)
    rows: list[Row] = []
    of_each = iter(clocks)
    for number, (vm, process) in enumerate(crew.members):
        if process is None:
            rows.append((vm.uuid, vm.gen, vm.cores, None, None))
            continue
        process_ns = next(of_each)
        if number in ended:
            continue
        if process_ns is None:
            try:
                process_ns = process.ticks_ns()
            except KernelError as error:
                reasons.add(error)
        rows.append((vm.uuid, vm.gen, vm.cores, process_ns, throttled[number]))
    return table(("gen", "cores", "process_ns", "throttled_us"), rows)


def _vcpus(crew: Crew, times: Times, out: frozenset[int]) -> Table:
    rows = crew.vcpus.without(out)
    columns: dict[str, Any] = {
        "gen": rows.kinds,
        "run_ns": [times.run_ns[place] for place in rows.places],
        "wait_ns": [times.wait_ns[place] for place in rows.places],
        "cpu": [crew.cpus[place] for place in rows.places],
    }
    return Table(rows.keys, columns)


def _threads(crew: Crew, times: Times, out: frozenset[int]) -> Table:
    rows = crew.others.without(out)
    columns: dict[str, Any] = {
        "role": rows.kinds,
        "own": rows.own,
        "run_ns": [times.run_ns[place] for place in rows.places],
        "wait_ns": [times.wait_ns[place] for place in rows.places],
    }
    return Table(rows.keys, columns)


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


__all__ = ["FAMILY", "sample"]
