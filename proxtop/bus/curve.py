"""A bus over the network: CURVE on the sockets, and who is let in (ZAP, ZeroMQ RFC 27).

CURVE alone lets any key in, and a ZAP domain without a handler nobody: both are set, so that whatever is missing, the
door stays closed. The handler lives in the loop of who serves: no thread or task of its own can end unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from proxtop.bus.keys import Pair
from proxtop.bus.sockets import Context, Socket

DOMAIN = "proxtop"
_HANDLER = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_CURVE = b"CURVE"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Joining:
    """How to join a bus that others serve: our own keys, and the key that must be at the other end (Z85)."""

    own: Pair
    server: bytes

    def apply(self, socket: Socket) -> None:
        """Sets it on a socket that has not been connected yet."""
        socket.set(zmq.CURVE_SERVERKEY, self.server)
        socket.set(zmq.CURVE_PUBLICKEY, self.own.public)
        socket.set(zmq.CURVE_SECRETKEY, self.own.secret)


def serve(socket: Socket, own: Pair) -> None:
    """Makes a socket that has not been bound yet ask who comes; without a Gate it lets nobody in."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, own.secret)
    socket.set(zmq.ZAP_DOMAIN, DOMAIN.encode())
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


class Gate:
    """Answers for every key that knocks: let in, under the name that it is bound to, or refused. To be made before the
    sockets of the same context that ask it are bound."""

    def __init__(self, context: Context, trusted: Mapping[bytes, str]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(_HANDLER)
        self.trusted = trusted
        self.admitted = 0
        self.refused = 0

    def answer(self) -> None:
        """Answers all that ask now. Requests come from libzmq itself: asker, empty, version, request, domain, address,
        identity, mechanism, then credentials."""
        while (request := self._request()) is not None:
            asker, empty, version, number, domain, _, _, mechanism, *credentials = request
            name = self._name(domain, mechanism, credentials) if version == _VERSION else None
            if name is None:
                self.refused += 1
                verdict = [b"400", b"not let in", b"", b""]
            else:
                self.admitted += 1
                verdict = [b"200", b"", name.encode(), b""]
            parts = [asker, empty, _VERSION, number, *verdict]
            for part in parts[:-1]:
                self.socket.send(part, zmq.SNDMORE)
            self.socket.send(parts[-1])

    def _request(self) -> list[bytes] | None:
        try:
            parts = [self.socket.recv(zmq.DONTWAIT)]
        except zmq.Again:
            return None
        while self.socket.get(zmq.RCVMORE):
            parts.append(self.socket.recv())
        return parts

    def _name(self, domain: bytes, mechanism: bytes, credentials: list[bytes]) -> str | None:
        """The name that a key is let in under, None where it is not."""
        if domain != DOMAIN.encode() or mechanism != _CURVE or [len(key) for key in credentials] != [_KEY_BYTES]:
            return None
        return self.trusted.get(z85.encode(credentials[0]))

    def close(self) -> None:
        """Closes the socket: from now on nobody is let in."""
        self.socket.close(0)
