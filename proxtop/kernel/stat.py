"""The host's CPU time, from /proc/stat (kernel: Documentation/filesystems/proc.rst, 1.7)."""

from __future__ import annotations

from proxtop.kernel.errors import ParseError

FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
"""The fields of the line `cpu`, in its order; later kernels may append more."""


def parse_stat(text: bytes) -> tuple[int, list[int]]:
    """(CPUs online, ticks of 1/USER_HZ s of all of them by FIELDS: a kernel that lacks the last ones gives fewer)."""
    head, _, tail = text.partition(b"\n")
    fields = head.split()
    try:
        ticks = [int(field) for field in fields[1 : len(FIELDS) + 1]]
    except ValueError:
        raise ParseError("/proc/stat", head) from None
    if len(ticks) < 4 or fields[0] != b"cpu":
        raise ParseError("/proc/stat", head)
    return tail.startswith(b"cpu") + tail.count(b"\ncpu"), ticks
