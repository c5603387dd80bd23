"""Disks: rates, latencies and the share of a device's busy time, as sysstat defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxtop.catalog.disk import DISKSTATS
from proxtop.derive.base import OwnTimes, Reading, Tables, current_only, deltas
from proxtop.derive.groups import Grouping
from proxtop.model import EMPTY, Columns, Table, Value
from proxtop.rates import Deltas, Numbers, clip, each, number_column, plus, ratio, total, values
from proxtop.totals import host_devices

MB = 1 << 20
_SECTOR_MB = 512 / MB
_NS_TO_MS = 1e-6
_COUNTERS = tuple(name for name, _ in DISKSTATS)
_WRAPS = ("ms_reading", "ms_writing", "ms_io", "ms_weighted")
_BLOCK = ("rd_reqs", "rd_bytes", "rd_ns", "wr_reqs", "wr_bytes", "wr_ns", "fl_reqs", "fl_ns")
_SIZES = ("capacity", "allocation", "physical")


class DiskDerivation:
    """The host's devices, each virtual disk, and each VM over all its disks."""

    def __init__(self) -> None:
        self._block = OwnTimes(_BLOCK)
        self._grouping = Grouping()

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host, device, vm and disk."""
        tables: Tables = {}
        devices = deltas("device", before, after, _COUNTERS, _WRAPS)
        if devices is not None:
            tables["device"] = _devices(devices) if devices.table.columns else EMPTY
            tables["host"] = Table(["host"], host_devices(tables["device"]))
        disk, vm = after.table("disk"), after.table("vm")
        busy = _busy(tables.get("device"))
        gains: dict[str, Numbers] = {}
        if disk is not None:
            rates, current = self._block.follow("disk", before, after, _block_rates)
            gains = dict(zip(_BLOCK, rates, strict=True))
            sizes = {name: current_only(disk, name, current) for name in _SIZES}
            tables["disk"] = _disks(disk, gains, sizes, busy)
        if vm is not None:
            blkio = deltas("vm", before, after, ("blkio_ticks",))
            tables["vm"] = _vms(vm, disk, gains, tables.get("disk"), busy, self._grouping)
            if blkio is not None:
                tables["vm"].columns["disk_delayblkio"] = values(blkio.rate("blkio_ticks", 10.0))
        return tables


def _devices(gains: Deltas) -> Table:
    table = gains.table
    reads, writes = gains.rate("reads"), gains.rate("writes")
    operations = plus(reads, writes)
    busy_ms, weighted_ms = gains.rate("ms_io"), gains.rate("ms_weighted")
    columns: Columns = {
        "disk_device_name": table.columns.get("name", [None] * len(table.ids)),
        "disk_device_type": table.columns.get("type", [None] * len(table.ids)),
        "disk_device_reads": values(reads),
        "disk_device_writes": values(writes),
        "disk_device_mbread": values(gains.rate("sectors_read", _SECTOR_MB)),
        "disk_device_mbwrite": values(gains.rate("sectors_written", _SECTOR_MB)),
        "disk_device_ioutil": values(clip(gains.rate("ms_io", 0.1))),
        "disk_device_currentops": values(number_column(table, "in_flight")),
        "disk_device_queuelen": values(gains.rate("ms_weighted", 1e-3)),
        "disk_device_servicetime": values(each(ratio, busy_ms, operations)),
        "disk_device_await": values(each(ratio, weighted_ms, operations)),
        "disk_device_readsmerged": values(gains.rate("reads_merged")),
        "disk_device_sectorsread": values(gains.rate("sectors_read")),
        "disk_device_timereading": values(gains.rate("ms_reading")),
        "disk_device_writesmerged": values(gains.rate("writes_merged")),
        "disk_device_sectorswritten": values(gains.rate("sectors_written")),
        "disk_device_timewriting": values(gains.rate("ms_writing")),
        "disk_device_timeforops": values(busy_ms),
        "disk_device_weightedtimeforops": values(weighted_ms),
    }
    return Table(table.ids, columns)


def _busy(devices: Table | None) -> dict[str, tuple[float | None, float | None]]:
    """For each device its busy % and its bytes per second."""
    if devices is None:
        return {}
    read, written = number_column(devices, "disk_device_mbread"), number_column(devices, "disk_device_mbwrite")
    return {
        name: (busy, None if a is None or b is None else (a + b) * MB)
        for name, busy, a, b in zip(
            devices.ids, number_column(devices, "disk_device_ioutil"), read, written, strict=True
        )
    }


def _block_rates(gains: Deltas) -> Sequence[Numbers]:
    return [gains.rate(name) for name in _BLOCK]


def _share(busy: Mapping[str, tuple[float | None, float | None]], device: Value, own: float | None) -> float | None:
    """Busy % of the device x min(1, own bytes / the device's bytes)."""
    percent, all_bytes = busy.get(str(device), (None, None)) if device is not None else (None, None)
    if percent is None or all_bytes is None or own is None:
        return None
    return percent * min(1.0, own / all_bytes) if all_bytes else 0.0


def _figures(gains: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The metrics of rates of block counters, per row."""
    both = {part: plus(gains[f"rd_{part}"], gains[f"wr_{part}"]) for part in ("reqs", "ns")}

    def latency(ns: Numbers, requests: Numbers) -> Numbers:
        return each(_latency_ms, ns, requests)

    def scaled(name: str, factor: float) -> Numbers:
        return each(lambda value: None if value is None else value * factor, gains[name])

    return {
        "disk_reads": gains["rd_reqs"],
        "disk_writes": gains["wr_reqs"],
        "disk_mbread": scaled("rd_bytes", 1 / MB),
        "disk_mbwrite": scaled("wr_bytes", 1 / MB),
        "disk_lat_rd": latency(gains["rd_ns"], gains["rd_reqs"]),
        "disk_lat_wr": latency(gains["wr_ns"], gains["wr_reqs"]),
        "disk_lat_fl": latency(gains["fl_ns"], gains["fl_reqs"]),
        "disk_lat_avg": latency(both["ns"], both["reqs"]),
        "disk_stats_flushreq": gains["fl_reqs"],
        "disk_stats_rdtotaltimes": scaled("rd_ns", _NS_TO_MS),
        "disk_stats_wrtotaltimes": scaled("wr_ns", _NS_TO_MS),
        "disk_stats_flushtotaltimes": scaled("fl_ns", _NS_TO_MS),
    }


def _latency_ms(ns: float | None, requests: float | None) -> float | None:
    return ratio(ns, requests, _NS_TO_MS)


def _bytes(gains: Mapping[str, Numbers]) -> Numbers:
    return plus(gains["rd_bytes"], gains["wr_bytes"])


def _disks(
    disk: Table,
    gains: Mapping[str, Numbers],
    sizes: Mapping[str, Numbers],
    busy: Mapping[str, tuple[float | None, float | None]],
) -> Table:
    devices = disk.columns.get("device", [None] * len(disk.ids))
    figures: dict[str, Numbers] = {f"disk_size_{name}": column for name, column in sizes.items()}
    figures["disk_ioutil"] = [_share(busy, device, own) for device, own in zip(devices, _bytes(gains), strict=True)]
    figures |= _figures(gains)
    columns = {name: values(column) for name, column in figures.items()}
    columns["disk_source"] = disk.columns.get("source", [None] * len(disk.ids))
    columns["disk_device"] = devices
    return Table(disk.ids, columns)


def _vms(
    vm: Table,
    disk: Table | None,
    gains: Mapping[str, Numbers],
    disks: Table | None,
    busy: Mapping[str, tuple[float | None, float | None]],
    grouping: Grouping,
) -> Table:
    if disk is None or disks is None or not disk.ids:
        return Table(vm.ids, {})
    groups = grouping.by_vm(disk.ids, vm.ids)
    summed = {name: groups.totals(column) for name, column in gains.items()}
    columns = {name: values(column) for name, column in _figures(summed).items()}
    for name in _SIZES:
        columns[f"disk_size_{name}"] = values(groups.totals(number_column(disks, f"disk_size_{name}")))
    devices = disk.columns.get("device", [None] * len(disk.ids))
    moved = _bytes(gains)
    columns["disk_ioutil"] = values([_largest_share(own, devices, moved, busy) for own in groups.places])
    return Table(vm.ids, columns)


def _largest_share(
    places: Sequence[int],
    devices: Sequence[Value],
    moved: Numbers,
    busy: Mapping[str, tuple[float | None, float | None]],
) -> float | None:
    """The largest share over the devices that hold the VM's disks; disks on one device count together."""
    if len(places) == 1:
        return _share(busy, devices[places[0]], moved[places[0]])
    per_device: dict[Value, list[float | None]] = {}
    for place in places:
        if devices[place] is not None:
            per_device.setdefault(devices[place], []).append(moved[place])
    shares = [_share(busy, device, total(own)) for device, own in per_device.items()]
    known = [share for share in shares if share is not None]
    return max(known) if known else None
