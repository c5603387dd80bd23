"""Who is let in: the right key and nobody else, and nobody at all where something is missing."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import zmq

from proxtop.bus import curve, keys
from proxtop.bus.curve import Gate, Joining
from proxtop.bus.keys import Pair
from proxtop.bus.sockets import Context, Socket, bounded, networked

REFUSED_S = 0.5
"""How long nothing may come to who is not let in; who is let in has its first frame within some milliseconds."""


def pair(name: str) -> Pair:
    return Pair(name, *zmq.curve_keypair())


@dataclass
class Door:
    """A publisher that asks who comes, and clients that knock."""

    gate: bool = True
    own: Pair = field(default_factory=lambda: pair("pve1"))
    friend: Pair = field(default_factory=lambda: pair("agg1"))
    domain: str | None = None

    def __post_init__(self) -> None:
        self.context = Context()
        self.trusted = {self.friend.public: "agg1"}
        self.asked = Gate(self.context, self.trusted) if self.gate else None
        self.socket = networked(bounded(self.context.socket(zmq.XPUB)))
        curve.serve(self.socket, self.own)
        if self.domain is not None:
            self.socket.set(zmq.ZAP_DOMAIN, self.domain.encode())
        self.socket.bind("tcp://127.0.0.1:*")
        self.address = self.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self.clients: list[Socket] = []
        self.elsewhere = Context()

    def client(self, prepare: Callable[[Socket], None] = lambda socket: None) -> Socket:
        socket = networked(bounded(self.elsewhere.socket(zmq.SUB)))
        prepare(socket)
        socket.set(zmq.SUBSCRIBE, b"")
        socket.connect(self.address)
        self.clients.append(socket)
        return socket

    def gets(self, socket: Socket, within: float = REFUSED_S) -> bool:
        """Whether a frame reaches this client; frames are sent all the time."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.asked is not None:
                self.asked.answer()
            self.socket.send(b"x", zmq.DONTWAIT)
            with contextlib.suppress(zmq.Again):
                return socket.recv(zmq.DONTWAIT) == b"x"
            time.sleep(0.005)
        return False

    def close(self) -> None:
        for socket in self.clients:
            socket.close(0)
        self.socket.close(0)
        if self.asked is not None:
            self.asked.close()
        self.context.term()
        self.elsewhere.term()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_the_trusted_key_gets_frames_under_its_name(door: Door) -> None:
    client = door.client(Joining(door.friend, door.own.public).apply)
    assert door.gets(client, 10)
    asked = door.socket.recv(zmq.DONTWAIT, copy=False)
    assert asked.bytes == b"\x01"
    assert asked.get("User-Id") == "agg1"
    assert (door.asked.admitted, door.asked.refused) == (1, 0)  # type: ignore[union-attr]


def test_no_key_gets_nothing(door: Door) -> None:
    assert not door.gets(door.client())


def test_plain_credentials_get_nothing(door: Door) -> None:
    def plain(socket: Socket) -> None:
        socket.set(zmq.PLAIN_USERNAME, b"agg1")
        socket.set(zmq.PLAIN_PASSWORD, b"x")

    assert not door.gets(door.client(plain))


def test_a_key_that_is_not_on_the_list_gets_nothing_and_is_counted(door: Door) -> None:
    assert not door.gets(door.client(Joining(pair("agg1"), door.own.public).apply))
    assert door.asked.refused >= 1  # type: ignore[union-attr]


def test_a_public_key_without_its_secret_gets_nothing(door: Door) -> None:
    thief = Pair("agg1", door.friend.public, pair("agg1").secret)
    assert not door.gets(door.client(Joining(thief, door.own.public).apply))


def test_who_expects_another_server_gets_nothing_from_this_one(door: Door) -> None:
    assert not door.gets(door.client(Joining(door.friend, pair("pve2").public).apply))


def test_a_key_taken_off_the_list_is_not_let_in_again(door: Door) -> None:
    assert door.gets(door.client(Joining(door.friend, door.own.public).apply), 10)
    door.trusted.clear()
    assert not door.gets(door.client(Joining(door.friend, door.own.public).apply))


@pytest.mark.parametrize("options", [{"gate": False}, {"domain": "other"}])
def test_where_something_is_missing_nobody_is_let_in(options: dict[str, object]) -> None:
    door = Door(**options)  # type: ignore[arg-type]
    try:
        assert not door.gets(door.client(Joining(door.friend, door.own.public).apply))
    finally:
        door.close()


def test_a_list_that_breaks_later_does_not_let_in_whom_it_did_not(tmp_path: pathlib.Path, door: Door) -> None:
    path = tmp_path / keys.TRUSTED
    path.write_text("agg1 broken\n")
    path.chmod(0o644)
    with pytest.raises(keys.KeyProblem):
        keys.trusted(str(path))
    assert not door.gets(door.client(Joining(pair("agg1"), door.own.public).apply))
