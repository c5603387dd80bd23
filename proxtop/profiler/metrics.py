"""What is profiled of a VM: one number for each family, and the range that it can have.

The names cpu, io and net, and what they stand for, are the Go original's: cpu is what a VM wants (used and waited for).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from proxtop.model import EMPTY, Snapshot, Table, Value
from proxtop.profiler.discretise import Bounds

Numbers = list[float | None]
Row = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A profiled number: the sum of some columns of the table of VMs. `limit` gives the most that it can be, from the
    VM's row and the host's; the least is 0. A difference below `grain` is
    none."""

    name: str
    family: str
    unit: str
    columns: tuple[str, ...]
    limit: Callable[[Row, Row], float | None]
    grain: float
    help: str


def _percent(vm: Row, host: Row) -> float | None:
    return 100.0


def _memory(vm: Row, host: Row) -> float | None:
    return vm.get("ram_total")


def _link(vm: Row, host: Row) -> float | None:
    speed = host.get("net_host_speed")
    return None if not speed else 2 * speed * 1e6 / 8


def _unknown(vm: Row, host: Row) -> float | None:
    return None


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("cpu", "cpu", "%", ("cpu_total", "cpu_steal"), _percent, 1.0,
                "what its vCPUs wanted: used and waited for a core, mean over the vCPUs"),
        Measure("cpu_used", "cpu", "%", ("cpu_total",), _percent, 1.0,
                "what its vCPUs used, mean over the vCPUs"),
        Measure("mem", "mem", "KB", ("ram_used",), _memory, 65536.0,
                "memory in use as the guest reports it"),
        Measure("disk", "disk", "%", ("disk_ioutil",), _percent, 1.0,
                "its share of its device's busy time"),
        Measure("net", "net", "bytes/s", ("net_receivedBytes", "net_transmittedBytes"), _link, 1000.0,
                "received and transmitted; at most the host's links both ways"),
        Measure("io", "io", "MB/s", ("io_MBRD/s", "io_MBWR/s"), _unknown, 0.01,
                "fetched from and sent to storage"),
    )
}  # fmt: skip
"""By name, in the order in which they are shown."""

_ABOUT = ("cpu_cores", "ram_total")


def measures(families: Collection[str]) -> tuple[Measure, ...]:
    """Those of these families."""
    return tuple(measure for measure in MEASURES.values() if measure.family in families)


def unit_of(metric: str) -> str:
    """The unit of a metric; none of one that only another version knows, whose profiles are read all the same."""
    measure = MEASURES.get(metric)
    return "" if measure is None else measure.unit


@dataclass(frozen=True, slots=True)
class Reading:
    """One VM in one cycle: its values by metric, None where unknown."""

    uuid: str
    name: str
    vcpus: int | None
    values: dict[str, float | None]
    bounds: Mapping[str, Bounds | None]


def readings(snapshot: Snapshot, wanted: tuple[Measure, ...], *, bounds: bool) -> Iterator[Reading]:
    """Each VM of a cycle; their bounds are worked out only where they are wanted."""
    table = snapshot.tables.get("vm", EMPTY)
    names = [measure.name for measure in wanted]
    columns = [_sum(table, measure.columns) for measure in wanted]
    labels = table.columns.get("name") or [""] * len(table.ids)
    about = {name: _numbers(table, name) for name in _ABOUT}
    host = _host(snapshot)
    for place, (uuid, label, row) in enumerate(zip(table.ids, labels, zip(*columns, strict=True), strict=True)):
        vm = {name: column[place] for name, column in about.items()}
        cores = vm["cpu_cores"]
        limits = {measure.name: _range(measure.limit(vm, host)) for measure in wanted} if bounds else {}
        yield Reading(
            uuid, str(label), None if cores is None else int(cores), dict(zip(names, row, strict=True)), limits
        )


def _range(limit: float | None) -> Bounds | None:
    return None if not limit or limit <= 0 else (0.0, float(limit))


def _host(snapshot: Snapshot) -> Row:
    table = snapshot.tables.get("host", EMPTY)
    return {name: _number(column[0]) for name, column in table.columns.items() if column}


def _sum(table: Table, names: tuple[str, ...]) -> Numbers:
    first, *rest = (_numbers(table, name) for name in names)
    for column in rest:
        first = [None if a is None or b is None else a + b for a, b in zip(first, column, strict=True)]
    return first


def _numbers(table: Table, name: str) -> Numbers:
    column = table.columns.get(name)
    if column is None:
        return [None] * len(table.ids)
    if set(map(type, column)) <= {int, float, type(None)}:
        return cast(Numbers, column)
    return [_number(value) for value in column]


def _number(value: Value) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
