"""The sinks behind an output: blocking, used by the output's thread alone. Each can be stopped from another thread."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

DATAGRAM_LIMIT = 65507
"""The most bytes of a UDP message over IPv4."""

_PIPE_BUF = select.PIPE_BUF
_CHUNK = 1 << 18
_CONNECT_TIMEOUT = 10.0
_DEAD_AFTER_MS = 60_000
_REFUSAL = 0.2
_NO_READER = (errno.EPIPE, errno.EBADF, errno.ECONNRESET)


class Closed(Exception):
    """Nobody will ever read this sink again."""


class Unsendable(Exception):
    """This record can never be sent."""


@dataclass(frozen=True, slots=True)
class Record:
    """A cycle: its pieces, and what a reader must have seen before them."""

    header: bytes
    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """The bytes of its pieces."""
        return sum(map(len, self.pieces))


class Sink(ABC):
    """Takes whole records; OSError: try again later, with the same record. `every_record_counts` is False where only
    the newest matters."""

    every_record_counts = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._stopped = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @abstractmethod
    def write(self, record: Record) -> None:
        """Bring the whole record to the sink; Closed, Unsendable or OSError if that fails."""

    def undelivered(self) -> list[Record]:
        """After a failure: earlier records that did not arrive after all."""
        return []

    def confirm(self) -> bool:
        """Whether all that was written has arrived, as far as one can know; OSError if it did not and must be written
        anew, see `undelivered`."""
        return True

    def stop(self) -> None:
        """Make a write that waits fail with Closed; from any thread."""
        if self._stopped >= 0:
            os.eventfd_write(self._stopped, 1)

    def close(self) -> None:
        """Let go of everything."""
        if self._stopped >= 0:
            os.close(self._stopped)
            self._stopped = -1

    def _wait(self, descriptor: int, events: int, timeout: float | None = None) -> int:
        """The events that came on the descriptor, 0 after the timeout; Closed when stopped."""
        poller = select.poll()
        poller.register(descriptor, events)
        poller.register(self._stopped, select.POLLIN)
        ready = dict(poller.poll(None if timeout is None else max(0.0, timeout * 1000)))
        if self._stopped in ready:
            raise Closed
        return ready.get(descriptor, 0)


class StreamSink(Sink):
    """A descriptor that was given to us, stdout: not ours to switch to non-blocking, since others share it. A pipe that
    is ready takes PIPE_BUF bytes without blocking, so it gets no more at a time."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(name)
        self._descriptor = descriptor
        self._header: bytes | None = None
        self._rest: memoryview | None = None
        try:
            self._waits = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:  # closed by who started us: the first write says so
            self._waits = True

    def write(self, record: Record) -> None:
        if self._rest is None:
            head = record.header if record.header != self._header else b""
            self._rest = memoryview(head + b"".join(record.pieces))
        try:
            self._write_rest()
        except OSError as error:
            if error.errno in _NO_READER or (error.errno == errno.EIO and self._waits):
                raise Closed from error
            raise
        self._rest = None
        self._header = record.header

    def _write_rest(self) -> None:
        while self._rest:
            size = _CHUNK
            if self._waits:
                self._wait(self._descriptor, select.POLLOUT)
                size = _PIPE_BUF
            try:
                written = os.write(self._descriptor, self._rest[:size])
            except BlockingIOError:  # another process made it non-blocking, and took the room
                continue
            self._rest = self._rest[written:]


class FileSink(Sink):
    """Appends to a file. When the path names another file or none any more (rotation), it is opened anew; when the file
    shrank (copytruncate), it starts anew. A record cut short by a full disk goes on where it stopped."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._descriptor = -1
        self._header: bytes | None = None
        self._rest = memoryview(b"")
        self._current: Record | None = None
        self._size = 0

    def write(self, record: Record) -> None:
        if self._rotated():
            self._open()
        if self._current is not record:
            head = record.header if record.header != self._header else b""
            self._rest = memoryview(head + b"".join(record.pieces))
            self._current = record
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest[:_CHUNK]) :]
        finally:
            self._size = os.fstat(self._descriptor).st_size
        self._header, self._current = record.header, None

    def close(self) -> None:
        super().close()
        self._release()

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rotated(self) -> bool:
        if self._descriptor < 0:
            return True
        try:
            there = os.stat(self._path)
        except OSError:  # gone, or on a mount that went stale: opening it says what is wrong
            return True
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or here.st_size < self._size

    def _open(self) -> None:
        self._release()
        self._header = self._current = None
        self._size = 0
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


class ReplaceSink(Sink):
    """A file that always holds one whole record: written beside it and renamed. Only the newest record matters."""

    every_record_counts = False

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path

    def write(self, record: Record) -> None:
        path = os.path.realpath(self._path)
        directory, name = os.path.split(path)
        beside = f"{directory}/.{name}.tmp"  # hidden, and no .prom: node_exporter leaves it alone
        data = record.header + b"".join(record.pieces)
        if not _replaceable(path):
            with open(path, "wb", buffering=0) as device:
                _write_all(device.fileno(), data)
            return
        _unlink(beside)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            _write_all(descriptor, data)
            os.rename(beside, path)
        except OSError:
            _unlink(beside)
            raise
        finally:
            os.close(descriptor)


class _SocketSink(Sink):
    def __init__(self, kind: str, host: str, port: int) -> None:
        super().__init__(f"{kind} {f'[{host}]' if ':' in host else host}:{port}")
        self._host, self._port = host, port
        self._socket: socket.socket | None = None
        self._header: bytes | None = None

    def close(self) -> None:
        super().close()
        if self._socket is not None:
            with suppress(OSError):  # what is unread at a close would turn it into a reset
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.recv(_CHUNK)
        self._disconnect()

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        self._header = None
        if sock is not None:
            sock.close()

    def _connect(self, kind: socket.SocketKind) -> socket.socket:
        failure: OSError = OSError(errno.EHOSTUNREACH, "no address")
        try:
            addresses = socket.getaddrinfo(self._host, self._port, type=kind)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, "not a host name") from error
        for family, type_, protocol, _, address in addresses:
            try:
                sock = socket.socket(family, type_, protocol)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6: the address that can be had says more
                    failure = error
                continue
            try:
                sock.setblocking(False)
                self._finish(sock, sock.connect_ex(address))
                if sock.getsockname() == sock.getpeername():  # nobody listened, and our own port was that one by chance
                    raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            except OSError as error:
                sock.close()
                failure = error
            except Closed:
                sock.close()
                raise
            else:
                return sock
        raise failure

    def _finish(self, sock: socket.socket, code: int) -> None:
        if code == errno.EINPROGRESS:
            if not self._wait(sock.fileno(), select.POLLOUT, _CONNECT_TIMEOUT):
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))


class TcpSink(_SocketSink):
    """A TCP connection. When it breaks, every record that the peer's kernel had not acknowledged in full is sent again,
    whole, on the next one. A peer that takes nothing for a minute counts as dead. What it sends is read and ignored;
    its end of file alone is no failure, since a reader may close the way that it does not use."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__("tcp", host, port)
        self._sent = 0
        self._unacknowledged: deque[tuple[int, Record]] = deque()
        self._lost: list[Record] = []
        self._half_closed = False

    def write(self, record: Record) -> None:
        sock = self._socket
        if sock is None:
            sock = self._socket = self._connect(socket.SOCK_STREAM)
            _watch(sock)
            self._sent, self._half_closed = 0, False
            self._unacknowledged.clear()
        try:
            self._send(sock, record)
        except OSError:
            self._break(sock)
            raise

    def undelivered(self) -> list[Record]:
        lost, self._lost = self._lost, []
        return lost

    def confirm(self) -> bool:
        sock = self._socket
        if sock is None or not _queued(sock):
            return True
        try:
            self._await_verdict(sock)
        except OSError:
            self._break(sock)
            raise
        return _queued(sock) == 0

    def _send(self, sock: socket.socket, record: Record) -> None:
        head = record.header if record.header != self._header else b""
        rest = memoryview(head + b"".join(record.pieces))
        while rest:
            events = select.POLLOUT if self._half_closed else select.POLLOUT | select.POLLIN
            ready = self._wait(sock.fileno(), events)
            if ready & select.POLLIN:
                self._half_closed = not sock.recv(_CHUNK)
            if ready == select.POLLIN:
                continue
            try:
                written = sock.send(rest[:_CHUNK])
            except BlockingIOError:
                continue
            self._sent += written
            rest = rest[written:]
        if self._half_closed:
            self._await_verdict(sock)
        self._header = record.header
        self._unacknowledged.append((self._sent, record))
        self._prune(sock)

    def _await_verdict(self, sock: socket.socket) -> None:
        """Wait a moment for the peer to acknowledge, or to say by a reset that it is no more."""
        end = time.monotonic() + _REFUSAL
        while _queued(sock) and (left := end - time.monotonic()) > 0:
            if self._wait(sock.fileno(), 0, min(left, 0.01)):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
                raise OSError(code, os.strerror(code))

    def _prune(self, sock: socket.socket) -> None:
        acknowledged = self._sent - _queued(sock)
        while self._unacknowledged and self._unacknowledged[0][0] <= acknowledged:
            self._unacknowledged.popleft()

    def _break(self, sock: socket.socket) -> None:
        with suppress(OSError):  # what is not known to have arrived is sent again
            self._prune(sock)
        self._lost = [record for _, record in self._unacknowledged]
        self._unacknowledged.clear()
        self._disconnect()


class UdpSink(_SocketSink):
    """Datagrams, one per piece. A refusal (nobody listens there) tells of the piece before: that record is sent again
    as long as it is refused."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__("udp", host, port)
        self._before: Record | None = None
        self._lost: list[Record] = []
        self._suspect = True

    def write(self, record: Record) -> None:
        sock = self._socket
        try:
            if sock is None:
                sock = self._socket = self._connect(socket.SOCK_DGRAM)
            for piece in (record.header if record.header != self._header else b"", *record.pieces):
                if piece:
                    self._send(sock, piece)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise Unsendable("a line is longer than a datagram may be") from error
            self._lost, self._before = [self._before] if self._before else [], None
            self._suspect = True
            self._disconnect()
            raise
        self._header, self._before = record.header, record

    def undelivered(self) -> list[Record]:
        lost, self._lost = self._lost, []
        return lost

    def _send(self, sock: socket.socket, piece: bytes) -> None:
        while True:
            self._wait(sock.fileno(), select.POLLOUT)
            try:
                sock.send(piece)
            except BlockingIOError:
                continue
            break
        suspect, self._suspect = self._suspect, False
        if self._wait(sock.fileno(), 0, _REFUSAL if suspect else 0) & select.POLLERR:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._before = None if code == errno.ECONNREFUSED else self._before
                raise OSError(code, os.strerror(code))


def _watch(sock: socket.socket) -> None:
    """Notice a peer that vanished without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)


def _queued(sock: socket.socket) -> int:
    """The bytes sent that the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])


def _replaceable(path: str) -> bool:
    """Whether the path is a regular file or none: a device or FIFO must be written, never replaced."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
