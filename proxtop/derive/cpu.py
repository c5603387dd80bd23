"""CPU shares from run-queue times. Formulas: docs/metrics.md; what a vCPU is and which threads are others: lookup."""

from __future__ import annotations

from proxtop.derive.base import OwnTimes, Reading, Tables, deltas, span
from proxtop.model import Columns, Table
from proxtop.rates import Deltas, Numbers, clipped, number_column, owner_of, total, values

_TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SHOWN = {
    "cpu_user": "user", "cpu_system": "system", "cpu_idle": "idle", "cpu_steal": "steal", "cpu_nice": "nice",
    "cpu_iowait": "iowait", "cpu_irq": "irq", "cpu_softirq": "softirq", "cpu_guest": "guest",
    "cpu_guestnice": "guest_nice",
}  # fmt: skip
_NS_TO_PERCENT = 1e-7
_US_TO_PERCENT = 1e-4
_RUN_WAIT = ("run_ns", "wait_ns")
ROLES = ("emulator", "iothread", "worker", "vhost")


class CpuDerivation:
    """Host shares of all cores; each VM's mean over its vCPUs, and the sum over its other threads."""

    def __init__(self) -> None:
        self._remote = OwnTimes(_RUN_WAIT)

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
        if vcpu.at is None:
            earlier = before.table("vcpu") if before else None
            used, waited = _run_wait(Deltas(earlier, vcpu, seconds, _RUN_WAIT, born=lived))
        else:
            (used, waited), _ = self._remote.follow("vcpu", before, after, _run_wait)
        columns: Columns = {
            "vcpu_total": values([clipped(value) for value in used]),
            "vcpu_steal": values([clipped(value) for value in waited]),
            "vcpu_cpu": values(number_column(vcpu, "cpu")),
        }
        tables["vcpu"] = Table(vcpu.ids, columns)
        thread = after.table("thread") or Table([], {})
        others = Deltas(before.table("thread") if before else None, thread, seconds, _RUN_WAIT, born=lived)
        shares = _Shares(_grouped(vcpu.ids, used), _grouped(vcpu.ids, waited), _roles(thread, others, lived))
        process = deltas("vm", before, after, ("process_ns", "throttled_us"))
        if process is not None:
            tables["vm"], tables["thread"] = _vms(vm, process, shares)
        return tables


def _host(before: Table | None, host: Table) -> Table:
    columns: Columns = {
        "cpu_cores": values(number_column(host, "cores")),
        "cpu_curfreq": values(number_column(host, "curfreq")),
        "cpu_minfreq": values(number_column(host, "minfreq")),
        "cpu_maxfreq": values(number_column(host, "maxfreq")),
    }
    gains: dict[str, float | None] = {}
    for name in (*_TICKS, "guest", "guest_nice"):
        now = number_column(host, name)[0]
        then = number_column(before, name)[0] if before is not None and before.ids else None
        # idle and iowait are known to step back a little; a share below zero is none
        gains[name] = None if now is None or then is None else max(0, now - then)
    everything = sum(value for name in _TICKS if (value := gains[name]) is not None)
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


def _grouped(ids: list[str], rates: Numbers) -> dict[str, list[float | None]]:
    groups: dict[str, list[float | None]] = {}
    for row, value in zip(ids, rates, strict=True):
        groups.setdefault(owner_of(row), []).append(value)
    return groups


class _Role:
    """What the threads of one role of one VM did."""

    __slots__ = ("foreign", "threads", "used", "waited")

    def __init__(self) -> None:
        self.threads = 0
        self.used: list[float | None] = []
        self.waited: list[float | None] = []
        self.foreign: list[float | None] = []


def _roles(thread: Table, gains: Deltas, lived: frozenset[str]) -> dict[str, dict[str, _Role]]:
    groups: dict[str, dict[str, _Role]] = {}
    used, waited = gains.rate("run_ns", _NS_TO_PERCENT), gains.rate("wait_ns", _NS_TO_PERCENT)
    roles, own = thread.columns.get("role", []), number_column(thread, "own")
    for row, role, mine, run, wait in zip(thread.ids, roles, own, used, waited, strict=True):
        owner = owner_of(row)
        entry = groups.setdefault(owner, {}).setdefault(str(role), _Role())
        entry.threads += 1
        if owner not in lived:  # another process: thread ids may have come again
            run = wait = None
        entry.used.append(run)
        entry.waited.append(wait)
        if not mine:
            entry.foreign.append(run)
    return groups


class _Shares:
    """Shares of one core in %, grouped by VM."""

    __slots__ = ("roles", "used", "waited")

    def __init__(
        self,
        used: dict[str, list[float | None]],
        waited: dict[str, list[float | None]],
        roles: dict[str, dict[str, _Role]],
    ) -> None:
        self.used = used
        self.waited = waited
        self.roles = roles


def _mean(shares: list[float | None] | None) -> float | None:
    whole = total(shares or ())
    return None if whole is None or not shares else clipped(whole / len(shares))


def _vms(vm: Table, process: Deltas, shares: _Shares) -> tuple[Table, Table]:
    cores = number_column(vm, "cores")
    clock = process.rate("process_ns", _NS_TO_PERCENT)
    throttled = process.rate("throttled_us", _US_TO_PERCENT)
    columns: dict[str, Numbers] = {
        "cpu_cores": cores, "cpu_total": [], "cpu_steal": [], "cpu_other_total": [], "cpu_other_steal": [],
        "cpu_throttled": [
            None if value is None else clipped(value / (count or 1))
            for value, count in zip(throttled, cores, strict=True)
        ],
    }  # fmt: skip
    ids: list[str] = []
    threads: dict[str, Numbers] = {"thread_count": [], "thread_total": [], "thread_steal": []}
    for row, whole in zip(vm.ids, clock, strict=True):
        vcpus = shares.used.get(row)
        roles = shares.roles.get(row, {})
        other = _other(whole, vcpus, roles)
        columns["cpu_total"].append(_mean(vcpus))
        columns["cpu_steal"].append(_mean(shares.waited.get(row)))
        columns["cpu_other_total"].append(other)
        waits = [wait for role in roles.values() for wait in role.waited]
        columns["cpu_other_steal"].append(total(waits))
        for name in ROLES:
            role = roles.get(name)
            if role is not None or (name == "worker" and roles):
                ids.append(f"{row}/{name}")
                threads["thread_count"].append(role.threads if role else 0)
                threads["thread_total"].append(_role_total(name, role, other, roles))
                threads["thread_steal"].append(total(role.waited) if role else 0.0)
    return (
        Table(vm.ids, {name: values(column) for name, column in columns.items()}),
        Table(ids, {name: values(column) for name, column in threads.items()}),
    )


def _other(whole: float | None, vcpus: list[float | None] | None, roles: dict[str, _Role]) -> float | None:
    """All that the VM costs beside its vCPUs, in % of one core.

    The process clock has what ended threads ran, which the sum over the living misses; a vhost kernel thread is not in
    it. Another host's procfs has that clock in ticks alone, too coarse for an idle VM: so the living are the least.
    """
    living = total([run for role in roles.values() for run in role.used])
    if whole is None or vcpus is None:
        return living
    mine = total(vcpus)
    foreign = total([run for role in roles.values() for run in role.foreign]) if roles else None
    return None if mine is None else max(living or 0.0, whole - mine + (foreign or 0.0))


def _role_total(name: str, role: _Role | None, other: float | None, roles: dict[str, _Role]) -> float | None:
    """What a role ran; workers get what the living threads do not explain: the ones that came and went."""
    known = total(role.used) if role else 0.0
    if name != "worker" or other is None:
        return known
    rest = total([run for key, entry in roles.items() if key != "worker" for run in entry.used])
    return known if rest is None else max(known or 0.0, other - rest)
