"""Who hurts whom: VMs that wait, and who took what they wait for, on the same cores or device in the same cycles. Pure.

A VM waits when in the newest cycle (limits: `Limits`)

- for a core: cpu_steal reaches its limit;
- for memory: psi_some_mem of its cgroup does;
- for its disk: psi_some_io does, or disk_lat_avg is at least `latency_ms`, or at least `latency_times` its own normal
  (the median of its recent cycles) and no less than `latency_least_ms`.

Who took it, over the last cycles t (the window):

- a core: each vCPU i of the waiting VM v was ready but waited a share s_i(t) of the cycle, at whose end it was on core
  c_i(t). What VM u ran there is d_u(c, t): the shares of its vCPUs that were last seen on c, and its other threads
  (emulator, vhost …) spread over all cores, as are the host's own processes (busy time less all VMs'). Then

      share(u, v) = Σ_t Σ_i s_i(t) · d_u(c_i(t), t) / D_i(t)  ÷  Σ_t Σ_i s_i(t)

  where D_i(t) is the sum of d over all u, without vCPU i itself. Shares add up to 1. v may be among its own u: its
  vCPUs can stand in each other's way.
- memory: what each VM's resident memory grew by over the window, as a share of all growth; where nothing grew, its
  share of all VMs' resident memory, without v's.
- a disk: the bytes of each VM on the host devices that hold v's disks, v's own included, as a share of all VMs' bytes
  there; where no device is known, the share of all bytes that the VMs' processes read and wrote.

A VM's core is known at the end of a cycle only, so shares of one cycle are rough where vCPUs move; over the window they
even out. On a core, and among the other threads, the `_APART` largest are told apart; the rest counts as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from proxtop.model import EMPTY, Table, Value
from proxtop.rates import owner_of

Resource = Literal["cpu", "memory", "disk"]
Tables = Mapping[str, Table]

HOST = ""
"""The taker that is no VM: the host's own processes."""

WINDOW = 5
"""Cycles over which takers are counted."""

_APART = 32
_REST = "rest"

NEEDS: Mapping[str, tuple[str, ...]] = {
    "host": ("cpu_cores", "cpu_idle", "cpu_iowait"),
    "vm": ("name", "cpu_cores", "cpu_total", "cpu_steal", "cpu_other_total", "psi_some_mem", "psi_some_io",
           "disk_lat_avg", "ram_rss", "io_MBRD/s", "io_MBWR/s"),
    "vcpu": ("vcpu_total", "vcpu_steal", "vcpu_cpu"),
    "disk": ("disk_device", "disk_mbread", "disk_mbwrite"),
}  # fmt: skip
"""The tables and columns that are read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a VM waits: shares of the cycle in %, latencies in ms."""

    steal: float = 5.0
    memory: float = 5.0
    io: float = 5.0
    latency_ms: float = 20.0
    latency_times: float = 3.0
    latency_least_ms: float = 2.0


@dataclass(frozen=True, slots=True)
class Taker:
    """Who took what another VM waits for: its UUID (HOST for the host itself), and its share, 0 to 1."""

    vm: str
    share: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A VM that waits: for what, which metric says so with which value, what is normal for it (latency only), how far
    above its limit it is."""

    vm: str
    resource: Resource
    metric: str
    value: float
    severity: float
    normal: float | None = None


def waits(now: Tables, recent: Mapping[str, Sequence[float]], limits: Limits) -> list[Wait]:
    """The VMs that wait in this cycle, the worst first; one entry for each resource. `recent` has each VM's latencies
    (ms) of the cycles before."""
    vm = now.get("vm", EMPTY)
    found = []
    steal, memory, io, latency = (
        _column(vm, name) for name in ("cpu_steal", "psi_some_mem", "psi_some_io", "disk_lat_avg")
    )
    for place, key in enumerate(vm.ids):
        if (value := steal[place]) is not None and value >= limits.steal > 0:
            found.append(Wait(key, "cpu", "cpu_steal", value, value / limits.steal))
        if (value := memory[place]) is not None and value >= limits.memory > 0:
            found.append(Wait(key, "memory", "psi_some_mem", value, value / limits.memory))
        disk = [wait for wait in (_pressed(key, io[place], limits), _slow(key, latency[place], recent, limits)) if wait]
        if disk:
            found.append(max(disk, key=lambda wait: wait.severity))
    return sorted(found, key=lambda wait: (-wait.severity, wait.vm, wait.resource))


def _pressed(vm: str, value: float | None, limits: Limits) -> Wait | None:
    if value is None or not 0 < limits.io <= value:
        return None
    return Wait(vm, "disk", "psi_some_io", value, value / limits.io)


def _slow(vm: str, value: float | None, recent: Mapping[str, Sequence[float]], limits: Limits) -> Wait | None:
    if value is None:
        return None
    before = recent.get(vm, ())
    normal = median(before) if len(before) >= WINDOW else None
    limit = limits.latency_ms
    if normal is not None:
        limit = min(limit, max(limits.latency_times * normal, limits.latency_least_ms))
    return Wait(vm, "disk", "disk_lat_avg", value, value / limit, normal) if value >= limit > 0 else None


@dataclass(frozen=True, slots=True)
class _Ran:
    """What ran in one place, in % of a core: by VM, the largest first, and in all."""

    by_vm: dict[str, float]
    largest: tuple[tuple[str, float], ...]
    total: float


@dataclass(frozen=True, slots=True)
class _Cycle:
    """A cycle of the window: what ran on each core, and on all alike, and each VM's vCPUs (core, ran, waited)."""

    cores: dict[int, _Ran]
    everywhere: _Ran
    vcpus: dict[str, list[tuple[int, float, float]]]


class Takers:
    """Who took what, over the cycles of a window (the newest last), each with the tables and columns of NEEDS."""

    def __init__(self, window: Sequence[Tables]) -> None:
        self._window = window
        self._cycles: list[_Cycle] | None = None

    def of(self, wait: Wait) -> list[Taker]:
        """Who took what this VM waits for, the most first; shares below half a percent are left out."""
        if wait.resource == "cpu":
            shares = self._cpu(wait.vm)
        elif wait.resource == "memory":
            shares = self._memory(wait.vm)
        else:
            shares = self._disk(wait.vm)
        whole = sum(shares.values())
        if whole <= 0:
            return []
        takers = [
            Taker(vm, value / whole) for vm, value in shares.items() if value / whole >= 0.005 and vm is not _REST
        ]
        return sorted(takers, key=lambda taker: (-taker.share, taker.vm))

    def where(self, wait: Wait) -> tuple[str, ...]:
        """The cores on which it waited, or the devices that hold its disks."""
        if wait.resource == "cpu":
            cores = {core for cycle in self._all() for core, _, waited in cycle.vcpus.get(wait.vm, ()) if waited > 0}
            return tuple(str(core) for core in sorted(cores))
        if wait.resource == "disk" and self._window:
            return tuple(sorted(_devices(self._window[-1], wait.vm)))
        return ()

    def _all(self) -> list[_Cycle]:
        if self._cycles is None:
            self._cycles = [_cycle(tables) for tables in self._window]
        return self._cycles

    def _cpu(self, victim: str) -> dict[str, float]:
        shares: dict[str, float] = {}
        whole = 0.0
        for cycle in self._all():
            alike = 0.0
            for core, ran, waited in cycle.vcpus.get(victim, ()):
                used = cycle.cores[core]
                rest = used.total + cycle.everywhere.total - ran
                if waited <= 0 or rest <= 0:
                    continue
                whole += waited
                factor = waited / rest
                alike += factor
                for vm, share in used.largest:
                    if vm != victim:
                        shares[vm] = shares.get(vm, 0.0) + factor * share
                shares[victim] = shares.get(victim, 0.0) + factor * (used.by_vm[victim] - ran)
            if alike:
                for vm, share in cycle.everywhere.largest:
                    shares[vm] = shares.get(vm, 0.0) + alike * share
        shares[_REST] = max(0.0, whole - sum(shares.values()))
        return shares

    def _memory(self, victim: str) -> dict[str, float]:
        if not self._window:
            return {}
        now, then = (_numbers(tables.get("vm", EMPTY), "ram_rss") for tables in (self._window[-1], self._window[0]))
        grown = {vm: rss - then[vm] for vm, rss in now.items() if vm in then and rss > then[vm]}
        return grown or {vm: rss for vm, rss in now.items() if vm != victim}

    def _disk(self, victim: str) -> dict[str, float]:
        shares: dict[str, float] = {}
        for tables in self._window:
            devices = _devices(tables, victim)
            if devices:
                disk = tables.get("disk", EMPTY)
                names = disk.columns.get("disk_device", [])
                read, written = _column(disk, "disk_mbread"), _column(disk, "disk_mbwrite")
                for place, key in enumerate(disk.ids):
                    if names[place] in devices:
                        vm = owner_of(key)
                        shares[vm] = shares.get(vm, 0.0) + (read[place] or 0.0) + (written[place] or 0.0)
            else:
                for name in ("io_MBRD/s", "io_MBWR/s"):
                    for vm, value in _numbers(tables.get("vm", EMPTY), name).items():
                        shares[vm] = shares.get(vm, 0.0) + value
        return shares


def _cycle(tables: Tables) -> _Cycle:
    vcpu = tables.get("vcpu", EMPTY)
    cores: dict[int, dict[str, float]] = {}
    vcpus: dict[str, list[tuple[int, float, float]]] = {}
    running = 0.0
    columns = (_column(vcpu, name) for name in ("vcpu_cpu", "vcpu_total", "vcpu_steal"))
    for key, core, ran, waited in zip(vcpu.ids, *columns, strict=True):
        if core is None or ran is None or waited is None:
            continue
        vm = owner_of(key)
        used = cores.setdefault(int(core), {})
        used[vm] = used.get(vm, 0.0) + ran
        running += ran
        vcpus.setdefault(vm, []).append((int(core), ran, waited))
    host = tables.get("host", EMPTY)
    count, idle, iowait = (_first(host, name) for name in NEEDS["host"])
    size = count or len(cores) or 1.0
    others = {
        vm: value / size for vm, value in _numbers(tables.get("vm", EMPTY), "cpu_other_total").items() if value > 0
    }
    if idle is not None:
        busy = 100.0 - idle - (iowait or 0.0)
        own = busy - running / size - sum(others.values())
        if own > 0:
            others[HOST] = own
    return _Cycle({core: _ran(used) for core, used in cores.items()}, _ran(others), vcpus)


def _ran(used: dict[str, float]) -> _Ran:
    largest = sorted(used.items(), key=lambda item: -item[1])[:_APART]
    return _Ran(used, tuple(largest), sum(used.values()))


def _devices(tables: Tables, vm: str) -> set[str]:
    disk = tables.get("disk", EMPTY)
    names = disk.columns.get("disk_device", [])
    return {str(name) for key, name in zip(disk.ids, names, strict=False) if name is not None and owner_of(key) == vm}


def _column(table: Table, name: str) -> list[float | None]:
    values: Sequence[Value] = table.columns.get(name) or [None] * len(table.ids)
    return [value if isinstance(value, int | float) else None for value in values]


def _numbers(table: Table, name: str) -> dict[str, float]:
    return {key: value for key, value in zip(table.ids, _column(table, name), strict=True) if value is not None}


def _first(table: Table, name: str) -> float | None:
    column = _column(table, name)
    return column[0] if column else None
