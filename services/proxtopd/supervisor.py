"""supervisord as proxtopd's child, and the calls to it (XML-RPC over its Unix socket, supervisord.org/api.html)."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from typing import Any

from proxtopd import supervisord
from proxtopd.places import Places

CALL_S = 5.0
"""How long supervisord may take to answer before it counts as hung."""

_END_S = 5.0
_POLL_S = 0.02


class Unanswered(Exception):
    """supervisord does not answer, or not in time."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_S)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisor:
    """One supervisord: its process, its words, its answers."""

    def __init__(self, places: Places) -> None:
        self._path = places.supervisor
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # a killed one's: connecting to it would fail, not wait
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", supervisord.__name__, "-n", "-c", places.program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal signals its foreground group: proxtopd ends the rest in order
            env={**os.environ, supervisord.PARENT: str(os.getpid())},
        )
        assert self._process.stdout is not None
        self.words = self._process.stdout.fileno()
        os.set_blocking(self.words, False)
        self.ended = os.pidfd_open(self._process.pid)
        self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(self._path))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def call(self, method: str, *arguments: object) -> Any:
        """The answer to a call; xmlrpc.client.Fault where supervisord refuses, Unanswered where it does not answer."""
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault:
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise Unanswered(f"supervisord does not answer: {error}") from None

    def heard(self) -> list[str]:
        """The lines of its log since."""
        try:
            return os.read(self.words, 1 << 16).decode(errors="replace").splitlines()
        except BlockingIOError:
            return []

    def wait(self, seconds: float) -> bool:
        """Waits so long for its end; whether it has ended."""
        return bool(select.select([self.ended], [], [], seconds)[0])

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def close(self) -> int:
        """Ends it, and with it every worker; its exit status."""
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        status = self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        os.close(self.ended)
        return status


def wait_for(supervisor: Supervisor, patience: float) -> None:
    """Waits until a supervisord that was just started answers; Unanswered when it ends or does not in time."""
    deadline = time.monotonic() + patience
    while True:
        try:
            supervisor.call("getState")
        except Unanswered:
            if supervisor.wait(_POLL_S) or time.monotonic() > deadline:
                raise
        else:
            return
