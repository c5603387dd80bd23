"""The views: which rows each one shows, which columns it has and which of them at first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from proxtop import catalog
from proxtop.catalog import Metric, Scope


@dataclass(frozen=True, slots=True)
class View:
    """One view: a table of VMs or of the host's devices.

    `families` are those whose fields it has; `kind` is the type of the devices that it shows; `part` the table whose
    rows `e` puts below a VM; `first` are the columns that come first; `host` those of the host panel.
    """

    name: str
    title: str
    help: str
    scope: Scope = "vm"
    families: tuple[str, ...] = ()
    kind: str = ""
    part: Scope = "vcpu"
    sort: str = "name"
    first: tuple[str, ...] = ()
    host: tuple[str, ...] = ()


_ALL = tuple(catalog.FAMILIES)
_CPU = ("cpu_cores", "cpu_curfreq", "cpu_user", "cpu_system", "cpu_idle", "cpu_steal")
_MEM = ("ram_Total", "ram_Free", "ram_Available")
_DISK = ("disk_device_reads", "disk_device_writes", "disk_device_mbread", "disk_device_mbwrite", "disk_device_ioutil",
         "disk_device_await", "disk_device_queuelen")  # fmt: skip
_NET = ("net_host_receivedBytes", "net_host_transmittedBytes", "net_host_speed")
_PSI = ("psi_some_cpu_avg60", "psi_some_io_avg60", "psi_full_io_avg60", "psi_some_mem_avg60", "psi_full_mem_avg60")

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("all", "ALL", "all metrics", families=_ALL, sort="cpu_total",
             first=("cpu_total", "cpu_steal", "cpu_cores", "ram_used", "ram_total", "disk_mbread", "disk_mbwrite",
                    "disk_lat_avg", "net_receivedBytes", "net_transmittedBytes"),
             host=("host_name", *_CPU, "ram_Total", "ram_Available", "disk_device_mbread", "disk_device_mbwrite",
                   "disk_device_ioutil", *_NET, *_PSI)),
        View("cpu", "CPU", "CPU metrics only", families=("cpu",), sort="cpu_total", first=("cpu_total", "cpu_steal"),
             host=(*_CPU, "psi_some_cpu_avg60")),
        View("mem", "MEMORY", "memory metrics only", families=("mem",), sort="ram_used",
             host=(*_MEM, "psi_some_mem_avg60", "psi_full_mem_avg60")),
        View("disk", "DISK", "disk metrics only", families=("disk",), part="disk", sort="disk_ioutil",
             first=("disk_ioutil", "disk_reads", "disk_writes", "disk_mbread", "disk_mbwrite", "disk_lat_rd",
                    "disk_lat_wr", "disk_lat_fl", "disk_lat_avg"),
             host=(*_DISK, "psi_some_io_avg60", "psi_full_io_avg60")),
        View("net", "NETWORK", "network metrics only", families=("net",), part="nic", sort="net_receivedBytes",
             host=_NET),
        View("io", "I/O", "I/O metrics only", families=("io",), part="disk", sort="io_MBWR/s",
             host=(*_DISK, "psi_some_io_avg60", "psi_full_io_avg60")),
        View("nics", "PHYSICAL NICS", "physical network interfaces", "interface", ("net",), "physical",
             sort="net_host_receivedBytes",
             first=("net_host_receivedBytes", "net_host_transmittedBytes", "net_host_speed"), host=_NET),
        View("disks", "PHYSICAL DISKS", "physical storage devices", "device", ("disk",), "disk",
             sort="disk_device_ioutil", host=_DISK),
        View("lvm", "LVM", "LVM logical volumes", "device", ("disk",), "lvm", sort="disk_device_ioutil", host=_DISK),
        View("multipath", "MULTIPATH", "multipath devices", "device", ("disk",), "multipath",
             sort="disk_device_ioutil", host=_DISK),
        View("contention", "WHO HURTS WHOM", "who hurts whom",
             families=("cpu", "mem", "disk", "psi"), host=(*_CPU, *_PSI)),
    )
}  # fmt: skip
"""The views by name, in the order of the help."""

_PSI_OF = {"cpu": "cpu", "mem": "mem", "disk": "io", "io": "io"}

UUID = Metric("uuid", "vm", "", "info", "UUID", "connector", "the VM's UUID")
NAME = Metric("name", "vm", "", "info", "NAME", "connector", "the VM's name")
NODE = Metric("node", "vm", "", "info", "HOST", "aggregator", "the host that the VM runs on")
VMID = Metric("vmid", "vm", "", "info", "VMID", "Proxmox VE", "the VM's number on Proxmox VE", True)
PID = Metric("pid", "vm", "", "info", "PID", "connector", "its process on the host", True)
ANOMALY = Metric(
    "profile_anomaly", "vm", "", "gauge", "ANOM", "profiler", "how unusual it is now, in standard deviations"
)
DEVICE = Metric("device", "device", "", "info", "DEVICE", "kernel", "the device's name")
FRIENDLY = Metric("disk_device_name", "device", "", "info", "NAME", "/sys/block", "its friendly name")

IDENTITY = (UUID, NAME, NODE, VMID, PID)
NAMES = frozenset({"uuid", "name", "node", "device", "disk_device_name"})
"""Columns of text, at the left; the rest are numbers, at the right of their columns."""


@lru_cache
def columns(name: str, families: tuple[str, ...]) -> tuple[Metric, ...]:
    """Every column that the view can have with these families, in its order at first."""
    view = VIEWS[name]
    shown = [family for family in view.families if family in families]
    metrics = list(catalog.metrics(view.scope, shown, verbose=True))
    if view.scope != "vm":
        fixed: tuple[Metric, ...] = (DEVICE, FRIENDLY) if view.kind in ("lvm", "multipath") else (DEVICE,)
        metrics = [metric for metric in metrics if metric.kind != "info"]
    else:
        fixed = IDENTITY
        resource = _PSI_OF.get(name)
        if resource and "psi" in families:
            pressure = catalog.metrics("vm", ("psi",), verbose=True)
            metrics += [_hidden(metric) for metric in pressure if f"_{resource}" in metric.name]
    leading = [metric for wanted in view.first for metric in metrics if metric.name == wanted]
    if name in ("all", "cpu"):
        leading.insert(0, ANOMALY)
    return (*fixed, *leading, *(metric for metric in metrics if metric not in leading))


def _hidden(metric: Metric) -> Metric:
    return Metric(metric.name, metric.scope, metric.unit, metric.kind, metric.label, metric.source, metric.help, True)


@lru_cache
def host_fields(name: str, families: tuple[str, ...]) -> tuple[Metric, ...]:
    """Every field that the host panel can have in this view, its first ones first."""
    view = VIEWS[name]
    wanted = [catalog.metric("host", field) for field in view.host]
    first = [metric for metric in wanted if metric is not None and _family(metric) in families]
    shown = [family for family in view.families if family in families]
    rest = [m for m in catalog.metrics("host", shown, verbose=True) if m not in first]
    return (*first, *rest)


@lru_cache
def _families() -> dict[str, str]:
    return {m.name: name for name, family in catalog.FAMILIES.items() for m in family.metrics if m.scope == "host"}


def _family(metric: Metric) -> str:
    return _families()[metric.name]


def first_columns(name: str, families: tuple[str, ...], *, verbose: bool = False) -> tuple[str, ...]:
    """The names of the columns shown at first: verbose ones with `verbose` only."""
    return tuple(metric.name for metric in columns(name, families) if verbose or not metric.verbose)


def first_host(name: str, families: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the fields that the host panel shows at first."""
    return tuple(field for field in VIEWS[name].host if field in {m.name for m in host_fields(name, families)})


def shown(
    name: str, families: tuple[str, ...], chosen: Mapping[str, tuple[str, ...]], *, verbose: bool = False
) -> tuple[Metric, ...]:
    """The columns that the view shows, in their order; `chosen` has the user's choice by view."""
    there = {metric.name: metric for metric in columns(name, families)}
    names: Collection[str] = chosen.get(name) or first_columns(name, families, verbose=verbose)
    return tuple(there[field] for field in names if field in there)
