"""What systemd is told of a service (sd_notify(3)): nothing where it did not start us."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Sends these assignments to the service manager, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] in ("/", "@"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)
