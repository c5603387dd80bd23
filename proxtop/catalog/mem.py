"""Memory: what the host has, what each VM was given, uses and takes from the host."""

from __future__ import annotations

import re

from proxtop.catalog.schema import Column, Family, Metric, counters, gauges

_BALLOON = "balloon statistics (libvirt, QMP)"
_STAT = "/proc/PID/stat"

_KEYS = """
MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon) Active(file)
Inactive(file) Unevictable Mlocked SwapTotal SwapFree Zswap Zswapped Dirty Writeback AnonPages Mapped Shmem KReclaimable
Slab SReclaimable SUnreclaim KernelStack ShadowCallStack PageTables SecPageTables NFS_Unstable Bounce WritebackTmp
CommitLimit Committed_AS VmallocTotal VmallocUsed VmallocChunk Percpu EarlyMemtestBad HardwareCorrupted AnonHugePages
ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped CmaTotal CmaFree Unaccepted Balloon GPUActive GPUReclaim
HugePages_Total HugePages_Free HugePages_Rsvd HugePages_Surp Hugepagesize Hugetlb
DirectMap4k DirectMap2M DirectMap4M DirectMap1G
"""

MEMINFO_KEYS = tuple(_KEYS.split())
"""The keys of /proc/meminfo up to Linux 6.18, in its order."""

_DEFAULT = {
    "MemTotal": "physical memory",
    "MemFree": "unused memory",
    "MemAvailable": "memory to be had without swapping",
}


def meminfo_name(key: str) -> str:
    """The metric of a key of /proc/meminfo: 'Active(anon)' is ram_ActiveAnon, 'MemTotal' is ram_Total."""
    plain = re.sub(r"\((\w)(\w*)\)", lambda part: part[1].upper() + part[2], key).replace("_", "")
    return "ram_" + (plain[3:] if key in _DEFAULT else plain)


HOST = tuple(
    Metric(
        meminfo_name(key), "host", "" if key.startswith("HugePages_") else "KB", "gauge", meminfo_name(key)[4:].upper(),
        "/proc/meminfo", _DEFAULT.get(key, f"{key} of /proc/meminfo"), key not in _DEFAULT,
    )
    for key in MEMINFO_KEYS
)  # fmt: skip

VM = (
    Metric("ram_total", "vm", "KB", "gauge", "MEMSZ", "connector", "the most memory it may have"),
    Metric(
        "ram_used",
        "vm",
        "KB",
        "gauge",
        "GRANT",
        _BALLOON,
        "memory in use as the guest reports it: available less unused; null without guest statistics",
    ),
    Metric(
        "ram_max",
        "vm",
        "KB",
        "gauge",
        "MAXSZ",
        "connector",
        "the same as ram_total, under the name that the screen uses",
        True,
    ),
    Metric("ram_current", "vm", "KB", "gauge", "MEMCUR", _BALLOON, "memory that the balloon leaves to it now", True),
    Metric("ram_free", "vm", "KB", "gauge", "FREE", _BALLOON, "memory that the guest does not use at all", True),
    Metric(
        "ram_balloon",
        "vm",
        "KB",
        "gauge",
        "MCTL",
        _BALLOON,
        "memory taken back by the balloon: maximum less current",
        True,
    ),
    Metric(
        "ram_active",
        "vm",
        "%",
        "gauge",
        "%ACTV",
        _BALLOON,
        "share of its memory that the guest could not give up without swapping",
        True,
    ),
    Metric("ram_rss", "vm", "KB", "gauge", "RSS", _STAT, "resident memory of its process", True),
    Metric("ram_vsize", "vm", "KB", "gauge", "VSIZE", _STAT, "address space of its process", True),
    Metric(
        "ram_swap",
        "vm",
        "KB",
        "gauge",
        "SWCUR",
        "/proc/PID/status VmSwap",
        "memory of its process that the host swapped out",
        True,
    ),
    Metric("ram_swapin", "vm", "KB/s", "rate", "SWAPIN", _BALLOON, "read from swap inside the guest", True),
    Metric("ram_swapout", "vm", "KB/s", "rate", "SWAPOUT", _BALLOON, "written to swap inside the guest", True),
    Metric("ram_minflt", "vm", "1/s", "rate", "MINFLT", _STAT, "page faults of its process served without I/O", True),
    Metric("ram_majflt", "vm", "1/s", "rate", "MAJFLT", _STAT, "page faults of its process that needed I/O", True),
    Metric("ram_cminflt", "vm", "1/s", "rate", "CMINFLT", _STAT, "the same without I/O of its ended children", True),
    Metric("ram_cmajflt", "vm", "1/s", "rate", "CMAJFLT", _STAT, "the same with I/O of its ended children", True),
)

COLUMNS = (
    *gauges("host", "KB", tuple((metric.name, metric.help) for metric in HOST)),
    Column("gen", "vm", "", "info", "start time and PID in one number"),
    *gauges("vm", "KB", (
        ("total_kb", "the most memory it may have"), ("vsize_kb", "address space"), ("rss_kb", "resident memory"), ("swap_kb", "swapped out by the host"),
        ("actual_kb", "what the balloon leaves to it"), ("available_kb", "memory that the guest sees"), ("unused_kb", "memory that the guest does not use"),
        ("usable_kb", "memory that the guest can give without swapping"))),
    *gauges("vm", "s", (("balloon_at", "monotonic time at which the guest statistics were read"),)),
    *counters("vm", "1", (("minflt", "minor faults"), ("majflt", "major faults"), ("cminflt", "of children"), ("cmajflt", "of children"))),
    *counters("vm", "KB", (("swap_in_kb", "read from the guest's swap"), ("swap_out_kb", "written to the guest's swap"))),
)  # fmt: skip

FAMILY = Family("mem", "--mem", "memory metrics", (*HOST, *VM), COLUMNS)
