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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import curve, endpoints, keys, topics
from proxtop.bus.keys import KeyProblem, Pair
from proxtop.bus.sockets import HIGH_WATER, Context, Publisher, Socket, bounded, networked, receive, send
from proxtop.model import Status
from proxtopd.lastvalues import LastValues

ALWAYS = (topics.SNAPSHOT, topics.STATUS)
ASKED = (topics.INVENTORY, topics.SAMPLE, topics.PROFILE)
"""The kinds that go out: those that are always at hand, and those that are fetched while a reader wants them."""

_MOST_PREFIXES = 1000
"""What one key may have subscribed to at once."""

_MOST_TOPICS = 20_000
_MOST_LAST_BYTES = 128 << 20
_MOST_GROWTH = 192 << 20
"""Bytes that the process may grow by before it throws everybody out: a message without end would take all."""

_MOST_MESSAGE = topics.MAX_TOPIC_BYTES + 128
"""Bytes that a reader may send at once: a subscription, sealed."""

_REPLAY_S = 0.2
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

    def checked(self) -> str | None:
        """What is wrong with these options and the files that they name, None when nothing is."""
        try:
            endpoints.parse_tcp(self.address, "door")
            if self.key is None and self.trusted is None:
                if not self.insecure and not endpoints.is_loopback(self.address):
                    return (
                        f"door {self.address}: without keys anybody can read; name a key file and the list of trusted "
                        "keys, or say that it shall be insecure"
                    )
                return None
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
        self._outward: Socket | None = None
        self._own: Pair | None = None
        self._shut: dict[bytes, str] = {}
        self._last = LastValues(_MOST_TOPICS, _MOST_LAST_BYTES)
        self._prefixes: dict[bytes, str] = {}
        self._counts: Counter[str] = Counter()
        self._fetched: set[str] = set()
        self._waiting: set[bytes] = set()
        self._strange = 0
        self._reason: str | None = None
        self._signals: set[int] = set()
        self._wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.add(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._base = _resident()
        self._checked = self._replayed = self._beaten = self._tried = 0.0

    def run(self) -> int:
        """Until SIGTERM. SIGHUP: keys are read anew."""
        if self._options.insecure and self._gate is None:
            self._say(f"door {self._options.address}: insecure: no keys; anybody who reaches it reads this bus")
        while signal.SIGTERM not in self._signals:
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._shut.clear()
                self._tried = 0.0
                self._load(again=True)
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
        if now >= self._beaten + max(1.0, self._options.interval):
            self._beaten = now
            self._beat()
        if self._waiting and now >= self._replayed + _REPLAY_S:
            self._replay(now)
        sources: list[tuple[Any, int]] = [(self._inward, zmq.POLLIN), (self._wake, zmq.POLLIN)]
        sources += [(self._publisher.socket, zmq.POLLIN)]
        if self._outward is not None:
            sources.append((self._outward, zmq.POLLIN))
        if self._gate is not None:
            sources.append((self._gate.socket, zmq.POLLIN))
        until = _REPLAY_S if self._waiting else _CHECK_S
        events = {source for source, _ in zmq_poll(sources, int(until * 1000))}
        if self._wake in events:
            os.read(self._wake, 512)
        if self._publisher.socket in events:
            self._publisher.on_readable()
        if self._gate is not None:
            self._gate.answer()
        if self._outward is not None and self._outward in events:
            self._listen(self._outward)
        if self._inward in events:
            self._forward()

    # Who may come

    def _load(self, *, again: bool = False) -> bool:
        """Reads the keys; whether the door may be open. On a reload it is closed where somebody lost the right to be
        here, or where anything is wrong with the files; who comes back finds it open again."""
        options, gate = self._options, self._gate
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
        socket.set(zmq.BACKLOG, 1024)
        if self._own is not None:
            curve.serve(socket, self._own)
        try:
            socket.bind(self._options.address)
        except zmq.ZMQError as error:
            socket.close(0)
            self._trouble(f"can't listen: {error.strerror}")
            return
        self._outward = socket
        self._reason = "insecure: no keys" if self._gate is None and self._options.insecure else None

    def _close(self) -> None:
        if self._outward is not None:
            self._outward.close(0)
            self._outward = None
            self._tried = 0.0
        self._prefixes.clear()
        self._counts.clear()
        self._waiting.clear()
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

    def _listen(self, outward: Socket) -> None:
        """Takes in who subscribed to what, and who no longer does."""
        while True:
            try:
                frame = outward.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                break
            request = frame.bytes
            prefix = request[1:]
            if request[:1] == b"\x00":
                if (name := self._prefixes.pop(prefix, None)) is not None:
                    self._counts[name] -= 1
            elif request[:1] == b"\x01":
                self._waiting.add(prefix)
                if prefix not in self._prefixes:
                    name = self._prefixes[prefix] = _user(frame)
                    self._counts[name] += 1
                    if self._counts[name] > _MOST_PREFIXES:
                        self._throw_out(name, f"subscribes to more than {_MOST_PREFIXES} things")
                        return
            else:
                self._strange += 1
        self._fetch()

    def _fetch(self) -> None:
        """Subscribes inward to the kinds that somebody wants now, and to no others."""
        wanted = {kind for kind in ASKED if any(_overlap(f"{kind}/".encode(), prefix) for prefix in self._prefixes)}
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
                    send(self._outward, frames)

    def _replay(self, now: float) -> None:
        """What was said last, to who has just subscribed; all readers see it again, so it is done for many at once."""
        self._replayed = now
        waiting, self._waiting = self._waiting, set()
        if self._outward is not None:
            for frames in self._last.matching(waiting, now):
                send(self._outward, frames)

    def _beat(self) -> None:
        gate = self._gate
        status = Status(
            actor="door",
            state="degraded" if self._reason else "running",
            pid=os.getpid(),
            interval=self._options.interval,
            drops=self._strange,
            reason=self._reason,
            info={
                "address": self._options.address,
                "trusted": len(gate.trusted) if gate else None,
                "admitted": gate.admitted if gate else None,
                "refused": gate.refused if gate else None,
                "subscriptions": len(self._prefixes),
            },
        )
        self._publisher.publish(topics.STATUS, "door", 0, status)


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _user(frame: Any) -> str:
    """The name of who sent it, as the gate gave it; empty without keys."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def say(text: str) -> None:
    """One line for the log."""
    sys.stderr.write(f"proxtopd: {text}\n")
    sys.stderr.flush()


def run(options: DoorOptions) -> int:
    """Serves until SIGTERM."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Door(options, say).run()


def main(argv: Sequence[str]) -> int:
    """A door as a process of its own: OPTIONS, those of DoorOptions as JSON."""
    return run(DoorOptions(**json.loads(argv[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
