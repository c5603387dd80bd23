"""Waiting for a descriptor, bounded."""

from __future__ import annotations

import select


def readable(fd: int, timeout: float) -> bool:
    """Whether the descriptor gets readable (or is closed at its other end) within so many seconds."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0, round(timeout * 1000))))
