"""The supervised fleet: supervisord's parent, which watches heartbeats and states so that nothing stays down.

supervisord starts the workers and starts again at once what dies after a life. What this adds: a worker that hangs (no
heartbeat for five intervals) is killed, one that dies young is started again with growing pauses, a supervisord that
dies or hangs is replaced, and all of it is on the bus (`status/<node>/fleet`) and behind the control socket.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from typing import Any

from proxtop.bus import topics
from proxtop.model import Message, Stamp, Status, Value
from proxtopd import configuration, notify, places, programs, report
from proxtopd.actor import Actor, Stop
from proxtopd.configuration import Configuration, ConfigurationError
from proxtopd.control import Control
from proxtopd.places import Account, Places
from proxtopd.programs import STEADY_S, Program
from proxtopd.report import BACKOFF, FLEET, HUNG, RUNNING, STARTING, STOPPED, Record
from proxtopd.setup import Setup
from proxtopd.supervisor import Supervisor, Unanswered, wait_for

SILENT_INTERVALS = 5
"""A worker that has not beaten for so many intervals hangs, …"""

SILENT_S = 3.0
"""… though never after less than this: workers share the machine with others."""

FIRST_BEAT_S = 20.0
"""How long a worker may take from its start to its first heartbeat."""

LONGEST_PAUSE_S = 60.0
"""The longest pause between two starts of a worker that dies young again and again."""

_CHECK_S = 1.0
_SETTLE_S = 0.05
_LOOK_S = 30.0
_START_S = 10.0
_END_S = 4.0
_PASSING = ("EXITED", "BACKOFF", "STOPPING")
_DOWN = ("FATAL", "STOPPED", "UNKNOWN")
_ENDED = re.compile(r"exited: (\S+) \((.*?)(?:; (?:not )?expected)?\)")
_WORDS = 200
_WITH_SUPERVISORD = "supervisord ended"
_BY_REQUEST = "ended by request"


def pause(failures: int) -> float:
    """Seconds until the next start after so many early deaths in a row: at once, then 1, 2, 4 … 60."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE_S, 2.0 ** (failures - 2))


def say(text: str) -> None:
    """One line on stderr, which may be gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"proxtopd: {text}\n")
        sys.stderr.flush()


class Watch:
    """The parent of supervisord, in an actor's loop."""

    def __init__(
        self,
        actor: Actor,
        read: Callable[[Sequence[str]], Configuration],
        found: Configuration,
        account: Account | None,
    ) -> None:
        """`read` gives the configuration anew, with some settings on top."""
        self.records: dict[str, Record] = {}
        self._actor = actor
        self._read = read
        self._configuration = found
        self._account = account
        self._places = Places.of(found)
        self._beats: dict[str, tuple[Stamp, Status]] = {}
        self._supervisor: Supervisor | None = None
        self._began = 0.0
        self._deaths = 0
        self._looking = False
        self._checked = time.monotonic()
        self._refused: str | None = None
        self._programs: dict[str, Program] = {}
        self._adopt(programs.programs(found, self._places, account))
        group = found["PROXTOP_CONTROL_GROUP"]
        number = places.group_id("PROXTOP_CONTROL_GROUP", group) if group else None
        self._control = Control(actor, self._places.control, number, self.answer)

    # supervisord

    def start(self) -> None:
        """Starts supervisord, and with it every worker."""
        self._actor.at(time.monotonic(), self._spawn)
        self._actor.at(time.monotonic() + _CHECK_S, self._check)
        self._actor.at(time.monotonic() + _LOOK_S, self._look_seldom)

    def _spawn(self) -> None:
        self._began = time.monotonic()
        try:
            programs.write(self._programs, self._places)
            self._supervisor = supervisor = Supervisor(self._places)
        except OSError as error:
            self._deaths += 1
            wait = max(1.0, pause(self._deaths))
            say(f"{error.filename}: {error.strerror}; supervisord is not started; tried again in {wait:g} s")
            self._actor.at(self._began + wait, self._spawn)
            return
        self._actor.watch(supervisor.ended, self._on_supervisor_end)
        self._actor.watch(supervisor.words, self._on_words)
        try:
            wait_for(supervisor, _START_S)
        except Unanswered as error:
            say(f"{error}; it is started again")
            supervisor.signal(signal.SIGKILL)
            return
        self._look()

    def _on_supervisor_end(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        self._on_words(supervisor)
        self._actor.unwatch(supervisor.ended)
        if self._actor.watches(supervisor.words):
            self._actor.unwatch(supervisor.words)
        status = supervisor.close()
        self._deaths = 1 if time.monotonic() - self._began > STEADY_S else self._deaths + 1
        wait = pause(self._deaths)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        say(f"supervisord {how}, and the workers with it; started again" + (f" in {wait:g} s" if wait else ""))
        for record in self.records.values():
            self._forget(record)
            record.state, record.due, record.beaten = STARTING, None, None
            record.ended = _WITH_SUPERVISORD
        self._actor.at(time.monotonic() + wait, self._spawn)

    def _on_words(self, supervisor: Supervisor | None = None) -> None:
        """Takes in how workers ended, which supervisord tells in its log alone."""
        supervisor = supervisor or self._supervisor
        if supervisor is None:
            return
        lines = supervisor.heard()
        if not lines and self._actor.watches(supervisor.words):
            self._actor.unwatch(supervisor.words)  # its end: the descriptor stays readable
        for line in lines:
            match = _ENDED.search(line)
            record = self.records.get(match[1]) if match is not None else None
            if match is not None and record is not None and record.state != HUNG:  # why it was killed says more
                record.ended = match[2]

    def _call(self, method: str, *arguments: object) -> Any:
        """What supervisord answers; a hung one is killed, and its end takes its course."""
        if self._supervisor is None:
            raise Unanswered("supervisord is being started again")
        try:
            return self._supervisor.call(method, *arguments)
        except Unanswered as error:
            say(f"{error}; it is killed and started again")
            self._supervisor.signal(signal.SIGKILL)
            raise

    # states

    def _look_seldom(self) -> None:
        self._actor.at(time.monotonic() + _LOOK_S, self._look_seldom)
        self._look()

    def _look(self) -> None:
        """Takes in supervisord's states; looks again soon while something is on its way."""
        self._looking = False
        if self._supervisor is None:
            return
        try:
            states = self._supervisor.states()
        except Unanswered as error:
            say(f"{error}; it is killed and started again")
            self._supervisor.signal(signal.SIGKILL)
            return
        self._on_words()
        passing = False
        for record in self.records.values():
            entry = states.get(record.name)
            if entry is not None:
                passing = self._take(record, entry) or passing
        self._tell()
        if passing:
            self._look_soon()

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._actor.at(time.monotonic() + _SETTLE_S, self._look)

    def _take(self, record: Record, entry: dict[str, Any]) -> bool:
        """A worker's state according to supervisord; whether it will be another one at once."""
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
        self._actor.watch(record.handle, lambda: self._on_end(record))
        if record.since is not None:
            record.restarts += 1
            if record.ended not in (_WITH_SUPERVISORD, _BY_REQUEST):
                say(f"worker {record.name} was started again (PID {pid}): {self._how(record)}")
        record.pid, record.since, record.began, record.beaten = pid, float(started), time.monotonic(), None
        record.state, record.reason, record.due = STARTING, None, None
        if record.name == "broker":
            self._begin_anew()

    def _on_end(self, record: Record) -> None:
        self._forget(record)
        if record.state != HUNG:
            record.state = STARTING
        self._look()

    def _forget(self, record: Record) -> None:
        if record.handle >= 0:
            self._actor.unwatch(record.handle)
            os.close(record.handle)
        record.handle, record.pid = -1, None

    def _postpone(self, record: Record, entry: dict[str, Any]) -> None:
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
        self._actor.at(record.due, lambda: self._again(record))

    def _again(self, record: Record) -> None:
        if record.due is None or record.due > time.monotonic() or not record.wanted:
            return
        record.due = None
        with contextlib.suppress(xmlrpc.client.Fault, Unanswered):
            self._call("startProcess", record.name, False)
        self._look()

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

    def on_status(self, message: Message) -> None:
        """A worker beats."""
        record = self.records.get(message.part)
        if record is None or not isinstance(message.body, Status):
            return
        self._beats[record.name] = message.stamp, message.body
        if message.body.pid != record.pid:
            if time.monotonic() - message.stamp.mono < _CHECK_S:
                self._look_soon()
            return
        record.beaten = time.monotonic()
        if record.state == STARTING:
            record.state = RUNNING
            self._tell()

    def _check(self) -> None:
        """Kills who hangs. Nobody can be judged while the broker is away, nor after this process itself was stopped."""
        now = time.monotonic()
        self._actor.at(now + _CHECK_S, self._check)
        stalled = now - self._checked > 2 * _CHECK_S + 1
        self._checked = now
        notify.notify("WATCHDOG=1")
        if stalled:
            self._begin_anew()
            return
        broker = self.records.get("broker")
        if broker is None or broker.pid is None:
            return
        if self._silent(broker, now):
            self._kill(broker)
            return
        if broker.beaten is None:
            return
        for record in self.records.values():
            if record is not broker and self._silent(record, now):
                self._kill(record)

    def _silent(self, record: Record, now: float) -> bool:
        if record.pid is None or record.state == HUNG:
            return False
        if record.beaten is None:
            return now - record.began > FIRST_BEAT_S
        return now - record.beaten > max(SILENT_S, SILENT_INTERVALS * self._configuration.interval)

    def _begin_anew(self) -> None:
        """Everyone's time to beat begins now."""
        now = time.monotonic()
        for record in self.records.values():
            record.began = max(record.began, now)
            if record.beaten is not None:
                record.beaten = now

    def _kill(self, record: Record) -> None:
        silent = time.monotonic() - (record.began if record.beaten is None else record.beaten)
        record.state, record.reason = HUNG, f"no heartbeat for {silent:.1f} s; killed"
        record.ended = f"no heartbeat for {silent:.1f} s, so it was killed"
        say(f"worker {record.name} (PID {record.pid}): {record.reason}")
        if record.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
        self._tell()

    def _tell(self) -> None:
        """Publishes what is known of the workers, where that changed."""
        info: dict[str, Value] = {"workers": ",".join(self.records), "interval": self._configuration.interval}
        for record in self.records.values():
            info.update(record.info())
        problems = [f"{record.name}: {record.reason}" for record in self.records.values() if record.reason]
        reason = "; ".join([*problems, *([self._refused] if self._refused else [])]) or None
        if info != self._actor.info or reason != self._actor.reason:
            self._actor.info, self._actor.reason = info, reason
            self._actor.beat()
            running = sum(record.state == RUNNING for record in self.records.values())
            notify.notify(f"STATUS={running} of {len(self.records)} workers run" + (f"; {reason}" if reason else ""))

    # what others may ask

    def answer(self, words: list[str]) -> dict[str, Any]:
        """Serves a request of the control socket."""
        try:
            match words:
                case ["status"]:
                    self._look()
                    return self.status()
                case ["stop"]:
                    self._actor.at(time.monotonic(), self._stop)
                    return {"pid": os.getpid()}
                case ["reload"]:
                    return {"replaced": self.reload()}
                case ["restart"]:
                    return {"restarted": self._restart(list(self.records))}
                case ["restart", name] if name in self.records:
                    return {"restarted": self._restart([name])}
                case ["restart", name]:
                    return {"error": f"there is no worker {name!r}; there are {', '.join(self.records)}"}
                case ["interval", seconds]:
                    return {"replaced": self.reload([f"PROXTOP_INTERVAL={seconds}"])}
        except (ConfigurationError, Unanswered, OSError) as error:
            return {"error": str(error)}
        except xmlrpc.client.Fault as fault:
            return {"error": f"supervisord: {fault.faultString}"}
        return {"error": f"no such request: {' '.join(words)!r}"}

    def status(self) -> dict[str, Any]:
        """All there is to say, for `proxtopd status`."""
        return {
            "node": self._configuration.node,
            "bus": self._places.run,
            "interval": self._configuration.interval,
            "pid": os.getpid(),
            "reason": self._actor.reason,
            "workers": report.rows(self._actor.info, self._beats),
        }

    def _stop(self) -> None:
        raise Stop

    def _restart(self, names: list[str]) -> list[str]:
        """Ends these workers all at once, and starts them again."""
        self._end(names)
        for name in names:
            self.records[name].failures = 0
            self.records[name].ended = _BY_REQUEST
            self.records[name].due = None
            with contextlib.suppress(xmlrpc.client.Fault):
                self._call("startProcess", name, False)
        self._look()
        return names

    def _end(self, names: list[str]) -> None:
        """Ends workers all at once and waits for it."""
        for name in names:
            with contextlib.suppress(xmlrpc.client.Fault):  # it does not run
                self._call("stopProcess", name, False)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            states = {entry["name"]: entry["statename"] for entry in self._call("getAllProcessInfo")}
            if not any(states.get(name) in ("STOPPING", "RUNNING", "STARTING") for name in names):
                return
            time.sleep(_SETTLE_S)

    # reload

    def on_hangup(self) -> None:
        """SIGHUP: the configuration anew. A wrong one changes nothing, and is told."""
        notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            replaced = self.reload()
        except (ConfigurationError, Unanswered, OSError) as error:
            self._refused = f"the configuration was not reloaded: {error}"
            say(self._refused)
            self._tell()
        except xmlrpc.client.Fault as fault:
            say(f"supervisord: {fault.faultString}")
        else:
            say(f"reloaded; replaced: {', '.join(replaced) or 'nothing'}")
        notify.notify("READY=1")

    def reload(self, settings: Sequence[str] = ()) -> list[str]:
        """Reads the configuration again, with these settings on top; replaces the workers that it changes, which are
        returned, and leaves all others alone."""
        found = self._read(settings)
        for key in ("PROXTOP_RUN", "PROXTOP_USER", "PROXTOP_GROUP", "PROXTOP_CONTROL_GROUP", "PROXTOP_LOGS"):
            if found[key] != self._configuration[key]:
                raise ConfigurationError(f"{key} can't change while the fleet runs; restart proxtopd for it")
        wanted = programs.programs(found, self._places, self._account)
        programs.write(wanted, self._places)
        [[added, changed, removed]] = self._call("reloadConfig")
        self._end([*removed, *changed])
        for name in (*removed, *changed):
            self._call("removeProcessGroup", name)
        for name in removed:
            self._forget(self.records.pop(name))
            self._beats.pop(name, None)
            with contextlib.suppress(OSError):
                os.unlink(self._places.setup(name))
        for name in changed:
            self.records[name].failures, self.records[name].due = 0, None
            self.records[name].ended = _BY_REQUEST
        self._configuration, self._refused = found, None
        self._actor.setup = setup_of(found)
        self._adopt(wanted)
        self._begin_anew()
        for name in (*changed, *added):
            self._call("addProcessGroup", name)
        self._look_soon()
        return [*added, *changed, *removed]

    def _adopt(self, wanted: dict[str, Program]) -> None:
        """The workers from now on."""
        self._programs = wanted
        self.records = {name: self.records.get(name) or Record(name, program.user) for name, program in wanted.items()}

    def close(self) -> None:
        """Ends every worker, then supervisord."""
        notify.notify("STOPPING=1")
        for record in self.records.values():
            record.wanted = False
        if self._supervisor is not None:
            with contextlib.suppress(Unanswered, xmlrpc.client.Fault):
                self._end(list(self.records))
            self._supervisor.close()
        self._control.close()


def setup_of(found: Configuration) -> Setup:
    """What proxtopd itself has to know to be on the bus."""
    return Setup(directory=found.run, node=found.node, interval=found.interval, families=())


def run(path: str | None, settings: Sequence[str]) -> int:
    """Runs the fleet in the foreground until SIGTERM. ConfigurationError and places.Held say why it can't."""

    def read(more: Sequence[str] = ()) -> Configuration:
        return configuration.read(path, [*settings, *more])

    found = read()
    account = places.account(found)
    if account is None:
        say(f"not started by root: every worker runs as {os.geteuid()}, and sees what that user may")
    else:
        group = found["PROXTOP_CONTROL_GROUP"]
        more = [places.group_id("PROXTOP_CONTROL_GROUP", group)] if group else []
        os.setgroups(sorted({*os.getgroups(), account.gid, *more}))
    here = Places.of(found)
    places.prepare(here, account)
    lock = places.hold(here)
    programs.programs(found, here, account)
    _raise_limit()
    try:
        with Actor(FLEET, setup_of(found), [f"{topics.STATUS}/{found.node}/"]) as actor:
            signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
            watch = Watch(actor, read, found, account)
            signal.signal(signal.SIGHUP, lambda number, frame: actor.at(time.monotonic(), watch.on_hangup))
            watch.start()
            actor.at(time.monotonic(), lambda: notify.notify("READY=1"))
            try:
                actor.run({topics.STATUS: watch.on_status})
            finally:
                watch.close()
    finally:
        os.close(lock)
    return 0


def _raise_limit() -> None:
    """As many descriptors as may be: the broker ends when they run out (libzmq's accept), and inherits ours."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


__all__ = ["STOPPED", "Watch", "pause", "run"]
