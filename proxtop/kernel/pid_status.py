"""A process' memory in KB, from /proc/PID/status (kernel: Documentation/filesystems/proc.rst, 1.1)."""

from __future__ import annotations

from proxtop.kernel.errors import ParseError


def _kb(text: bytes, key: bytes) -> int | None:
    place = text.find(key)
    if place < 0:
        return None
    place += len(key)
    value, _, unit = text[place : text.find(b"\n", place)].strip().partition(b" ")
    if unit != b"kB":
        raise ValueError
    return int(value)


def parse_status(text: bytes) -> tuple[int | None, int | None]:
    """(VmRSS, VmSwap) in KB; None for what a kernel thread, a zombie or an old kernel lacks."""
    try:
        return _kb(text, b"\nVmRSS:"), _kb(text, b"\nVmSwap:")
    except ValueError:
        raise ParseError("/proc/PID/status", text) from None
