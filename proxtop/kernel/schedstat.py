"""A thread's run-queue times, from /proc/PID/task/TID/schedstat (kernel: Documentation/scheduler/sched-stats.rst)."""

from __future__ import annotations

from collections.abc import Sequence

from proxtop.kernel.errors import ParseError
from proxtop.kernel.numbers import integers


def parse_schedstat(text: bytes) -> tuple[int, int, int]:
    """(on-CPU ns, run-queue wait ns, time slices). All are 0 on a kernel that does not keep them."""
    fields = text.split()
    try:
        return int(fields[0]), int(fields[1]), int(fields[2])
    except (IndexError, ValueError):
        raise ParseError("/proc/PID/task/TID/schedstat", text) from None


def parse_schedstats(texts: Sequence[bytes]) -> tuple[list[int], list[int], list[int]] | None:
    """The same of many threads, a list of each of the three; None where one of them is not as it should be."""
    try:
        numbers = integers(b"".join(texts))
    except ValueError:
        return None
    return (numbers[0::3], numbers[1::3], numbers[2::3]) if len(numbers) == 3 * len(texts) else None
