"""A cgroup's CPU limit at work, from its cpu.stat (kernel: Documentation/admin-guide/cgroup-v2.rst; v1:
Documentation/scheduler/sched-bwc.rst)."""

from __future__ import annotations

from proxtop.kernel.errors import ParseError


def parse_cpu_stat(text: bytes) -> int | None:
    """µs for which a limit held the cgroup back, summed over CPUs; None where none was ever in force."""
    fields = text.split()
    try:
        values = dict(zip(fields[0::2], fields[1::2], strict=True))
        if not int(values.get(b"nr_periods", 0)):
            return None
        if (us := values.get(b"throttled_usec")) is not None:
            return int(us)
        return int(values[b"throttled_time"]) // 1000
    except (KeyError, ValueError):
        raise ParseError("cpu.stat", text) from None
