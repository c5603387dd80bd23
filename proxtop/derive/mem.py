"""Memory: gauges mostly; faults and the guest's swapping as rates."""

from __future__ import annotations

from proxtop.derive.base import OwnTimes, Reading, Tables, deltas
from proxtop.model import Table
from proxtop.rates import Deltas, Numbers, each, less, number_column, values

_FAULTS = ("minflt", "majflt", "cminflt", "cmajflt")
_SWAP = ("swap_in_kb", "swap_out_kb")


class MemDerivation:
    """The host's meminfo as it is; each VM's maximum, use, and what it costs the host."""

    def __init__(self) -> None:
        self._swap = OwnTimes(_SWAP)

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host and vm."""
        tables: Tables = {}
        host, vm = after.table("host"), after.table("vm")
        if host is not None:
            tables["host"] = host
        faults = deltas("vm", before, after, _FAULTS)
        if vm is None or faults is None:
            return tables
        (swap_in, swap_out), _ = self._swap.rates(
            vm,
            number_column(vm, "balloon_at"),
            after.mono,
            max(after.sample.refresh, after.mono - before.mono if before else 0.0),
            _swap_rates,
        )
        most = number_column(vm, "total_kb")
        actual = number_column(vm, "actual_kb")
        available = number_column(vm, "available_kb")
        unused = number_column(vm, "unused_kb")
        usable = number_column(vm, "usable_kb")
        columns: dict[str, Numbers] = {
            "ram_total": most,
            "ram_used": less(available, unused),
            "ram_max": most,
            "ram_current": actual,
            "ram_free": unused,
            "ram_balloon": each(_at_least_zero, less(most, actual)),
            "ram_active": each(_active, available, usable),
            "ram_rss": number_column(vm, "rss_kb"),
            "ram_vsize": number_column(vm, "vsize_kb"),
            "ram_swap": number_column(vm, "swap_kb"),
            "ram_swapin": swap_in,
            "ram_swapout": swap_out,
            **{f"ram_{name}": faults.rate(name) for name in _FAULTS},
        }
        tables["vm"] = Table(vm.ids, {name: values(column) for name, column in columns.items()})
        return tables


def _swap_rates(gains: Deltas) -> tuple[Numbers, Numbers]:
    return gains.rate("swap_in_kb"), gains.rate("swap_out_kb")


def _at_least_zero(value: float | None) -> float | None:
    return None if value is None else max(0, value)


def _active(all_kb: float | None, can_kb: float | None) -> float | None:
    """What of a guest's memory it could not give away at once, in %."""
    return None if all_kb is None or can_kb is None or not all_kb else 100 * (all_kb - can_kb) / all_kb
