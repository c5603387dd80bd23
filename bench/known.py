"""What a snapshot of the generated tree has to say, worked out from the tree alone: formulas of docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from bench import tree
from bench.tree import Host, Vm
from proxtop.catalog.io import FIELDS as IO_FIELDS
from proxtop.catalog.net import RX, TX
from proxtop.model import Snapshot, Value

_MB = 1 << 20
_SECTOR_MB = 512 / _MB
_NS_TO_PERCENT = 1e-7
_SEVEN_DIGITS = 1e-7
"""Rates travel in single precision."""

_NET = tuple((way, field) for way, fields in (("received", RX), ("transmitted", TX)) for field in fields)
_SIDES = {"received": ("rx", RX), "transmitted": ("tx", TX)}
_NO_SUMS = tuple(f"disk_device_{name}" for name in ("name", "ioutil", "servicetime", "await"))
_OPPOSITE = {"received": "transmitted", "transmitted": "received"}

Rows = dict[str, dict[str, Value]]
"""The values of a table by id and metric."""


def expected(host: Host, seconds: Mapping[str, float], node: str) -> dict[str, Rows]:
    """By table, for one step of all counters within so many seconds, by family."""
    tables: dict[str, Rows] = {"host": {node: {**_host(seconds), **_devices_together(seconds["disk"])}}}
    tables["vm"], tables["vcpu"], tables["thread"], tables["nic"] = {}, {}, {}, {}
    for vm in host.vms:
        nic = {f"net_{way}{field.capitalize()}": _nic(vm, way, field, seconds["net"]) for way, field in _NET}
        tables["vm"][vm.uuid] = {**_vm(vm, seconds), **nic}
        tables["nic"][f"{vm.uuid}/{vm.tap}"] = {**nic, "net_mac": "52:54:00:00:00:01"}
        for number in range(tree.VCPUS):
            run, wait = (_share(ns, seconds["cpu"]) for ns in vm.run_wait(1 + number))
            tables["vcpu"][f"{vm.uuid}/{number}"] = {"vcpu_total": run, "vcpu_steal": wait, "vcpu_cpu": vm.cpu}
        for role, count, (run_ns, wait_ns) in (
            ("emulator", 1, vm.run_wait(0)),
            ("iothread", 1, vm.run_wait(3)),
            ("worker", 0, (max(0, _beside(vm) - vm.run_wait(0)[0] - vm.run_wait(3)[0]), 0)),
        ):
            tables["thread"][f"{vm.uuid}/{role}"] = {
                "thread_count": count,
                "thread_total": _share(run_ns, seconds["cpu"]),
                "thread_steal": _share(wait_ns, seconds["cpu"]),
            }
    tables["device"] = {disk: _device(disk, seconds["disk"]) for disk in tree.DISKS}
    tables["interface"] = {
        vm.tap: {
            f"net_host_{way}{field.capitalize()}": tree.gain(vm.tap, f"{_SIDES[way][0]}_{field}") / seconds["net"]
            for way, field in _NET
        }
        for vm in host.vms
    }
    return tables


def _share(ns: float, seconds: float) -> float:
    return ns / seconds * _NS_TO_PERCENT


def _beside(vm: Vm) -> int:
    """What all threads but the vCPUs' ran, in ns: of those that live no less, of those that came and went the rest."""
    run = [vm.run_wait(place)[0] for place in range(len(tree.THREADS))]
    return max(run[0] + run[3], vm.ticks() * 10_000_000 - run[1] - run[2])


def _vm(vm: Vm, seconds: Mapping[str, float]) -> dict[str, Value]:
    cpu, mem, io = seconds["cpu"], seconds["mem"], seconds["io"]
    vcpus = [vm.run_wait(1 + number) for number in range(tree.VCPUS)]
    others = [vm.run_wait(place) for place in (0, 3)]
    rates = {field: tree.gain(vm.name, field) / io for field in IO_FIELDS}
    kb = tree.MEMORY_MIB << 10
    return {
        "name": vm.name,
        "pid": vm.pid,
        "cpu_cores": tree.VCPUS,
        "cpu_total": _share(sum(run for run, _ in vcpus) / tree.VCPUS, cpu),
        "cpu_steal": _share(sum(wait for _, wait in vcpus) / tree.VCPUS, cpu),
        "cpu_other_total": _share(_beside(vm), cpu),
        "cpu_other_steal": _share(sum(wait for _, wait in others), cpu),
        "ram_total": kb,
        "ram_max": kb,
        "ram_rss": tree.RSS_PAGES * 4,
        "ram_vsize": tree.VSIZE_BYTES >> 10,
        "ram_swap": tree.SWAP_KB,
        **{f"ram_{name}": tree.gain(vm.name, name) / mem for name in tree.FAULTS},
        **{f"io_{field}": rate for field, rate in rates.items()},
        "io_MBRD/s": rates["read_bytes"] / _MB,
        "io_MBWR/s": rates["write_bytes"] / _MB,
        "io_RDOPS": rates["syscr"],
        "io_WROPS": rates["syscw"],
    }


def _nic(vm: Vm, way: str, field: str, seconds: float) -> float | None:
    """The VM receives what its tap transmits; None for what a tap can't know of the other side."""
    side, fields = _SIDES[_OPPOSITE[way]]
    return tree.gain(vm.tap, f"{side}_{field}") / seconds if field in fields else None


def _host(seconds: Mapping[str, float]) -> dict[str, Value]:
    ticks = {name: tree.gain("host", name) for name in tree.TICKS}
    whole = sum(ticks[name] for name in tree.TICKS[:8])
    shares: dict[str, Value] = {f"cpu_{name}": 100 * ticks[name] / whole for name in tree.TICKS[:9]}
    return {
        **shares,
        "cpu_guestnice": 100 * ticks["guest_nice"] / whole,
        "cpu_cores": 64,
        "host_name": "thousand",
        "host_uuid": "5eed5eed-0000-4000-8000-000000000001",
        "ram_Total": 1056000000,
        "ram_Free": 5000000,
        "ram_Available": 7000000,
        "ram_SwapTotal": 64,
        "ram_SwapFree": 32,
    }


def _device(disk: str, seconds: float) -> dict[str, Value]:
    gains = {field: tree.gain(disk, field) for field in tree.DISK_FIELDS}
    operations = gains["reads"] + gains["writes"]
    names = {
        "reads": "reads", "writes": "writes", "readsmerged": "reads_merged", "writesmerged": "writes_merged",
        "sectorsread": "sectors_read", "sectorswritten": "sectors_written", "timereading": "ms_reading",
        "timewriting": "ms_writing", "timeforops": "ms_io", "weightedtimeforops": "ms_weighted",
    }  # fmt: skip
    return {
        **{f"disk_device_{name}": gains[field] / seconds for name, field in names.items()},
        "disk_device_name": disk,
        "disk_device_mbread": gains["sectors_read"] * _SECTOR_MB / seconds,
        "disk_device_mbwrite": gains["sectors_written"] * _SECTOR_MB / seconds,
        "disk_device_ioutil": min(100.0, gains["ms_io"] / seconds / 10),
        "disk_device_queuelen": gains["ms_weighted"] / seconds / 1000,
        "disk_device_servicetime": gains["ms_io"] / operations,
        "disk_device_await": gains["ms_weighted"] / operations,
    }


def _devices_together(seconds: float) -> dict[str, Value]:
    """The host's figures stand for all its disks: sums; the busiest device; means over all requests."""
    devices = [_device(disk, seconds) for disk in tree.DISKS]

    def each(name: str) -> list[float]:
        return [float(one[f"disk_device_{name}"] or 0.0) for one in devices]

    requests = sum(each("reads") + each("writes"))
    return {
        **{name: sum(each(name.removeprefix("disk_device_"))) for name in devices[0] if name not in _NO_SUMS},
        "disk_device_count": len(devices),
        "disk_device_ioutil": max(each("ioutil")),
        "disk_device_servicetime": sum(each("timeforops")) / requests,
        "disk_device_await": sum(each("weightedtimeforops")) / requests,
    }


def wrong(snapshot: Snapshot, tables: Mapping[str, Rows], unchecked: Iterable[str] = ()) -> tuple[int, list[str]]:
    """(values that were compared, those that differ). A row or a metric that the tree tells must be there; what it
    does not tell must be unknown, but for `unchecked`."""
    compared, found = 0, []
    free = frozenset(unchecked)
    for scope, rows in tables.items():
        table = snapshot.tables[scope]
        if sorted(table.ids) != sorted(rows):
            found.append(f"{scope}: {len(table.ids)} rows, not the {len(rows)} of the tree")
            continue
        for metric in {name for row in rows.values() for name in row} - table.columns.keys():
            found.append(f"{scope}: no {metric}")
        for metric, column in table.columns.items():
            if metric in free:
                continue
            for row, value in zip(table.ids, column, strict=True):
                compared += 1
                right = rows[row].get(metric)
                if not _same(value, right):
                    found.append(f"{scope} {row} {metric}: {value}, not {right}")
    return compared, found


def _same(value: Value, right: Value) -> bool:
    if isinstance(value, float) and isinstance(right, int | float):
        return math.isclose(value, right, rel_tol=_SEVEN_DIGITS)
    return value == right
