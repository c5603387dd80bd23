"""Attach or own: the bus of the host's fleet where it serves what was asked, else a private fleet, as a child."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxtop import child
from proxtop.bus import endpoints

_PREFIX = "proxtop-fleet-"
_END_S = 2.0
_UNLOCKED_S = 10.0


class AttachError(Exception):
    """No bus; the text says what, where and what to do. `status` is the exit status."""

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status


def reachable(endpoint: str) -> str | None:
    """Why nobody can connect to that ipc endpoint, None when somebody listens and lets us in."""
    path = endpoint.removeprefix("ipc://")
    try:
        os.stat(path)
        import socket  # dear for a start that finds nobody

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.2)
            probe.connect(path)
    except FileNotFoundError:
        return "no fleet runs on this host"
    except PermissionError:
        return f"no permission to use {path} (join group proxtop)"
    except OSError as error:
        return f"nobody answers on {path} ({error.strerror or error})"
    return None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked of a fleet; None where it does not matter."""

    families: tuple[str, ...]
    frequency: float
    connector: str | None
    uri: str | None
    procfs: str
    sysfs: str
    node: str | None

    def unserved(self, info: Mapping[str, Any], interval: float) -> str | None:
        """Why a fleet that tells this of itself does not do, None when it does."""
        missing = [name for name in self.families if name not in str(info.get("families", "")).split(",")]
        if missing:
            return f"it does not collect {', '.join(missing)}"
        for key, value in (("connector", self.connector), ("uri", self.uri), ("node", self.node)):
            if value is not None and info.get(key) != value:
                return f"its {key} is {info.get(key)}, not {value}"
        for key, value in (("procfs", self.procfs), ("sysfs", self.sysfs)):
            if info.get(key) != value:
                return f"its {key} is {info.get(key)}, not {value}"
        ratio = self.frequency / interval
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
            return f"its interval of {interval:g} s does not divide {self.frequency:g} s"
        return None


def runtime_directory() -> str:
    """Where private fleets of this user live: XDG_RUNTIME_DIR, /run for root, else a directory for temporary files."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [named] if named else []
    candidates.append("/run" if os.geteuid() == 0 else f"/run/user/{os.getuid()}")
    for candidate in candidates:
        if os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    return os.environ.get("TMPDIR", "/tmp")


class PrivateFleet:
    """A fleet of our own: it ends with us whatever way we end, and leaves nothing behind."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        parent = runtime_directory()
        _sweep(parent)
        self.directory = os.path.join(parent, f"{_PREFIX}{os.getpid()}-{time.time_ns():x}")
        os.mkdir(self.directory, 0o700)
        if len(endpoints.publish(self.directory).encode()) > endpoints.MAX_IPC_PATH:
            os.rmdir(self.directory)
            raise AttachError(f"{parent}: the path is too long for a socket; set XDG_RUNTIME_DIR to a shorter one")
        self._lock = os.open(f"{self.directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.ready, ready_end = os.pipe()
        lifeline_end, self._lifeline = os.pipe()
        ends = (ready_end, lifeline_end, self._lock)
        told = json.dumps({**setup, "directory": self.directory})
        try:
            self.pid = child.start([told, *map(str, ends)], ends, verbose=setup["verbose"])
        except OSError as error:
            _remove(self.directory)
            raise AttachError(f"the private fleet does not start: {error.strerror}", 1) from None
        os.close(ready_end)
        os.close(lifeline_end)
        self.process = os.pidfd_open(self.pid)
        self.endpoint = endpoints.subscribe(self.directory)

    def close(self) -> None:
        """Ends the fleet and waits until all of it has gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        os.close(self._lifeline)
        deadline = time.monotonic() + _END_S
        while not self._reaped():
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        _remove(self.directory)
        for descriptor in (self.ready, self.process, self._lock):
            os.close(descriptor)

    def _reaped(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True


def _remove(directory: str) -> None:
    import shutil  # with what it imports in turn, dear for a start

    shutil.rmtree(directory, ignore_errors=True)


def _sweep(parent: str) -> None:
    """Removes what killed fleets left: directories whose lock nobody holds."""
    for directory in [os.path.join(parent, name) for name in os.listdir(parent) if name.startswith(_PREFIX)]:
        try:
            lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                if os.path.isdir(directory) and time.time() - os.stat(directory).st_mtime > _UNLOCKED_S:
                    os.rmdir(directory)
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(directory)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
