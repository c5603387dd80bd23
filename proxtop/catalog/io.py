"""I/O of each VM's process, from /proc/PID/io (kernel: Documentation/filesystems/proc.rst). 1 MB is 1,048,576 bytes."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric, counters

_IO = "/proc/PID/io"

FIELDS = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
"""The fields of /proc/PID/io, in its order."""

VM = (
    Metric("io_MBRD/s", "vm", "MB/s", "rate", "MBRD/s", _IO, "fetched from storage"),
    Metric("io_MBWR/s", "vm", "MB/s", "rate", "MBWR/s", _IO, "sent to storage"),
    Metric("io_RDOPS", "vm", "1/s", "rate", "RDOPS", _IO, "read system calls"),
    Metric("io_WROPS", "vm", "1/s", "rate", "WROPS", _IO, "write system calls"),
    Metric("io_read_bytes", "vm", "bytes/s", "rate", "RDB/s", _IO, "fetched from storage", True),
    Metric("io_write_bytes", "vm", "bytes/s", "rate", "WRB/s", _IO, "sent to storage", True),
    Metric("io_rchar", "vm", "bytes/s", "rate", "RCHAR/s", _IO, "read by system calls, page cache included", True),
    Metric("io_wchar", "vm", "bytes/s", "rate", "WCHAR/s", _IO, "written by system calls, page cache included", True),
    Metric("io_syscr", "vm", "1/s", "rate", "SYSCR/s", _IO, "read system calls", True),
    Metric("io_syscw", "vm", "1/s", "rate", "SYSCW/s", _IO, "write system calls", True),
    Metric("io_cancelled_write_bytes", "vm", "bytes/s", "rate", "CNCL/s", _IO, "writes that truncation saved", True),
)

COLUMNS = (
    Column("gen", "vm", "", "info", "start time and PID in one number"),
    *counters("vm", "1", tuple((field, f"'{field}' of /proc/PID/io") for field in FIELDS)),
)

FAMILY = Family("io", "--io", "I/O metrics (requires root)", VM, COLUMNS, needs=("SYS_PTRACE", "DAC_READ_SEARCH"))
