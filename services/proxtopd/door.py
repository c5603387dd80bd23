"""The door: the local bus for readers over the network, each let in by key or not at all.

Readers subscribe, and nothing else that they send is heard. libzmq can't drop one peer: when a key is revoked, when one
asks for too much, or when what they send takes too much memory, the socket is closed and opened anew, all sessions with
it, and who is still let in comes back within a second. Where keys can't be loaded the door is shut for everyone.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import curve, endpoints, keys, topics
from proxtop.bus.keys import KeyProblem, Pair
from proxtop.bus.sockets import HIGH_WATER, Context, Publisher, bounded, listen, networked, receive
from proxtop.model import Status
from proxtopd.configuration import DOOR, DOOR_KEYS
from proxtopd.lastvalues import LastValues
from proxtopd.outlet import ALWAYS, Outlet
from proxtopd.setup import Setup

_MOST_PREFIXES = 1000
"""What one key may have subscribed to at once."""

_MOST_TOPICS = 20_000
_MOST_LAST_BYTES = 128 << 20
_MOST_GROWTH = 192 << 20
"""Bytes that the process may grow by before it throws everybody out: a message without end would take all."""

_MOST_MESSAGE = topics.MAX_TOPIC_BYTES + 128
"""Bytes that a reader may send at once: a subscription, sealed."""

_BACKLOG = 1024
"""Connections that may wait to be accepted."""

_CHECK_S = 0.5
_RETRY_S = 1.0
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class DoorOptions:
    """Where the local bus is and whose; where readers connect (tcp://); the file of our keys and the list of those let
    in, both None where anybody is. `high_water`: frames kept for each reader."""

    directory: str
    node: str
    interval: float
    address: str
    key: str | None = None
    trusted: str | None = None
    insecure: bool = False
    high_water: int = HIGH_WATER

    def exposed(self) -> str | None:
        """What is wrong where anybody in the network could read, and nobody said that this is meant."""
        if self.key or self.trusted or self.insecure or endpoints.is_loopback(self.address):
            return None
        return (
            f"door {self.address}: without keys anybody can read; name a key file and the list of trusted keys, or say "
            "that it shall be insecure"
        )

    def checked(self) -> str | None:
        """What is wrong with these options and the files that they name, None when nothing is."""
        try:
            endpoints.parse_tcp(self.address, "door", listening=True)
            if self.key is None and self.trusted is None:
                return self.exposed()
            if self.key is None or self.trusted is None:
                return f"door {self.address}: the key file and the list of trusted keys go together; name both"
            keys.load(self.key)
            keys.trusted(self.trusted)
        except (endpoints.EndpointError, KeyProblem) as problem:
            return str(problem)
        return None


class Door:
    """The worker: the local bus inward, the network outward, and who may come."""

    def __init__(self, options: DoorOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._context = Context()
        self._inward = bounded(self._context.socket(zmq.SUB))
        self._inward.set(zmq.RCVHWM, options.high_water)
        self._inward.connect(endpoints.subscribe(options.directory))
        for kind in ALWAYS:
            self._inward.set(zmq.SUBSCRIBE, f"{kind}/".encode())
        self._publisher = Publisher(self._context, endpoints.publish(options.directory), options.node)
        self._gate: curve.Gate | None = None
        if options.key is not None or options.trusted is not None:
            self._gate = curve.Gate(self._context, {})
        self._outward: Outlet | None = None
        self._own: Pair | None = None
        self._shut: dict[bytes, str] = {}
        self._last = LastValues(_MOST_TOPICS, _MOST_LAST_BYTES)
        self._fetched: set[str] = set()
        self._strange = 0
        self._reason: str | None = None
        self._signals: set[int] = set()
        self._wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.add(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._loaded: tuple[tuple[int, int, int, int] | None, ...] = ()
        self._base = _resident()
        self._checked = self._beaten = self._tried = 0.0

    def run(self) -> int:
        """Until SIGTERM. Keys are read anew when their files changed, and on SIGHUP."""
        if self._options.insecure and self._gate is None:
            self._say(f"door {self._options.address}: insecure: no keys; anybody who reaches it reads this bus")
        while signal.SIGTERM not in self._signals:
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._reload()
            self._turn()
        self._close()
        self._inward.close(0)
        self._publisher.close(100)
        if self._gate is not None:
            self._gate.close()
        self._context.term()
        return 0

    def _turn(self) -> None:
        now = time.monotonic()
        if self._outward is None and now >= self._tried + _RETRY_S:
            self._tried = now
            if self._load():
                self._open()
        if now >= self._checked + _CHECK_S:
            self._checked = now
            self._check_memory()
            if self._files() != self._loaded:
                self._reload()
        if now >= self._beaten + max(1.0, self._options.interval):
            self._beaten = now
            self._beat()
        sources: list[tuple[Any, int]] = [(self._inward, zmq.POLLIN), (self._wake, zmq.POLLIN)]
        sources += [(self._publisher.socket, zmq.POLLIN)]
        until = _CHECK_S
        if self._outward is not None:
            sources.append((self._outward.socket, zmq.POLLIN))
            until = min(until, _CHECK_S if (due := self._outward.due(now)) is None else due)
        if self._gate is not None:
            sources.append((self._gate.socket, zmq.POLLIN))
        events = {source for source, _ in zmq_poll(sources, int(until * 1000) + 1)}
        if self._wake in events:
            os.read(self._wake, 512)
        if self._publisher.socket in events:
            self._publisher.on_readable()
        if self._gate is not None:
            self._gate.answer()
        if self._outward is not None and self._outward.socket in events:
            self._listen(self._outward)
        if self._inward in events:
            self._forward()
        if self._outward is not None:
            self._outward.replay(time.monotonic())

    # Who may come

    def _files(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        """By what can be told that a file of keys was changed: nobody has to say so."""
        return tuple(_mark(path) for path in (self._options.key, self._options.trusted) if path is not None)

    def _reload(self) -> None:
        self._shut.clear()
        self._tried = 0.0
        self._load(again=True)

    def _load(self, *, again: bool = False) -> bool:
        """Reads the keys; whether the door may be open. On a reload it is closed where somebody lost the right to be
        here, or where anything is wrong with the files; who comes back finds it open again."""
        options, gate = self._options, self._gate
        self._loaded = self._files()
        if gate is None:
            return True
        try:
            if options.key is None or options.trusted is None:
                raise KeyProblem(self._options.checked() or "no keys")
            own, trusted = keys.load(options.key), keys.trusted(options.trusted)
        except KeyProblem as problem:
            gate.trusted = {}
            self._trouble(f"shut for everyone: {problem}")
            self._close()
            return False
        allowed = {key: name for key, name in trusted.items() if key not in self._shut}
        lost = [name for key, name in gate.trusted.items() if allowed.get(key) != name]
        if again and self._outward is not None and (lost or own != self._own):
            self._say(f"door {options.address}: opened anew: {', '.join(lost) or 'its own keys'} changed")
            self._close()
        self._own, gate.trusted = own, allowed
        return True

    def _open(self) -> None:
        socket = networked(bounded(self._context.socket(zmq.XPUB)))
        socket.set(zmq.XPUB_VERBOSE, 1)
        socket.set(zmq.SNDHWM, self._options.high_water)
        socket.set(zmq.MAXMSGSIZE, _MOST_MESSAGE)
        if self._own is not None:
            curve.serve(socket, self._own)
        try:
            listen(socket, self._options.address, _BACKLOG)
        except (OSError, zmq.ZMQError) as error:
            socket.close(0)
            self._trouble(f"can't listen: {error.strerror}")
            return
        self._outward = Outlet(socket, self._last)
        self._reason = "insecure: no keys" if self._gate is None and self._options.insecure else None

    def _close(self) -> None:
        if self._outward is not None:
            self._outward.socket.close(0)
            self._strange += self._outward.strange
            self._outward = None
            self._tried = 0.0
        self._fetch()

    def _throw_out(self, name: str, why: str) -> None:
        """Ends all sessions, and lets that name in no more until the next reload."""
        self._say(f"door {self._options.address}: {name or 'a reader'} {why}: {name or 'everyone'} is thrown out")
        if self._gate is not None and name:
            self._shut.update((key, bound) for key, bound in self._gate.trusted.items() if bound == name)
        self._close()

    def _check_memory(self) -> None:
        """A message without end is never seen, and grows: closing the socket is all that ends it."""
        if _resident() - self._base - self._last.bytes < _MOST_GROWTH:
            return
        if self._outward is None:
            self._say(f"door {self._options.address}: too much memory is in use; starting anew")
            sys.exit(1)
        self._throw_out("", "sends more than is ever read")
        ctypes.CDLL(None).malloc_trim(0)

    def _trouble(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._say(f"door {self._options.address}: {reason}")

    # Frames

    def _listen(self, outward: Outlet) -> None:
        greedy = outward.listen(_MOST_PREFIXES)
        if greedy is not None:
            self._throw_out(greedy, f"subscribes to more than {_MOST_PREFIXES} things")
        self._fetch()

    def _fetch(self) -> None:
        """Subscribes inward to the kinds that somebody wants now, and to no others."""
        wanted = self._outward.wanted() if self._outward is not None else set()
        for kind in wanted - self._fetched:
            self._inward.set(zmq.SUBSCRIBE, f"{kind}/".encode())
        for kind in self._fetched - wanted:
            self._inward.set(zmq.UNSUBSCRIBE, f"{kind}/".encode())
            self._last.drop(f"{kind}/".encode())
        self._fetched = wanted

    def _forward(self) -> None:
        now = time.monotonic()
        while (frames := receive(self._inward)) is not None:
            if len(frames) == 2:
                self._last.put(frames, now)
                if self._outward is not None:
                    self._outward.send(frames)

    def _beat(self) -> None:
        gate, outward = self._gate, self._outward
        status = Status(
            actor="door",
            state="degraded" if self._reason else "running",
            pid=os.getpid(),
            interval=self._options.interval,
            drops=self._strange + (outward.strange if outward else 0),
            reason=self._reason,
            info={
                "address": self._options.address,
                "trusted": len(gate.trusted) if gate else None,
                "admitted": gate.admitted if gate else None,
                "refused": gate.refused if gate else None,
                "subscriptions": len(outward.prefixes) if outward else 0,
            },
        )
        self._publisher.publish(topics.STATUS, "door", 0, status)


def _mark(path: str) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def say(text: str) -> None:
    """One line for the log."""
    sys.stderr.write(f"proxtop: {text}\n")
    sys.stderr.flush()


def serve(name: str, setup: Setup) -> int:
    """The door of a fleet: what it is told stands in the keys PROXTOP_DOOR…"""
    told = setup.options
    key, trusted, insecure = (told[key] for key in DOOR_KEYS)
    return run(
        DoorOptions(
            directory=setup.directory, node=setup.node, interval=setup.interval, address=told[DOOR],
            key=key or None, trusted=trusted or None, insecure=insecure == "yes" and not key,
        )
    )  # fmt: skip


def run(options: DoorOptions) -> int:
    """Serves until SIGTERM; 2 where it may not."""
    if (exposed := options.exposed()) is not None:
        say(exposed)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Door(options, say).run()


def main(argv: Sequence[str]) -> int:
    """A door as a process of its own: OPTIONS, those of DoorOptions as JSON."""
    return run(DoorOptions(**json.loads(argv[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
