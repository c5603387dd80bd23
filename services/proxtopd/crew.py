"""The workers of a supervised fleet: what supervisord, the kernel and their own heartbeats tell of each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from proxtop.model import Message, Stamp, Status, Value
from proxtopd.actor import Actor
from proxtopd.places import Places
from proxtopd.programs import Program
from proxtopd.report import BACKOFF, HUNG, RUNNING, STARTING, Record

SILENT_INTERVALS = 5
"""A worker that has not beaten for so many intervals hangs, …"""

SILENT_S = 3.0
"""… though never after less than this: workers share the machine with others."""

FIRST_BEAT_S = 20.0
"""How long a worker may take from its start to its first heartbeat."""

LONGEST_PAUSE_S = 60.0
"""The longest pause between two starts of a worker that dies young again and again."""

BY_REQUEST = "ended by request"

_WITH_SUPERVISORD = "supervisord ended"
_PASSING = ("EXITED", "BACKOFF", "STOPPING")
_DOWN = ("FATAL", "STOPPED", "UNKNOWN")
_ENDED = re.compile(r"exited: (\S+) \((.*?)(?:; (?:not )?expected)?\)")
_WORDS = 200


def pause(failures: int) -> float:
    """Seconds until the next start after so many early deaths in a row: at once, then 1, 2, 4 … 60."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE_S, 2.0 ** min(failures - 2, 10))


def say(text: str) -> None:
    """One line on stderr, which may be gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"proxtopd: {text}\n")
        sys.stderr.flush()


class Crew:
    """The workers by name. `on_end` is called when a process has ended, `on_due` when a worker's pause is over."""

    def __init__(
        self, actor: Actor, places: Places, on_end: Callable[[], None], on_due: Callable[[Record], None]
    ) -> None:
        self.records: dict[str, Record] = {}
        self.beats: dict[str, tuple[Stamp, Status]] = {}
        self._early: dict[str, tuple[Stamp, Status]] = {}
        self._actor = actor
        self._places = places
        self._on_end = on_end
        self._on_due = on_due

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records.values())

    def adopt(self, wanted: Mapping[str, Program]) -> None:
        """The workers from now on: those that were there stay as they are."""
        for name in self.records.keys() - wanted.keys():
            self._forget(self.records[name])
            self.beats.pop(name, None)
        self.records = {name: self.records.get(name) or Record(name, program.user) for name, program in wanted.items()}

    def requested(self, names: Iterable[str]) -> None:
        """These end because somebody wants it: that is no failure."""
        for name in names:
            record = self.records[name]
            record.failures, record.due, record.ended = 0, None, BY_REQUEST

    def lost(self) -> None:
        """supervisord has ended, and every worker with it."""
        for record in self:
            self._forget(record)
            record.state, record.due, record.beaten = STARTING, None, None
            record.ended = _WITH_SUPERVISORD

    # supervisord's states

    def hear(self, lines: Iterable[str]) -> None:
        """Takes in how workers ended, which supervisord tells in its log alone."""
        for line in lines:
            match = _ENDED.search(line)
            record = self.records.get(match[1]) if match is not None else None
            if match is not None and record is not None and record.state != HUNG:  # why it was killed says more
                record.ended = match[2]

    def take(self, states: Mapping[str, Mapping[str, Any]]) -> bool:
        """Takes in supervisord's states; whether one of them will be another one at once."""
        passing = False
        for record in self:
            if record.name in states:
                passing = self._take(record, states[record.name]) or passing
        return passing

    def _take(self, record: Record, entry: Mapping[str, Any]) -> bool:
        pid = entry["pid"] or None
        if pid != record.pid:
            self._forget(record)
            if pid is not None:
                self._met(record, pid, entry["start"])
        state = entry["statename"]
        if state == "RUNNING":
            record.failures = 0
        elif state in _DOWN and record.wanted and record.due is None:
            self._postpone(record, entry)
        return state in _PASSING or (pid is not None and record.handle < 0)

    def _met(self, record: Record, pid: int, started: int) -> None:
        """A worker has a new process."""
        try:
            record.handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self._actor.watch(record.handle, lambda: self._ended(record))
        if record.since is not None:
            record.restarts += 1
            if record.ended not in (_WITH_SUPERVISORD, BY_REQUEST):
                say(f"worker {record.name} was started again (PID {pid}): {self._how(record)}")
        record.pid, record.since, record.began, record.beaten = pid, float(started), time.monotonic(), None
        record.state, record.reason, record.due = STARTING, None, None
        early = self._early.pop(record.name, None)
        if early is not None and early[1].pid == pid:  # it was heard before supervisord was asked
            self._beat(record, *early)
        if record.name == "broker":
            self.begin_anew()

    def _ended(self, record: Record) -> None:
        self._forget(record)
        if record.state != HUNG:
            record.state = STARTING
        self._on_end()

    def _forget(self, record: Record) -> None:
        if record.handle >= 0:
            self._actor.unwatch(record.handle)
            os.close(record.handle)
        record.handle, record.pid = -1, None

    def _postpone(self, record: Record, entry: Mapping[str, Any]) -> None:
        """A worker that died young, or that can't even be started, is tried again after a pause."""
        record.failures += 1
        wait = pause(record.failures)
        record.due = time.monotonic() + wait
        if not record.ended and entry["spawnerr"]:
            record.ended = entry["spawnerr"]
        if wait:
            record.state = BACKOFF
            at = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
            record.reason = f"ended {record.failures} times in a row ({self._how(record)}); started again at {at}"
            say(f"worker {record.name} {record.reason}")
        self._actor.at(record.due, lambda: self._over(record))

    def _over(self, record: Record) -> None:
        if record.due is not None and record.due <= time.monotonic() and record.wanted:
            record.due = None
            self._on_due(record)

    def _how(self, record: Record) -> str:
        """How a worker ended last: supervisord's words, and the worker's own where it ended by itself."""
        how = record.ended or "it ended"
        words = "" if how.startswith("terminated") else self._last_words(record.name)
        return f"{how}: {words}" if words else how

    def _last_words(self, name: str) -> str:
        try:
            with open(self._places.log(name), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        text = next((line for line in reversed(lines) if line.strip()), "")
        return "".join(char for char in text if char.isprintable()).removeprefix("proxtopd: ")[:_WORDS]

    # heartbeats

    def beat(self, message: Message) -> bool | None:
        """Takes a heartbeat: whether it is the first of a process, None where the process is not known yet."""
        record = self.records.get(message.part)
        if record is None or not isinstance(message.body, Status):
            return False
        if message.body.pid != record.pid:
            self._early[record.name] = message.stamp, message.body
            return None
        return self._beat(record, message.stamp, message.body)

    def _beat(self, record: Record, stamp: Stamp, status: Status) -> bool:
        self.beats[record.name] = stamp, status
        record.beaten = time.monotonic()
        first = record.state == STARTING
        if first:
            record.state = RUNNING
        return first

    def begin_anew(self) -> None:
        """Everyone's time to beat begins now."""
        now = time.monotonic()
        for record in self:
            record.began = max(record.began, now)
            if record.beaten is not None:
                record.beaten = now

    def hung(self, interval: float) -> list[Record]:
        """Who has not beaten for too long. While the broker is away nobody else can be heard, so nobody is judged."""
        now = time.monotonic()
        broker = self.records.get("broker")
        if broker is None or broker.pid is None:
            return []
        if self._silent(broker, now, interval):
            return [broker]
        if broker.beaten is None:
            return []
        return [record for record in self if self._silent(record, now, interval)]

    def _silent(self, record: Record, now: float, interval: float) -> bool:
        if record.pid is None or record.state == HUNG:
            return False
        if record.beaten is None:
            return now - record.began > FIRST_BEAT_S
        return now - record.beaten > max(SILENT_S, SILENT_INTERVALS * interval)

    def kill(self, record: Record) -> None:
        """Kills a worker that hangs."""
        silent = time.monotonic() - (record.began if record.beaten is None else record.beaten)
        record.state, record.reason = HUNG, f"was killed: no heartbeat for {silent:.1f} s"
        record.ended = f"killed: no heartbeat for {silent:.1f} s"
        say(f"worker {record.name} (PID {record.pid}) {record.reason}")
        if record.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)

    # what is told of them

    def info(self, interval: float) -> dict[str, Value]:
        """All of it, flat."""
        found: dict[str, Value] = {"workers": ",".join(self.records), "interval": interval}
        for record in self:
            found.update(record.info())
        return found

    def problems(self) -> list[str]:
        """Which are down, and why."""
        return [f"{record.name} {record.reason}" for record in self if record.reason]
