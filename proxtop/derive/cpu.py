"""CPU shares from run-queue times. Formulas: docs/metrics.md; what a vCPU is and which threads are others: lookup."""

from __future__ import annotations

import math

from proxtop.derive.base import OwnTimes, Reading, Tables, deltas, span
from proxtop.derive.threads import Layout, Layouts
from proxtop.model import EMPTY, Columns, Table
from proxtop.rates import Deltas, Numbers, clip, clipped, each, number_column, values

_TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SHOWN = {
    "cpu_user": "user", "cpu_system": "system", "cpu_idle": "idle", "cpu_steal": "steal", "cpu_nice": "nice",
    "cpu_iowait": "iowait", "cpu_irq": "irq", "cpu_softirq": "softirq", "cpu_guest": "guest",
    "cpu_guestnice": "guest_nice",
}  # fmt: skip
_NS_TO_PERCENT = 1e-7
_US_TO_PERCENT = 1e-4
_RUN_WAIT = ("run_ns", "wait_ns")
_BORN_NS = 1.5e9
"""What a thread that began within a cycle can have run or waited, in ns for each second of it, and some for cycles that
are read a little late: one with more was there all the time, and only could not be read or was not known."""


class CpuDerivation:
    """Host shares of all cores; each VM's mean over its vCPUs, and the sum over its other threads."""

    def __init__(self) -> None:
        self._remote = OwnTimes(_RUN_WAIT)
        self._layouts = Layouts()

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host, vm, vcpu and thread."""
        tables: Tables = {}
        host = after.table("host")
        if host is not None and host.ids:
            tables["host"] = _host(before.table("host") if before else None, host)
        vcpu, vm = after.table("vcpu"), after.table("vm")
        if vcpu is None or vm is None:
            return tables
        lived = _lived(before, vm)
        seconds = span(before, after)
        most = math.inf if seconds is None else _BORN_NS * seconds
        if vcpu.at is None:
            known = before.table("vcpu") if before else None
            used, waited = _run_wait(Deltas(known, vcpu, seconds, _RUN_WAIT, born=lived, most=most))
        else:
            (used, waited), _ = self._remote.follow("vcpu", before, after, _run_wait)
        tables["vcpu"] = Table(
            vcpu.ids,
            {
                "vcpu_total": values(clip(used)),
                "vcpu_steal": values(clip(waited)),
                "vcpu_cpu": values(number_column(vcpu, "cpu")),
            },
        )
        process = deltas("vm", before, after, ("process_ns", "throttled_us"))
        if process is not None:
            thread = after.table("thread") or EMPTY
            earlier = before.table("thread") if before else None
            others = Deltas(earlier, thread, seconds, _RUN_WAIT, born=lived, most=most)
            layout = self._layouts.of(vm.ids, vcpu.ids, thread)
            run, wait = (layout.of_the_living(rates, lived) for rates in _run_wait(others))
            tables["vm"], tables["thread"] = _vms(vm, process, layout, (used, waited), (run, wait))
        return tables


def _host(before: Table | None, host: Table) -> Table:
    columns: Columns = {
        "cpu_cores": values(number_column(host, "cores")),
        "cpu_curfreq": values(number_column(host, "curfreq")),
        "cpu_minfreq": values(number_column(host, "minfreq")),
        "cpu_maxfreq": values(number_column(host, "maxfreq")),
    }
    gains: dict[str, float | None] = {}
    gone_on = 0.0
    for name in (*_TICKS, "guest", "guest_nice"):
        now = number_column(host, name)[0]
        then = number_column(before, name)[0] if before is not None and before.ids else None
        # idle and iowait are known to step back a little; a share below zero is none
        gains[name] = None if now is None or then is None else max(0, now - then)
        gone_on += now - then if now is not None and then is not None and name in _TICKS else 0
    # all time together never steps back: else another host's /proc was booted, or a core left with its idle time
    everything = sum(value for name in _TICKS if (value := gains[name]) is not None) if gone_on > 0 else 0
    for metric, name in _SHOWN.items():
        gain = gains[name]
        columns[metric] = [None if gain is None or not everything else gain * 100 / everything]
    return Table(host.ids, columns)


def _lived(before: Reading | None, vm: Table) -> frozenset[str]:
    """VMs that ran at both readings as the same process: threads that are new in them began within the span."""
    earlier = before.table("vm") if before else None
    if earlier is None:
        return frozenset()
    gens = dict(zip(earlier.ids, earlier.columns.get("gen", ()), strict=False))
    return frozenset(
        row
        for row, gen in zip(vm.ids, vm.columns.get("gen", ()), strict=False)
        if gen is not None and gens.get(row) == gen
    )


def _run_wait(gains: Deltas) -> tuple[Numbers, Numbers]:
    return gains.rate("run_ns", _NS_TO_PERCENT), gains.rate("wait_ns", _NS_TO_PERCENT)


def _vms(
    vm: Table, process: Deltas, layout: Layout, vcpus: tuple[Numbers, Numbers], threads: tuple[Numbers, Numbers]
) -> tuple[Table, Table]:
    cores = number_column(vm, "cores")
    ran = layout.vcpus.totals(vcpus[0])
    run, wait = threads
    living, foreign = layout.threads.totals(run), layout.foreign.totals(run)
    others = each(_other, process.rate("process_ns", _NS_TO_PERCENT), layout.vcpu_counts, ran, living, foreign)
    columns: Columns = {
        "cpu_cores": values(cores),
        "cpu_total": values(each(_mean, ran, layout.vcpu_counts)),
        "cpu_steal": values(each(_mean, layout.vcpus.totals(vcpus[1]), layout.vcpu_counts)),
        "cpu_other_total": values(others),
        "cpu_other_steal": values(layout.threads.totals(wait)),
        "cpu_throttled": values(each(_share_of_cores, process.rate("throttled_us", _US_TO_PERCENT), cores)),
    }
    rest, totals = layout.no_workers.totals(run), layout.role_totals(run)
    for row, place in layout.workers:
        totals[row] = _workers(totals[row], others[place], rest[place])
    roles: Columns = {
        "thread_count": values(layout.role_counts),
        "thread_total": values(totals),
        "thread_steal": values(layout.role_totals(wait)),
    }
    return Table(vm.ids, columns), Table(layout.role_ids, roles)


def _mean(whole: float | None, count: float | None) -> float | None:
    return None if whole is None or not count else clipped(whole / count)


def _share_of_cores(value: float | None, cores: float | None) -> float | None:
    return None if value is None else clipped(value / (cores or 1))


def _other(
    whole: float | None, count: float | None, vcpus: float | None, living: float | None, foreign: float | None
) -> float | None:
    """All that the VM costs beside its vCPUs, in % of one core.

    The process clock has what ended threads ran, which the sum over the living misses; a vhost kernel thread is not in
    it. Another host's procfs has that clock in ticks alone, too coarse for an idle VM: so the living are the least.
    """
    if whole is None or not count:
        return living
    return None if vcpus is None else max(living or 0.0, whole - vcpus + (foreign or 0.0))


def _workers(known: float | None, other: float | None, rest: float | None) -> float | None:
    """Workers get what the living threads do not explain: the ones that came and went."""
    return known if other is None or rest is None else max(known or 0.0, other - rest)
