"""Block devices, from /proc/diskstats (kernel: Documentation/admin-guide/iostats.rst)."""

from __future__ import annotations

from dataclasses import dataclass

from proxtop.kernel.errors import ParseError

FIELDS = (
    "reads", "reads_merged", "sectors_read", "ms_reading", "writes", "writes_merged", "sectors_written", "ms_writing",
    "in_flight", "ms_io", "ms_weighted",
)  # fmt: skip
"""The eleven fields that all kernels since 2.6.25 have; discards (4.18) and flushes (5.5) follow them."""

_WIDTH = 3 + len(FIELDS)


@dataclass(frozen=True, slots=True)
class DiskStats:
    """The devices in the kernel's order: their names, and a list as long per field, by FIELDS."""

    names: list[str]
    columns: list[list[int]]


def parse_diskstats(text: bytes) -> DiskStats:
    """All devices, partitions too; one with fewer fields (a partition before 2.6.25) is left out."""
    lines = text.splitlines()
    width = len(lines[0].split()) if lines else _WIDTH
    fields = text.split()
    if width < _WIDTH or len(fields) != width * len(lines):
        rows = [row[:_WIDTH] for line in lines if len(row := line.split()) >= _WIDTH]
        if lines and not rows:
            raise ParseError("/proc/diskstats", text)
        fields = [field for row in rows for field in row]
        width = _WIDTH
    try:
        names = [name.decode(errors="replace") for name in fields[2::width]]
        return DiskStats(names, [[int(field) for field in fields[place::width]] for place in range(3, _WIDTH)])
    except ValueError:
        raise ParseError("/proc/diskstats", text) from None
