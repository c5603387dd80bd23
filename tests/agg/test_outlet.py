"""What is said again to who comes late: what is old is not, and many who come do not drown the others."""

from __future__ import annotations

from typing import Any

import zmq

from proxtopd.lastvalues import LastValues
from proxtopd.outlet import Outlet


class Socket:
    """Subscriptions in, frames out."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.sent: list[bytes] = []

    def recv(self, flags: int, *, copy: bool) -> Any:
        if not self.asked:
            raise zmq.Again
        return zmq.Frame(self.asked.pop(0))

    def send(self, part: bytes, flags: int) -> None:
        self.sent.append(part)


def _outlet(*frames: tuple[bytes, bytes], came: float = 0.0) -> tuple[Outlet, Socket]:
    last, socket = LastValues(100, 1 << 30), Socket()
    for topic, payload in frames:
        last.put([topic, payload], came)
    return Outlet(socket, last), socket  # type: ignore[arg-type]


def _subscribe(outlet: Outlet, socket: Socket, prefix: bytes, now: float) -> list[bytes]:
    """The topics that are said again."""
    socket.asked.append(b"\x01" + prefix)
    outlet.listen()
    outlet.replay(now)
    sent, socket.sent = socket.sent, []
    return sent[::2]


def test_who_comes_late_gets_what_it_asked_for() -> None:
    outlet, socket = _outlet((b"snapshot/a/", b"1"), (b"snapshot/ab/", b"2"), (b"status/a/x", b"3"))
    assert _subscribe(outlet, socket, b"snapshot/a/", 1.0) == [b"snapshot/a/"]
    assert _subscribe(outlet, socket, b"", 2.0) == [b"snapshot/a/", b"snapshot/ab/", b"status/a/x"]


def test_the_more_is_said_again_the_seldomer() -> None:
    outlet, socket = _outlet((b"snapshot/a/", b"x" * (40 << 20)))
    assert _subscribe(outlet, socket, b"snapshot/", 1.0) == [b"snapshot/a/"]
    assert _subscribe(outlet, socket, b"snapshot/", 1.5) == []
    assert outlet.due(1.5) == 1.5
    outlet.replay(2.9)
    assert socket.sent == []
    outlet.replay(3.0)
    assert socket.sent[:1] == [b"snapshot/a/"]


def test_many_who_come_at_once_are_told_once() -> None:
    outlet, socket = _outlet((b"status/a/x", b"1"))
    socket.asked = [b"\x01status/"] * 50
    outlet.listen()
    outlet.replay(1.0)
    assert len(socket.sent) == 2
    assert outlet.due(1.0) is None


def test_a_cycle_that_is_not_renewed_is_not_said_again_but_a_heartbeat_is() -> None:
    last, socket = LastValues(100, 1 << 20), Socket()
    outlet = Outlet(socket, last)  # type: ignore[arg-type]
    for cycle in range(3):
        last.put([b"snapshot/a/", b"%d" % cycle], 10.0 + 2 * cycle)
        last.put([b"inventory/a/", b"the same"], 10.0)
        last.put([b"status/a/x", b"%d" % cycle], 10.0 + 2 * cycle)
    assert _subscribe(outlet, socket, b"", 19.0) == [b"snapshot/a/", b"inventory/a/", b"status/a/x"]
    last.put([b"snapshot/a/", b"2"], 19.0)  # said again to somebody else: no news
    assert _subscribe(outlet, socket, b"", 21.0) == [b"inventory/a/", b"status/a/x"]


def test_what_is_kept_has_a_bound() -> None:
    last = LastValues(2, 10)
    last.put([b"a", b"12345"], 0.0)
    last.put([b"b", b"123456"], 0.0)
    last.put([b"c", b"1"], 0.0)
    last.put([b"d", b"1"], 0.0)
    assert [frames[0] for frames in last.matching([b""], 0.0)] == [b"a", b"c"]
    last.put([b"a", b"1"], 0.0)
    last.drop(b"c")
    assert (len(last), last.bytes) == (1, 1)


def test_kinds_are_wanted_as_long_as_somebody_subscribes_to_them() -> None:
    outlet, socket = _outlet()
    _subscribe(outlet, socket, b"sample/a/", 1.0)
    _subscribe(outlet, socket, b"snapshot/", 1.0)
    assert outlet.wanted() == {"sample"}
    socket.asked = [b"\x00sample/a/"]
    outlet.listen()
    assert outlet.wanted() == set()
    _subscribe(outlet, socket, b"", 2.0)
    assert outlet.wanted() == {"sample", "inventory", "profile"}
