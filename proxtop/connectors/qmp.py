"""QMP in short sessions: connect, greeting, one batch of queries, close; many at once, each under one deadline.

A monitor takes one client at a time and others need it, so a session is never held, never repeated within a call, and
asks nothing that could change a VM. Written for the refresh path: qemu.qmp costs nine times as much CPU there.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

ALLOWED = frozenset(("query-balloon", "query-blockstats", "query-block", "query-cpus-fast", "query-status"))
"""Commands that only tell; `guest_stats` is the one property that is read besides."""

CONCURRENT = 16
PROMPT = 3
"""So many sessions at a time while their monitors answer promptly: more would only hold each socket for longer. Those
that take longer than PROMPT_S do not count: of them up to CONCURRENT are waited for."""

PROMPT_S = 0.005
_MOST_BYTES = 8 << 20
_CHUNK = 1 << 14
_ADDRESS_MOST = 107
_CAPABILITIES = b'{"execute":"qmp_capabilities","id":-1}\n'
_GREETING = b'{"QMP": {'
_CLOSED = "QEMU closed the monitor"

Reply = Any
"""The value of a reply as JSON has it."""


@dataclass(frozen=True, slots=True)
class Query:
    """A command of the allowed list; make others with `guest_stats` only."""

    command: str
    arguments: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.command in ALLOWED and not self.arguments:
            return
        if self.command == "qom-get" and dict(self.arguments).get("property") == "guest-stats":
            return
        raise ValueError(f"not allowed on a monitor: {self.command}")

    @lru_cache(maxsize=1024)  # noqa: B019 - queries are few, and frozen
    def encoded(self, number: int) -> bytes:
        """As written to the monitor."""
        message: dict[str, object] = {"execute": self.command, "id": number}
        if self.arguments:
            message["arguments"] = dict(self.arguments)
        return orjson.dumps(message) + b"\n"


def guest_stats(path: str) -> Query:
    """What the guest said last of its memory, kept at the balloon device."""
    return Query("qom-get", (("path", path), ("property", "guest-stats")))


@dataclass(slots=True)
class Session:
    """One batch for one monitor and what came of it: `replies` by query, without those that got an error; `failure`
    says in words why there are none or not all; `busy` that somebody else has the monitor (or nobody answers)."""

    path: str
    queries: Sequence[Query]
    replies: dict[Query, Reply] = field(default_factory=dict)
    errors: dict[Query, str] = field(default_factory=dict)
    failure: str | None = None
    busy: bool = False
    begun: float = 0.0
    ended: float = 0.0


class _Failed(Exception):
    """The session can't go on."""


class _Talk:
    """One session's socket and state: greeting, then the batch and its replies."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._greeted = False
        self._waits = 1 + len(session.queries)
        self._buffer = bytearray()
        self._looked = 0
        self._total = 0

    def begin(self) -> None:
        """Connects and writes the whole batch, far smaller than a socket's buffer: a monitor reads it once it has
        greeted. EAGAIN means that the queue of the monitor is full: somebody has it."""
        path = self.session.path
        if len(os.fsencode(path)) > _ADDRESS_MOST:
            raise _Failed("its path is too long for a socket")
        try:
            self.socket.connect(path)
        except OSError as error:
            self.session.busy = error.errno == errno.EAGAIN
            raise _Failed("somebody else has the monitor" if self.session.busy else _text(error)) from None
        batch = _CAPABILITIES
        batch += b"".join([query.encoded(number) for number, query in enumerate(self.session.queries)])
        try:
            sent = self.socket.send(batch)
        except OSError as error:
            raise _Failed(_text(error)) from None
        if sent != len(batch):
            raise _Failed("the monitor takes no more")

    def read(self) -> bool:
        """Takes what came; True when all replies are there."""
        try:
            text = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _Failed(_text(error)) from None
        if not text:
            raise _Failed(_CLOSED)
        self._total += len(text)
        if self._total > _MOST_BYTES:
            raise _Failed("an answer without end")
        self._buffer += text
        while (end := self._buffer.find(b"\n", self._looked)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._looked = 0
            if line.strip():
                self._take(line)
        self._looked = len(self._buffer)
        return self._waits == 0

    def _take(self, line: bytes) -> None:
        if not self._greeted and line.startswith(_GREETING):
            self._greeted = True
            return
        try:
            message = orjson.loads(line)
        except ValueError:
            raise _Failed("what answers speaks no QMP") from None
        if not isinstance(message, dict):
            raise _Failed("what answers speaks no QMP")
        if not self._greeted:
            if "QMP" not in message:
                raise _Failed("what answers speaks no QMP")
            self._greeted = True
        elif "event" not in message:
            self._answered(message)

    def _answered(self, message: dict[str, Reply]) -> None:
        number = message.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or not -1 <= number < len(self.session.queries):
            raise _Failed("an answer to nobody's question")
        self._waits -= 1
        if number < 0:
            if "error" in message:
                raise _Failed("the monitor refused")
            return
        query = self.session.queries[number]
        if "return" in message:
            self.session.replies[query] = message["return"]
        else:
            error = message.get("error")
            text = error.get("desc") if isinstance(error, dict) else None
            self.session.errors[query] = str(text or "refused")


def run(
    sessions: Iterable[Session],
    timeout: float,
    until: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    concurrent: int = CONCURRENT,
) -> list[Session]:
    """Holds all sessions, a few at a time, each for `timeout` seconds at most; none begins when it could end after
    `until` (those are not in the answer). Each tells how it went in its own fields; nothing is raised."""
    waiting = list(reversed(list(sessions)))
    done: list[Session] = []
    running: dict[int, tuple[_Talk, float]] = {}
    with select.epoll() as ready:

        def end(talk: _Talk, failure: str | None) -> None:
            running.pop(talk.socket.fileno(), None)
            talk.socket.close()  # which takes it out of `ready` as well
            talk.session.failure = failure
            talk.session.ended = clock()
            done.append(talk.session)

        while waiting or running:
            now = clock()
            prompt = sum(now - talk.session.begun < PROMPT_S for talk, _ in running.values())
            while waiting and prompt < PROMPT and len(running) < concurrent and now + timeout <= until:
                talk = _Talk(waiting.pop())
                talk.session.begun = clock()
                try:
                    talk.begin()
                except _Failed as failed:
                    end(talk, str(failed))
                    continue
                running[talk.socket.fileno()] = talk, now + timeout
                prompt += 1
                ready.register(talk.socket, select.EPOLLIN)
            if not running:
                break
            patience = min(limit for _, limit in running.values()) - now
            for descriptor, _ in ready.poll(max(0.0, min(patience, PROMPT_S) if waiting else patience)):
                talk, _ = running[descriptor]
                try:
                    if talk.read():
                        end(talk, None)
                except _Failed as failed:
                    end(talk, str(failed))
            now = clock()
            for talk, _ in [entry for entry in running.values() if entry[1] <= now]:
                talk.session.busy = True
                end(talk, f"no answer within {timeout:g} s")
    return done


def _text(error: OSError) -> str:
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return _CLOSED
    return os.strerror(error.errno) if error.errno else str(error)
