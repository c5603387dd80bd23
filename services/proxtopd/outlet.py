"""Where readers connect: what goes out, what they subscribed to, and what was said last for who comes late."""

from __future__ import annotations

from typing import Any

import zmq

from proxtop.bus import topics
from proxtop.bus.sockets import Socket, send
from proxtopd.lastvalues import LastValues

ALWAYS = (topics.SNAPSHOT, topics.STATUS)
ASKED = (topics.INVENTORY, topics.SAMPLE, topics.PROFILE)
"""The kinds that go out: those that are always at hand, and those that are fetched while a reader wants them."""

_REPLAY_S = 0.2
_REPLAY_BYTES_S = 20 << 20
"""What is said again goes to all readers: by so many bytes a second at most, whoever comes how often."""


class Outlet:
    """An XPUB, bound by whoever makes it. `prefixes`: what is subscribed to, each with the name of who did it first."""

    def __init__(self, socket: Socket, last: LastValues) -> None:
        self.socket = socket
        self.prefixes: dict[bytes, str] = {}
        self.strange = 0
        self._last = last
        self._waiting: set[bytes] = set()
        self._replay_at = 0.0

    def listen(self, most: int | None = None) -> str | None:
        """Takes in who subscribed to what, and who no longer does. The name of a reader that has more than `most`
        subscriptions, None where nobody has."""
        counts: dict[str, int] = {}
        while True:
            try:
                frame = self.socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return None
            request = frame.bytes
            prefix = request[1:]
            if request[:1] == b"\x00":
                self.prefixes.pop(prefix, None)
            elif request[:1] == b"\x01":
                self._waiting.add(prefix)
                if prefix in self.prefixes:
                    continue
                name = self.prefixes[prefix] = _user(frame)
                if most is not None:
                    if name not in counts:
                        counts[name] = sum(owner == name for owner in self.prefixes.values())
                    else:
                        counts[name] += 1
                    if counts[name] > most:
                        return name
            else:
                self.strange += 1

    def wanted(self) -> set[str]:
        """The kinds beside those that always go out that somebody wants now."""
        return {kind for kind in ASKED if any(_overlap(f"{kind}/".encode(), prefix) for prefix in self.prefixes)}

    def send(self, frames: list[bytes]) -> None:
        """To every reader that has subscribed to it; who does not keep up misses it."""
        send(self.socket, frames)

    def due(self, now: float) -> float | None:
        """Seconds until `replay` has something to do; None when nobody waits."""
        return max(0.0, self._replay_at - now) if self._waiting else None

    def replay(self, now: float) -> None:
        """What was said last, to who has just subscribed. All readers see it again, so it is done for many at once."""
        if self.due(now) == 0.0:
            sent = 0
            waiting, self._waiting = self._waiting, set()
            for frames in self._last.matching(waiting, now):
                send(self.socket, frames)
                sent += len(frames[1])
            self._replay_at = now + max(_REPLAY_S, sent / _REPLAY_BYTES_S)


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _user(frame: Any) -> str:
    """The name of who sent it, as the gate gave it; empty without keys."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
