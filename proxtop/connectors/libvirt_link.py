"""One read-only connection to libvirt that comes back by itself, with the events that tell what changed.

No connection ever has two threads in a call: libvirt's client before 10.4 reads a dead thread's stack then, when the
connection breaks (CVE-2024-4418). So one with a call that does not return is put aside, and another is opened.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from proxtop.connectors.base import ConnectorError
from proxtop.connectors.bounded import Bounded, Late, Pending
from proxtop.connectors.libvirt_events import EventLoop, event_loop

_OPEN_S = 10.0
_REOPEN_S = 0.4
_RETRY_S = 2.0
_MOST_OPENING = 3
_OPENING_S = 60.0
_KEEPALIVE_S, _KEEPALIVE_COUNT = 5, 3
_EVENTS = (
    "LIFECYCLE",
    "DEVICE_ADDED",
    "DEVICE_REMOVED",
    "METADATA_CHANGE",
    "DISK_CHANGE",
    "TRAY_CHANGE",
    "BLOCK_JOB_2",
)
_MOST_HANGING = 3
"""Each call that does not return holds one of libvirtd's few workers."""

_DRIVERS = ("qemu", "test")
_RIGHT = "give --connection a URI such as qemu:///system, or qemu+ssh://user@host/system for another host"

Connection = Any
"""A virConnect: its module is imported only where it is used."""


class Link:
    """`connection` is None while there is none; `changed` has the UUIDs that events told of since it was emptied."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection: Connection = None
        self.changed: set[str] = set()
        self.heard = 0
        """How many events there were."""
        self.missed = True
        """Whether events were missed since the list of VMs was read last: there was no connection for a while."""
        self.reason: str | None = None
        self.calls = Bounded("libvirt", _MOST_HANGING)
        self._opener = Bounded("libvirt-open", _MOST_OPENING)
        self._opening: Pending[Connection] | None = None
        self._given_up: list[Connection] = []
        self._retry = 0.0
        self._loop: EventLoop | None = None
        self._error: type[Exception] = Exception

    def open(self) -> None:
        """Connects; ConnectorError says why it can't."""
        try:
            import libvirt
        except ImportError as error:
            raise ConnectorError(
                f"libvirt: its Python module can't be used ({error}); "
                + ("install libvirt0" if "libvirt.so" in str(error) else "pip install 'proxtop[libvirt]'")
                + ", or say --qemu"
            ) from None
        self._error = libvirt.libvirtError
        libvirt.registerErrorHandler(_silent, None)  # else every error is on stderr too
        self._loop = event_loop()
        try:
            self.connection = self._opener.call(self._connect, _OPEN_S)
        except Late as late:
            raise ConnectorError(f"libvirt: cannot connect to {self.uri}: {late}; {_hint(self.uri, '')}") from None
        except libvirt.libvirtError as error:
            raise ConnectorError(
                f"libvirt: cannot connect to {self.uri}: {self.text(error)}; {_hint(self.uri, self.text(error))}"
            ) from None

    def poll(self, timeout: float, wake: int | None = None) -> bool:
        """Serves libvirt's events for so many seconds at most; whether `wake` is readable."""
        return self._loop is not None and self._loop.poll(timeout, wake)

    def check(self) -> bool:
        """Whether there is a connection, after looking for one where there was none."""
        if self.connection is not None and not self.connection.isAlive():
            self.lose("connection lost")
        if self.connection is None:
            self._reopen()
        self._bury()
        return self.connection is not None

    def lose(self, why: str) -> None:
        """Gives up the connection; it is closed once no call is in flight on it."""
        if self.connection is not None:
            self._given_up.append(self.connection)
            self.connection = None
            self.missed = True
            self.reason = f"libvirt: {why}; connecting again"
            self._retry = time.monotonic()

    def retire(self) -> None:
        """A call on the connection does not return: it is put aside until that returns, and another one opened."""
        if self.connection is not None:
            self._given_up.append(self.connection)
            self.connection = None
            self._retry = time.monotonic()

    def text(self, error: BaseException) -> str:
        """libvirt's message in one line."""
        return " ".join(str(error).split()) or type(error).__name__

    @property
    def error(self) -> type[Exception]:
        """libvirt's exception."""
        return self._error

    def close(self) -> None:
        """Closes, unless a call is in flight."""
        self.lose("closed")
        self._bury()
        self.calls.close()
        self._opener.close()

    def _reopen(self) -> None:
        now = time.monotonic()
        if self._opening is not None:
            if self._opening.returned:
                pending, self._opening = self._opening, None
                self._take(pending.result)
                return
            if now - self._opening.begun < _OPENING_S:
                return
        if now >= self._retry:
            self._retry = now + _RETRY_S
            self._take(lambda: self._opener.call(self._connect, _REOPEN_S))

    def _take(self, opened: Any) -> None:
        try:
            self.connection = opened()
            self.reason = None
        except Late as late:
            self._opening = late.call or self._opening
            self.reason = f"libvirt: cannot connect to {self.uri}: {late}"
        except self._error as error:
            self.reason = f"libvirt: cannot connect to {self.uri}: {self.text(error)}"

    def _connect(self) -> Connection:
        """In the opener's thread."""
        import libvirt

        connection = libvirt.openReadOnly(self.uri)
        with contextlib.suppress(libvirt.libvirtError):  # not every driver can
            connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        with contextlib.suppress(libvirt.libvirtError):
            connection.registerCloseCallback(self._closed, None)
        for name in _EVENTS:
            number = getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}", None)
            with contextlib.suppress(libvirt.libvirtError):
                if number is not None:
                    connection.domainEventRegisterAny(None, number, self._event, None)
        return connection

    def _event(self, _connection: Connection, domain: Any, *_details: object) -> None:
        self.heard += 1
        self.changed.add(domain.UUIDString())  # those put aside hear them too: so none is missed between two

    def _closed(self, connection: Connection, *_details: object) -> None:
        if connection is self.connection:
            self.lose("connection lost")

    def _bury(self) -> None:
        """Closes what was given up, once nothing is in flight."""
        if self._given_up and not self.calls.hanging:
            given_up, self._given_up = self._given_up, []
            for connection in given_up:
                with contextlib.suppress(self._error, Late):
                    self.calls.call(connection.close, _REOPEN_S)


def _silent(_context: object, _error: object) -> None:
    return


def _hint(uri: str, text: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.partition("+")[0] not in _DRIVERS or "URI" in text or "URL" in text:
        return _RIGHT
    if "uthenticat" in text or "ermission" in text or "denied" in text:
        return "may this user use libvirt's read-only socket?"
    if "://" in uri and not uri.partition("://")[2].startswith("/"):
        return "is libvirtd running there, and does it take connections?"
    return "is libvirtd running? (systemctl status libvirtd)"
