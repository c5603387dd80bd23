"""The host's memory, from /proc/meminfo (kernel: Documentation/filesystems/proc.rst, 1.2)."""

from __future__ import annotations

from proxtop.kernel.errors import ParseError


def parse_meminfo(text: bytes) -> dict[str, int]:
    """By the kernel's own keys, in its order: KB, but a plain number for HugePages_*."""
    values = {}
    try:
        for line in text.splitlines():
            key, colon, value = line.partition(b":")
            if not colon:
                raise ValueError
            values[key.decode("ascii")] = int(value.removesuffix(b" kB"))
    except ValueError:
        raise ParseError("/proc/meminfo", text) from None
    return values
