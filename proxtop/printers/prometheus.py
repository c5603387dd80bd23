"""Prometheus text exposition 0.0.4, clean under `promtool check metrics`: base units, one gauge per metric.

Names are proxtop_SCOPE_METRIC_UNIT with the catalog's names in snake case: % become a ratio, KB and MB bytes, ms
seconds (cpu_total of a VM is proxtop_vm_cpu_total_ratio). A value that is unknown has no line. What is a name stands in
one series proxtop_SCOPE_info. Where the raw counters are at hand they follow as proxtop_SCOPE_…_total, for rate();
those of a family that is stale have no line either: they would say that all stands still.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from proxtop import catalog
from proxtop.catalog import Column, Metric, Scope
from proxtop.model import Sample, Stamp, Table, Value
from proxtop.printers.base import Printer
from proxtop.view import HOST_PARTS, VM_PARTS, Rows, Selection

USER_HZ = 100
"""Ticks of a second in /proc: 100 on every architecture that runs KVM."""

_UNITS: dict[str, tuple[str, int, int]] = {
    "": ("", 1, 1),
    "%": ("ratio", 1, 100),
    "bytes": ("bytes", 1, 1),
    "KB": ("bytes", 1 << 10, 1),
    "bytes/s": ("bytes_per_second", 1, 1),
    "KB/s": ("bytes_per_second", 1 << 10, 1),
    "MB/s": ("bytes_per_second", 1 << 20, 1),
    "Mbit/s": ("bytes_per_second", 125_000, 1),
    "1/s": ("per_second", 1, 1),
    "s": ("seconds", 1, 1),
    "ms": ("seconds", 1, 1000),
    "ms/s": ("seconds_per_second", 1, 1000),
    "MHz": ("hertz", 1_000_000, 1),
}
"""unit of the catalog → (ending of the name, multiplier, divisor)"""

_COUNTER_UNITS: dict[str, tuple[str, int, int]] = {
    "": ("", 1, 1),
    "1": ("", 1, 1),
    "ns": ("seconds", 1, 1_000_000_000),
    "us": ("seconds", 1, 1_000_000),
    "ticks": ("seconds", 1, USER_HZ),
    "bytes": ("bytes", 1, 1),
    "KB": ("bytes", 1 << 10, 1),
}

_RENAMED = {
    "io_MBRD/s": "io_read_bytes",
    "io_MBWR/s": "io_write_bytes",
    "io_RDOPS": "io_syscr",
    "io_WROPS": "io_syscw",
    "disk_mbread": "disk_read",
    "disk_mbwrite": "disk_written",
    "disk_device_mbread": "disk_device_read",
    "disk_device_mbwrite": "disk_device_written",
    "disk_device_count": "disk_devices",
    "thread_count": "thread_threads",
    "ram_HugePagesTotal": "ram_huge_pages",
    "ram_SecPageTables": "ram_secondary_page_tables",
}
"""Names that say a unit which they lose here, look like one, or end as only counters may."""

_RENAMED_COUNTERS = {
    "rchar": "rchar_bytes",
    "wchar": "wchar_bytes",
    "ms_reading": "reading_seconds",
    "ms_writing": "writing_seconds",
    "ms_io": "io_seconds",
    "ms_weighted": "io_weighted_seconds",
    "sectors_read": "read_bytes",
    "sectors_written": "written_bytes",
}
_FACTORS = {"ms": (1, 1000), "sectors": (512, 1)}

_STRIPPED: dict[Scope, str] = {
    "host": "host_",
    "vcpu": "vcpu_",
    "thread": "thread_",
    "disk": "disk_",
    "nic": "net_",
    "device": "disk_device_",
    "interface": "net_host_",
}
_SCOPE_NAMES: dict[Scope, str] = {"disk": "vdisk"}
_FAMILY_PREFIX = {"cpu": "cpu_", "mem": "ram_", "disk": "disk_", "net": "net_", "io": "io_"}


@dataclass(frozen=True, slots=True)
class Exposed:
    """A metric as Prometheus sees it: its name, and what its value is multiplied with and divided by."""

    name: str
    kind: str
    help: str
    multiplier: int = 1
    divisor: int = 1

    def series(self, labels: Iterable[str], values: Iterable[Value]) -> list[str]:
        """The lines of this metric; none at all where no value is known."""
        name, mul, div = self.name, self.multiplier, self.divisor
        lines = []
        for label, value in zip(labels, values, strict=True):
            if type(value) is float:
                if math.isfinite(scaled := value * mul / div):
                    lines.append(f"{name}{label} {scaled:.12g}\n")
            elif type(value) is int:
                lines.append(f"{name}{label} {value * mul if div == 1 else repr(value * mul / div)}\n")
        if lines:
            lines.insert(0, f"# HELP {name} {_help(self.help)}\n# TYPE {name} {self.kind}\n")
        return lines


class PrometheusPrinter(Printer):
    """One record is a whole exposition. VMs are labelled with node, uuid and name; their parts also with vcpu, role,
    disk or nic; the host with node; its devices also with device or interface. Parts come with --verbose, but the
    counters of vCPUs, disks and NICs always, since VMs have none of their own."""

    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        labels = _Labels(stamp.node, selection)
        seen: set[str] = set()
        lines = self._about(selection, stamp, labels)
        scopes: list[tuple[Scope, Rows]] = [("host", selection.host), ("vm", selection.vm), *selection.parts.items()]
        for scope, rows in scopes:
            row_labels = labels.of(scope, rows.ids)
            lines += _info(scope, rows, row_labels)
            for metric, column in zip(rows.metrics, rows.columns, strict=True):
                if metric.kind != "info" and (exposed := expose(metric)).name not in seen:
                    seen.add(exposed.name)
                    lines += exposed.series(row_labels, column)
        for family in self.view.families:
            if family in samples and family not in selection.stale:  # else they are those of an earlier cycle
                lines += self._counters(samples[family], labels, selection)
        return [line.encode("utf-8", "replace") for line in lines]

    def _about(self, selection: Selection, stamp: Stamp, labels: _Labels) -> list[str]:
        node = labels.of("host", [stamp.node])
        families = [f"{node[0][:-1]},family={_quoted(family)}}}" for family in self.view.families]
        up = [int(family not in selection.stale) for family in self.view.families]
        return [
            *Exposed("proxtop_snapshot_time_seconds", "gauge", "when this cycle was taken").series(node, [stamp.time]),
            *Exposed("proxtop_vms", "gauge", "VMs shown").series(node, [len(selection.vm.ids)]),
            *Exposed("proxtop_family_up", "gauge", "whether the family had values in this cycle").series(families, up),
        ]

    def _counters(self, sample: Sample, labels: _Labels, selection: Selection) -> list[str]:
        lines = []
        for column in catalog.FAMILIES[sample.family].columns:
            scope = column.table
            table = sample.tables.get(scope)
            if column.kind != "counter" or scope == "thread" or table is None or column.name not in table.columns:
                continue
            rows = _shown(scope, table, labels, selection)
            values = table.columns[column.name]
            lines += expose_counter(sample.family, column).series(
                labels.of(scope, [table.ids[row] for row in rows]), [values[row] for row in rows]
            )
        return lines


class _Labels:
    """The label sets of rows, the VMs' made once a cycle."""

    def __init__(self, node: str, selection: Selection) -> None:
        self._node = f"{{node={_quoted(node)}"
        self.vms = {
            uuid: f"{self._node},uuid={_quoted(uuid)},name={_quoted(name)}"
            for uuid, name in zip(selection.vm.ids, selection.names, strict=True)
        }

    def of(self, scope: Scope, ids: Sequence[str]) -> list[str]:
        if scope == "host":
            return [f"{self._node}}}" for _ in ids]
        if scope == "vm":
            return [f"{self.vms[key]}}}" for key in ids]
        if scope in VM_PARTS:
            label = "role" if scope == "thread" else scope
            split = [key.partition("/") for key in ids]
            return [f"{self.vms[uuid]},{label}={_quoted(part)}}}" for uuid, _, part in split]
        return [f"{self._node},{scope}={_quoted(key)}}}" for key in ids]


def _shown(scope: Scope, table: Table, labels: _Labels, selection: Selection) -> list[int]:
    if scope == "host":
        return [0] if table.ids else []
    if scope in HOST_PARTS:
        ids = frozenset(selection.parts[scope].ids) if scope in selection.parts else frozenset[str]()
        return [row for row, key in enumerate(table.ids) if key in ids]
    return [row for row, key in enumerate(table.ids) if key.partition("/")[0] in labels.vms]


def _info(scope: Scope, rows: Rows, labels: list[str]) -> list[str]:
    named = [
        (_stem(metric), column)
        for metric, column in zip(rows.metrics, rows.columns, strict=True)
        if metric.kind == "info"
    ]
    marks = []
    for place, label in enumerate(labels):
        known = [f"{key}={_quoted(str(column[place]))}" for key, column in named if column[place] is not None]
        if known:
            marks.append(f"{label[:-1]},{','.join(known)}}}")
    name = f"proxtop_{_SCOPE_NAMES.get(scope, scope)}_info"
    return Exposed(name, "gauge", f"names that belong to this {scope}; always 1").series(marks, [1] * len(marks))


@cache
def expose(metric: Metric) -> Exposed:
    """The gauge of a metric."""
    ending, multiplier, divisor = _UNITS[metric.unit]
    name = f"proxtop_{_SCOPE_NAMES.get(metric.scope, metric.scope)}_{_stem(metric)}"
    if ending and not name.endswith(f"_{ending}"):
        name = name.removesuffix("_bytes") if ending.startswith("bytes") else name
        name = f"{name}_{ending}"
    text = metric.help.replace(", 0-100", "").replace("in % of one core", "as a share of one core")
    return Exposed(name, "gauge", text, multiplier, divisor)


@cache
def expose_counter(family: str, column: Column) -> Exposed:
    """The counter of a sampled column."""
    scope = column.table
    ending, multiplier, divisor = _COUNTER_UNITS[column.unit]
    stem = _RENAMED_COUNTERS.get(column.name, column.name)
    if scope == "device":
        multiplier, divisor = _FACTORS.get(column.name.partition("_")[0], (multiplier, divisor))
    if ending:
        stem = re.sub(r"_(ns|us|kb|ticks|bytes)$", "", stem) + f"_{ending}"
    stem = re.sub(r"^rx_", "received_", re.sub(r"^tx_", "transmitted_", stem))
    prefix = _FAMILY_PREFIX.get(family, "") if scope in ("host", "vm") else ""
    name = f"proxtop_{_SCOPE_NAMES.get(scope, scope)}_{prefix}{stem}_total"
    return Exposed(name, "counter", f"{column.help}, since its start", multiplier, divisor)


def _stem(metric: Metric) -> str:
    name = _RENAMED.get(metric.name, metric.name)
    if metric.scope == "host":
        name = re.sub("^net_host_", "net_", name)
    name = name.removeprefix(_STRIPPED.get(metric.scope, "")) or name
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.sub(r"[^a-z0-9_]", "_", snake)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
