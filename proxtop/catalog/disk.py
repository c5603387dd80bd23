"""Disks: the host's block devices, and each VM's virtual disks on them. 1 MB is 1,048,576 bytes, as in iostat."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric, counters, gauges, rescoped

_STATS = "/proc/diskstats"
_BLOCK = "block statistics (libvirt, QMP)"

DEVICE = (
    Metric("disk_device_reads", "device", "1/s", "rate", "READS/s", _STATS, "completed reads"),
    Metric("disk_device_writes", "device", "1/s", "rate", "WRITES/s", _STATS, "completed writes"),
    Metric("disk_device_mbread", "device", "MB/s", "rate", "MBRD/s", _STATS, "read"),
    Metric("disk_device_mbwrite", "device", "MB/s", "rate", "MBWR/s", _STATS, "written"),
    Metric("disk_device_ioutil", "device", "%", "rate", "%UTIL", _STATS, "time with at least one request in flight"),
    Metric("disk_device_currentops", "device", "", "gauge", "QDEPTH", _STATS, "requests in flight now"),
    Metric("disk_device_queuelen", "device", "", "rate", "QLEN", _STATS, "mean of the requests in flight"),
    Metric("disk_device_servicetime", "device", "ms", "rate", "SVCTM", _STATS, "busy time per request (sysstat's svctm); null without requests"),
    Metric("disk_device_await", "device", "ms", "rate", "AWAIT", _STATS, "time from issue to completion per request (sysstat's await); null without requests"),
    Metric("disk_device_readsmerged", "device", "1/s", "rate", "RRQM/s", _STATS, "reads merged before they were queued", True),
    Metric("disk_device_sectorsread", "device", "1/s", "rate", "RSEC/s", _STATS, "sectors of 512 bytes read", True),
    Metric("disk_device_timereading", "device", "ms/s", "rate", "RDTM", _STATS, "time spent reading, over all requests", True),
    Metric("disk_device_writesmerged", "device", "1/s", "rate", "WRQM/s", _STATS, "writes merged before they were queued", True),
    Metric("disk_device_sectorswritten", "device", "1/s", "rate", "WSEC/s", _STATS, "sectors of 512 bytes written", True),
    Metric("disk_device_timewriting", "device", "ms/s", "rate", "WRTM", _STATS, "time spent writing, over all requests", True),
    Metric("disk_device_timeforops", "device", "ms/s", "rate", "IOTM", _STATS, "time with requests in flight", True),
    Metric("disk_device_weightedtimeforops", "device", "ms/s", "rate", "WIOTM", _STATS, "time with requests in flight, weighted by their number", True),
)  # fmt: skip

NAMES = (
    Metric(
        "disk_device_name",
        "device",
        "",
        "info",
        "NAME",
        "/sys/block",
        "its friendly name: LVM, multipath or device-mapper name, else the kernel's",
    ),
    Metric(
        "disk_device_type",
        "device",
        "",
        "info",
        "TYPE",
        "/sys/block",
        "disk, lvm, multipath, dm, md, loop, zvol, rbd or other",
    ),
)

HOST = (
    *rescoped(DEVICE, "host"),
    Metric(
        "disk_device_count",
        "host",
        "",
        "gauge",
        "DEVS",
        _STATS,
        "devices that the host figures stand for: whole physical disks, or those of --storedev",
        True,
    ),
)

IO = (
    Metric("disk_ioutil", "vm", "%", "rate", "%UTIL", f"{_STATS}, {_BLOCK}", "its share of the busy time of the device that holds its disk: device busy % x min(1, its bytes / device's bytes), the largest over its devices; null where no host device holds the disk"),
    Metric("disk_reads", "vm", "1/s", "rate", "READS/s", _BLOCK, "completed reads"),
    Metric("disk_writes", "vm", "1/s", "rate", "WRITES/s", _BLOCK, "completed writes"),
    Metric("disk_mbread", "vm", "MB/s", "rate", "MBRD/s", _BLOCK, "read"),
    Metric("disk_mbwrite", "vm", "MB/s", "rate", "MBWR/s", _BLOCK, "written"),
    Metric("disk_lat_rd", "vm", "ms", "rate", "LAT/rd", _BLOCK, "mean latency of its reads; null without reads"),
    Metric("disk_lat_wr", "vm", "ms", "rate", "LAT/wr", _BLOCK, "mean latency of its writes; null without writes"),
    Metric("disk_lat_fl", "vm", "ms", "rate", "LAT/fl", _BLOCK, "mean latency of its flushes; null without flushes"),
    Metric("disk_lat_avg", "vm", "ms", "rate", "LAT/avg", _BLOCK, "mean latency of its reads and writes; null without any"),
    Metric("disk_stats_flushreq", "vm", "1/s", "rate", "FLUSH/s", _BLOCK, "completed flushes", True),
    Metric("disk_stats_rdtotaltimes", "vm", "ms/s", "rate", "RDTM", _BLOCK, "time spent reading, over all requests", True),
    Metric("disk_stats_wrtotaltimes", "vm", "ms/s", "rate", "WRTM", _BLOCK, "time spent writing, over all requests", True),
    Metric("disk_stats_flushtotaltimes", "vm", "ms/s", "rate", "FLTM", _BLOCK, "time spent flushing, over all requests", True),
)  # fmt: skip

SIZES = (
    Metric("disk_size_capacity", "vm", "bytes", "gauge", "SIZE", _BLOCK, "size of its disks as the guest sees them"),
    Metric("disk_size_allocation", "vm", "bytes", "gauge", "ALLOC", f"{_BLOCK}, stat(2), /sys/block", "space that they take on the host; null where that can't be known (thin volumes, snapshots, zvols)"),
    Metric(
        "disk_size_physical",
        "vm",
        "bytes",
        "gauge",
        "PHYSICAL",
        f"stat(2), /sys/block, {_BLOCK}",
        "size of the files or devices that hold them; null where they can't be seen from here",
        True,
    ),
)

VM = (
    *SIZES,
    *IO,
    Metric(
        "disk_delayblkio",
        "vm",
        "ms/s",
        "rate",
        "BLKIO",
        "/proc/PID/stat",
        "time that its process waited for block I/O; null unless kernel.task_delayacct is on",
        True,
    ),
)

DISK = (
    *rescoped(SIZES, "disk"),
    *rescoped(IO, "disk"),
    Metric(
        "disk_source", "disk", "", "info", "SOURCE", "connector", "the file, device or network name behind it", True
    ),
    Metric(
        "disk_device", "disk", "", "info", "DEVICE", "/sys/dev/block", "the host's block device that holds it", True
    ),
)

DISKSTATS = (
    ("reads", "reads completed"), ("reads_merged", "reads merged"), ("sectors_read", "sectors read"), ("ms_reading", "time reading, ms"),
    ("writes", "writes completed"), ("writes_merged", "writes merged"), ("sectors_written", "sectors written"), ("ms_writing", "time writing, ms"),
    ("ms_io", "time with requests in flight, ms"), ("ms_weighted", "the same, weighted, ms"),
)  # fmt: skip

BLOCKSTATS = (
    *counters("disk", "1", (("rd_reqs", "reads"), ("wr_reqs", "writes"), ("fl_reqs", "flushes"))),
    *counters("disk", "bytes", (("rd_bytes", "bytes read"), ("wr_bytes", "bytes written"))),
    *counters("disk", "ns", (("rd_ns", "time of reads"), ("wr_ns", "time of writes"), ("fl_ns", "time of flushes"))),
    *gauges("disk", "bytes", (("capacity", "size that the guest sees"), ("allocation", "space on the host"), ("physical", "size of the container"))),
)  # fmt: skip

COLUMNS = (
    Column("name", "device", "", "info", "friendly name"),
    Column("type", "device", "", "info", "disk, lvm, multipath, dm, md, loop, zvol, rbd or other"),
    *counters("device", "", DISKSTATS),
    *gauges("device", "", (("in_flight", "requests in flight"),)),
    Column("gen", "disk", "", "info", "start time and PID of its VM"),
    *BLOCKSTATS,
    Column("source", "disk", "", "info", "file, device or network name"),
    Column("device", "disk", "", "info", "the host's block device"),
    Column("gen", "vm", "", "info", "start time and PID in one number"),
    *counters("vm", "ticks", (("blkio_ticks", "waited for block I/O, in 1/USER_HZ s"),)),
)

FAMILY = Family("disk", "--disk", "disk metrics", (*HOST, *NAMES, *DEVICE, *VM, *DISK), COLUMNS)
