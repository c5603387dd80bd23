"""The control socket: one line of words in, one line of JSON out. Its file mode decides who may."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from proxtop.control import LONGEST
from proxtopd.actor import Actor

Answer = Callable[[list[str]], dict[str, Any]]

_MOST = 16
_PATIENCE_S = 5.0


class Control:
    """Serves the socket in an actor's loop. A caller that says nothing is let go after a while."""

    def __init__(self, actor: Actor, path: str, group: int | None, answer: Answer) -> None:
        self._actor = actor
        self._path = path
        self._answer = answer
        self._callers: dict[int, tuple[socket.socket, bytearray]] = {}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        before = os.umask(0o177)
        try:
            self._listener.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o660)
        self._listener.listen(_MOST)
        actor.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            caller, _ = self._listener.accept()
            if len(self._callers) >= _MOST:
                caller.close()
                return
            caller.setblocking(False)
            number = caller.fileno()
            self._callers[number] = caller, bytearray()
            self._actor.watch(number, lambda: self._hear(number))
            self._actor.at(time.monotonic() + _PATIENCE_S, lambda: self._over(number, caller))

    def _over(self, number: int, caller: socket.socket) -> None:
        """The end of a caller's time, unless its words wait to be read: the loop may have been busy meanwhile."""
        if self._callers.get(number, (None,))[0] is caller:
            self._hear(number)
            self._drop(number, caller)

    def _hear(self, number: int) -> None:
        caller, text = self._callers[number]
        try:
            part = caller.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        text += part
        if b"\n" in text:
            words = text.partition(b"\n")[0].decode(errors="replace").split()
            self._drop(number, caller, lambda: self._reply(caller, words))
        elif not part or len(text) >= LONGEST:
            self._drop(number, caller)

    def _reply(self, caller: socket.socket, words: list[str]) -> None:
        answer = self._answer(words)
        with contextlib.suppress(OSError):
            caller.settimeout(1.0)
            caller.sendall(json.dumps(answer).encode() + b"\n")

    def _drop(self, number: int, caller: socket.socket, last: Callable[[], None] | None = None) -> None:
        """Lets a caller go, unless its number is another one's by now."""
        if self._callers.get(number, (None,))[0] is caller:
            self._actor.unwatch(number)
            del self._callers[number]
            try:
                if last is not None:
                    last()
            finally:
                caller.close()

    def close(self) -> None:
        """Nobody is served any more."""
        for number, (caller, _) in list(self._callers.items()):
            self._drop(number, caller)
        self._actor.unwatch(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
