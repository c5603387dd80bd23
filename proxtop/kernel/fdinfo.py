"""What an open file of a process is, from /proc/PID/fdinfo/N; tun and tap add `iff:` (kernel: drivers/net/tun.c)."""

from __future__ import annotations

import os


def parse_interface(text: bytes) -> str | None:
    """The interface behind a descriptor of /dev/net/tun, None for any other."""
    for line in text.splitlines():
        key, _, value = line.partition(b":")
        if key == b"iff":
            return os.fsdecode(value.strip()) or None
    return None
