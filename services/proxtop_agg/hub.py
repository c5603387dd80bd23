"""The hub: what every host says, in; one bus of the same shape, out, with the last frame of every topic for who comes
late, and a heartbeat for each host that tells how it is heard."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import zmq

from proxtop.bus import endpoints, topics
from proxtop.bus.frames import encode
from proxtop.bus.sockets import Context, Socket, bounded, receive
from proxtop.bus.topics import CLUSTER, HOST, MAX_TOPIC_BYTES
from proxtop.model import Stamp, Status
from proxtop_agg import config, heartbeat
from proxtop_agg.config import Config, ConfigError
from proxtop_agg.upstream import Host, Upstream
from proxtopd.lastvalues import LastValues
from proxtopd.outlet import Outlet

_TICK_S = 1.0
_CHECK_S = 0.1
_MOST_GROWTH = 64 << 20
"""Bytes by which the process grows between two ticks before it is looked who sends so much."""

_PAGE = resource.getpagesize()
_MOST_EACH_TICK = 100
"""Heartbeats for hosts in one tick; of more hosts, each has its turn. At once where its state changes."""

_TAKEN_OVER_S = 30.0
_MOST_TOPICS = 50_000
_MOST_LAST_BYTES = 256 << 20
_SOCKETS_EACH = 3


class Hub:
    """The worker. `say` takes a line for the log."""

    def __init__(self, path: str, loaded: Config, say: Callable[[str], None]) -> None:
        self._path = path
        self._config = loaded
        self._say = say
        self._context = Context()
        self._context.set(zmq.MAX_SOCKETS, _SOCKETS_EACH * 20_000)
        self._context.set(zmq.IO_THREADS, 2)
        self._last = LastValues(_MOST_TOPICS, _MOST_LAST_BYTES)
        self._poll = select.epoll()
        self._inward = bounded(self._context.socket(zmq.SUB))
        for prefix in (topics.topic(topics.STATUS, loaded.name), f"{topics.PROFILE}/".encode()):
            self._inward.set(zmq.SUBSCRIBE, prefix)
        _bind(self._inward, endpoints.publish(loaded.directory), 0o077)
        outward = bounded(self._context.socket(zmq.XPUB))
        outward.set(zmq.XPUB_VERBOSE, 1)
        outward.set(zmq.SNDHWM, loaded.high_water)
        _bind(outward, endpoints.subscribe(loaded.directory), 0o007)
        self._outlet = Outlet(outward, self._last)
        self._upstreams: dict[str, Upstream] = {}
        self._owners: dict[str, Upstream] = {}
        self._descriptors: dict[int, Upstream] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        self._unread: dict[Upstream, None] = {}
        self._states: dict[str, heartbeat.State] = {}
        self._fetched: set[str] = set()
        self._epoch = time.time_ns()
        self._seq: dict[str, int] = {}
        self._ticks = 0
        self._tick_at = self._check_at = time.monotonic()
        self._size = _resident()
        self._signals: set[int] = set()
        self._wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.add(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for descriptor in (self._wake, int(self._inward.get(zmq.FD)), int(outward.get(zmq.FD))):
            self._poll.register(descriptor, select.EPOLLIN)
        self._follow(loaded)

    def run(self) -> int:
        """Until SIGTERM; SIGHUP: the configuration is read anew."""
        while signal.SIGTERM not in self._signals:
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._reload()
            self._turn()
        for upstream in self._upstreams.values():
            upstream.close()
        self._inward.close(0)
        self._outlet.socket.close(100)
        self._context.term()
        return 0

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = max(self._tick_at + _TICK_S, now)
            self._tick(now)
            self._size = _resident()
        elif now >= self._check_at and _resident() - self._size > _MOST_GROWTH:
            self._look_after(now)
            self._size = _resident()
        self._check_at = now + _CHECK_S if now >= self._check_at else self._check_at
        due = self._outlet.due(now)
        wait = min(self._tick_at, self._check_at) - now
        wait = wait if due is None else min(wait, due)
        ready = [descriptor for descriptor, _ in self._poll.poll(0.0 if self._unread else max(0.0, wait))]
        now = time.monotonic()
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 512)
        # A descriptor tells once that something changed (zmq_getsockopt, ZMQ_FD): whoever has more to read is asked
        # again, after the others had their turn; and sending may take in what a reader asked for, so that is looked at
        # each time.
        again, self._unread = self._unread, {}
        again.update((self._descriptors[number], None) for number in ready if number in self._descriptors)
        for upstream in again:
            self._read(upstream, now)
        self._own_workers()
        self._outlet.listen()
        self._outlet.replay(now)
        self._fetch()

    def _read(self, upstream: Upstream, now: float) -> None:
        before = upstream.connected
        upstream.watch(now)
        found, more = upstream.take(now)
        for host, kind, frames in found:
            self._last.put(frames, now)
            self._outlet.send(frames)
            if kind == topics.SNAPSHOT and self._states.get(host.node, ("", None))[0] != "running":
                self._beat_host(upstream, host, now)
        if more:
            self._unread[upstream] = None
        if upstream.connected != before:
            for host in upstream.hosts.values():
                self._beat_host(upstream, host, now)

    def _own_workers(self) -> None:
        """What the door says of itself, and the profiler of the VMs."""
        now = time.monotonic()
        while (frames := receive(self._inward)) is not None:
            if len(frames) == 2 and len(frames[0]) <= MAX_TOPIC_BYTES:
                self._last.put(frames, now)
                self._outlet.send(frames)

    def _fetch(self) -> None:
        wanted = self._outlet.wanted()
        if self._config.profiler is not None:
            wanted.discard(topics.PROFILE)  # of one VM one profiler is enough: ours
        if wanted == self._fetched:
            return
        for kind in self._fetched - wanted:
            self._last.drop(f"{kind}/".encode())
        self._fetched = wanted
        for upstream in self._upstreams.values():
            upstream.fetch(wanted)

    # Hosts that come and go

    def _claim(self, node: str, upstream: Upstream) -> bool:
        """Whether a node that an aggregator tells of for the first time may come from there: nobody else is heard to
        speak for it."""
        owner = self._owners.get(node)
        if owner is not None and owner is not upstream:
            if not owner.peer.tree or time.monotonic() - owner.hosts[node].came < _TAKEN_OVER_S:
                return False
            del owner.hosts[node]
        self._owners[node] = upstream
        return True

    def _reload(self) -> None:
        try:
            loaded = config.load(self._path)
        except ConfigError as error:
            self._say(f"{error}; the configuration of before stays")
            return
        if (loaded.name, loaded.directory) != (self._config.name, self._config.directory):
            self._say(f"{self._path}: name and directory change with a restart only; the configuration of before stays")
            return
        self._follow(loaded)

    def _follow(self, loaded: Config) -> None:
        """Listens to those that the configuration names, and to no others."""
        fresh = {peer.name: peer for peer in loaded.peers}
        renewed = loaded.own != self._config.own
        for name, upstream in list(self._upstreams.items()):
            if renewed or fresh.get(name) != upstream.peer:
                self._forget(name, upstream)
        self._outlet.socket.set(zmq.SNDHWM, loaded.high_water)
        self._config = loaded
        for name, peer in fresh.items():
            if name not in self._upstreams:
                upstream = Upstream(self._context, peer, loaded.own, loaded.high_water, self._claim)
                upstream.fetch(self._fetched)
                self._upstreams[name] = upstream
                for node in upstream.hosts:
                    if (other := self._owners.get(node)) is not None:
                        del other.hosts[node]  # an aggregator spoke for it so far
                    self._owners[node] = upstream
                self._register(name, upstream)

    def _forget(self, name: str, upstream: Upstream) -> None:
        self._unregister(name)
        upstream.close()
        self._unread.pop(upstream, None)
        del self._upstreams[name]
        for node in upstream.hosts:
            self._owners.pop(node, None)
            self._states.pop(node, None)
            for kind in topics.KINDS:
                self._last.drop(topics.topic(kind, node))
            self._last.drop(topics.topic(topics.STATUS, self._config.name, HOST + node))
            self._publish(HOST + node, heartbeat.removed(node), keep=False)

    def _register(self, name: str, upstream: Upstream) -> None:
        self._known[name] = upstream.descriptors
        for descriptor in upstream.descriptors:
            self._descriptors[descriptor] = upstream
            self._poll.register(descriptor, select.EPOLLIN)
        self._unread[upstream] = None

    def _unregister(self, name: str) -> None:
        for descriptor in self._known.pop(name, ()):
            del self._descriptors[descriptor]
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)

    # What it says of itself

    def _tick(self, now: float) -> None:
        self._ticks += 1
        self._look_after(now)
        live = 0
        number = -1
        rounds = 1 + len(self._owners) // _MOST_EACH_TICK
        for number, (upstream, host) in enumerate(self._hosts()):
            state = self._state(upstream, host, now)
            live += state[0] == "running"
            if state != self._states.get(host.node) or (number + self._ticks) % rounds == 0:
                self._beat_host(upstream, host, now)
        self._publish(CLUSTER, heartbeat.of_cluster(self._config, number + 1, live, self._interval()))

    def _look_after(self, now: float) -> None:
        """Cuts off who sends too much, and tries again where nobody else does."""
        for name, upstream in self._upstreams.items():
            upstream.watch(now)
            if upstream.tick(now):
                self._unregister(name)
                self._register(name, upstream)
                upstream.fetch(self._fetched)

    def _hosts(self) -> Iterator[tuple[Upstream, Host]]:
        for upstream in self._upstreams.values():
            for host in list(upstream.hosts.values()):
                yield upstream, host

    def _interval(self) -> float:
        """The interval that most hosts have."""
        found = [host.interval for _, host in self._hosts() if host.interval]
        return max(set(found), key=found.count) if found else heartbeat.FIRST_INTERVAL_S

    def _state(self, upstream: Upstream, host: Host, now: float) -> heartbeat.State:
        return heartbeat.state(upstream, host, now, self._config.lost)

    def _beat_host(self, upstream: Upstream, host: Host, now: float) -> None:
        found = self._states[host.node] = self._state(upstream, host, now)
        self._publish(HOST + host.node, heartbeat.of_host(upstream, host, found, now))

    def _publish(self, part: str, status: Status, *, keep: bool = True) -> None:
        seq = self._seq[part] = self._seq.get(part, 0) + 1
        now = time.monotonic()
        stamp = Stamp(self._config.name, self._epoch, seq, 0, time.time(), now)
        frames = encode(topics.STATUS, part, stamp, status)
        if keep:
            self._last.put(frames, now)
        self._outlet.send(frames)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def _bind(end: Socket, endpoint: str, mask: int) -> None:
    """Binds with the mode that the mask leaves: a chmod after the bind would come too late."""
    before = os.umask(mask)
    try:
        end.bind(endpoint)
    finally:
        os.umask(before)


def say(text: str) -> None:
    """One line for the log."""
    sys.stderr.write(f"proxtop-agg: {text}\n")
    sys.stderr.flush()


def main(argv: Sequence[str]) -> int:
    """The hub as a process of its own: CONFIG, and the descriptor of the lock on its directory."""
    path, lock = argv[0], int(argv[1])
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    loaded = config.load(path)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for peer in loaded.peers:
        if peer.key is None and not endpoints.is_loopback(peer.address):
            say(f"{peer.name}: insecure: no key, anybody in the network can speak for {peer.address}")
    return Hub(path, loaded, say).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
