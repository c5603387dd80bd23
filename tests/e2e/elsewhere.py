"""proxtop on another machine than its guests: their libvirtd is behind a TCP port, their processes are not in /proc.

It is this machine, seen from PID and mount namespaces of its own. The port is a relay to libvirtd's socket: the same
protocol as over a network, to be cut and joined again.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.e2e.running import Proxtop
from tests.lab.host import wait_for

_AWAY = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
_MOUNT = """\
mount --rbind /proc "$0/proc" && mount --rbind /sys "$0/sys" &&
mount --bind "$0/boot_id" "$0/proc/sys/kernel/random/boot_id" && exec "$@"
"""


class Port:
    """libvirtd's socket as a TCP port of this machine, in a `with` block."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._number = server.getsockname()[1]
        self._relay: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """For --connection."""
        return f"qemu+tcp://127.0.0.1:{self._number}/system"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    def open(self) -> None:
        """Takes connections."""
        listen = f"TCP-LISTEN:{self._number},bind=127.0.0.1,fork,reuseaddr"
        command = ["socat", listen, "UNIX-CONNECT:/run/libvirt/libvirt-sock"]
        self._relay = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        wait_for("the relay to libvirtd", self._listens, 10)

    def shut(self) -> None:
        """Cuts the connections, and takes no more."""
        if self._relay is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._relay.pid, signal.SIGKILL)
            self._relay.wait()
            self._relay = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._number), 1):
            return True
        return False


class Mounts:
    """Directories for the guests' host's /proc and /sys; that /proc is of another boot, as another machine's is."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        for name in ("proc", "sys"):
            (directory / name).mkdir()
        (directory / "boot_id").write_text(f"{uuid.uuid4()}\n")

    @property
    def options(self) -> tuple[str, ...]:
        """What names them on the command line."""
        return f"--procfs={self.directory}/proc", f"--sysfs={self.directory}/sys", "--node=far"


class Elsewhere(Proxtop):
    """`proxtop ARGUMENTS` where /proc has nothing but its own processes; `mounts` are filled there alone."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, mounts: Mounts | None = None) -> None:
        super().__init__(*arguments, *(mounts.options if mounts else ()), env=env)
        self._command = (*_AWAY, *self._command)
        if mounts is not None:
            self._command = ("unshare", "--mount", "sh", "-c", _MOUNT, str(mounts.directory), *self._command)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # unshare waits for proxtop and takes no signal itself
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGTERM)
        super().__exit__(kind, error, trace)
