"""A thread's run-queue times, from /proc/PID/task/TID/schedstat (kernel: Documentation/scheduler/sched-stats.rst)."""

from __future__ import annotations

from proxtop.kernel.errors import ParseError


def parse_schedstat(text: bytes) -> tuple[int, int, int]:
    """(on-CPU ns, run-queue wait ns, time slices). All are 0 on a kernel that does not keep them."""
    fields = text.split()
    try:
        return int(fields[0]), int(fields[1]), int(fields[2])
    except (IndexError, ValueError):
        raise ParseError("/proc/PID/task/TID/schedstat", text) from None
