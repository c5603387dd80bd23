"""A peer that speaks ZMTP 3.0 (ZeroMQ RFC 23) by hand, to say what libzmq never would: a message without an end."""

from __future__ import annotations

import socket

_GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\3\0" + b"NULL".ljust(20, b"\0") + b"\0" + b"\0" * 31
_MORE = 1


def command(name: bytes, body: bytes) -> bytes:
    """A command frame."""
    content = bytes([len(name)]) + name + body
    return bytes([4, len(content)]) + content


def ready(socket_type: bytes) -> bytes:
    """The command that ends the handshake."""
    return command(b"READY", b"\x0bSocket-Type" + len(socket_type).to_bytes(4, "big") + socket_type)


def part(body: bytes, *, more: bool) -> bytes:
    """A frame of a message."""
    return bytes([_MORE if more else 0, len(body)]) + body


def shake(peer: socket.socket, socket_type: bytes) -> None:
    """The handshake, as whatever type; what the other end says is read and forgotten."""
    peer.settimeout(10)
    peer.sendall(_GREETING)
    got = b""
    while len(got) < len(_GREETING):
        got += peer.recv(64 - len(got))
    peer.sendall(ready(socket_type))
    length = peer.recv(2)[1]
    while length > 0:
        length -= len(peer.recv(length))
