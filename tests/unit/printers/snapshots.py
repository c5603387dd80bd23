"""Snapshots for the printers' tests: every metric of the catalog, with a number that only depends on its place."""

from __future__ import annotations

from proxtop import catalog
from proxtop.catalog import Metric, Scope
from proxtop.model import Sample, Snapshot, Stamp, Table, Value

STAMP = Stamp(node="web", epoch=1, seq=7, cycle=1_700_000_002_000, time=1_700_000_002.0125, mono=50.5)
FAMILIES = tuple(catalog.FAMILIES)


def value(metric: Metric, row: int, place: int) -> Value:
    """A number, name or null, ever the same for a metric's place."""
    if metric.kind == "info":
        return f"{metric.name}-{row}"
    if place % 11 == 10:
        return None
    if metric.kind == "gauge" and metric.unit != "MHz":
        return 1000 * (row + 1) + place
    return round(row + place / 7, 9)


def table(scope: Scope, ids: list[str]) -> Table:
    """All metrics of that table for these rows."""
    metrics = list(catalog.metrics(scope, FAMILIES, verbose=True))
    return Table(ids, {m.name: [value(m, row, place) for row in range(len(ids))] for place, m in enumerate(metrics)})


def snapshot(names: list[str], *, vcpus: int = 2, parts: int = 1) -> Snapshot:
    """A host with two disks and two interfaces, and VMs of these names with some parts each."""
    uuids = [f"00000000-0000-0000-0000-{number:012d}" for number in range(len(names))]
    vm = table("vm", uuids)
    vm.columns["name"] = list(names)
    vm.columns["pid"] = [1000 + row for row in range(len(names))]
    vm.columns["vmid"] = [100 + row for row in range(len(names))]
    device = table("device", ["sda", "sdb", "dm-0"])
    device.columns["disk_device_type"] = ["disk", "disk", "lvm"]
    device.columns["disk_device_name"] = ["sda", "sdb", "vg-root"]
    interface = table("interface", ["eth0", "eth1", "vmbr0"])
    interface.columns["net_host_type"] = ["physical", "physical", "bridge"]
    each = {
        "vcpu": [f"{uuid}/{number}" for uuid in uuids for number in range(vcpus)],
        "thread": [f"{uuid}/{role}" for uuid in uuids for role in ("emulator", "vhost")],
        "disk": [f"{uuid}/vd{chr(97 + number)}" for uuid in uuids for number in range(parts)],
        "nic": [f"{uuid}/tap{number}" for uuid in uuids for number in range(parts)],
    }
    tables = {scope: table(scope, ids) for scope, ids in each.items()}  # type: ignore[arg-type]
    tables |= {"host": table("host", ["web"]), "vm": vm, "device": device, "interface": interface}
    return Snapshot(tables, span=2.0, families=FAMILIES, connector="libvirt")


def samples(shown: Snapshot) -> dict[str, Sample]:
    """Counters of every family for the rows of that snapshot."""
    result = {}
    for name, family in catalog.FAMILIES.items():
        tables = {}
        for scope in {column.table for column in family.columns}:
            ids = shown.tables[scope].ids
            columns = [column for column in family.columns if column.table == scope]
            tables[scope] = Table(
                ids,
                {
                    column.name: [(row + 1) * 1_000_000_007 + place for row in range(len(ids))]
                    for place, column in enumerate(columns)
                },
            )
        result[name] = Sample(name, tables, refresh=2.0)
    return result
