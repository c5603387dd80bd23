"""The supervised fleet: supervisord's parent, which watches heartbeats and states so that nothing stays down.

supervisord starts the workers and starts again at once what dies after a life. What this adds: a worker that hangs (no
heartbeat for five intervals) is killed, one that dies young is started again with growing pauses, a supervisord that
dies or hangs is replaced, and all of it is on the bus (`status/<node>/fleet`) and behind the control socket.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from typing import Any

from proxtop.bus import topics
from proxtop.model import Message
from proxtopd import configuration, notify, places, programs, report
from proxtopd.actor import Actor, Stop
from proxtopd.configuration import Configuration, ConfigurationError
from proxtopd.control import Control
from proxtopd.crew import Crew, pause, say
from proxtopd.places import Account, Places
from proxtopd.programs import STEADY_S, Program
from proxtopd.report import FLEET, RUNNING, Record
from proxtopd.setup import Setup
from proxtopd.supervisor import Supervisor, Unanswered, wait_for

_CHECK_S = 1.0
_SETTLE_S = 0.05
_LOOK_S = 30.0
_START_S = 10.0
_END_S = 4.0

_LASTING = (
    "PROXTOP_RUN", "PROXTOP_NODE", "PROXTOP_USER", "PROXTOP_GROUP", "PROXTOP_CONTROL_GROUP", "PROXTOP_LOGS",
)  # fmt: skip
"""The keys that proxtopd itself lives by: they can't change while it runs."""


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
        self._actor = actor
        self._read = read
        self._configuration = found
        self._account = account
        self._places = Places.of(found)
        self._supervisor: Supervisor | None = None
        self._began = 0.0
        self._deaths = 0
        self._looking = False
        self._checked = time.monotonic()
        self._refused: str | None = None
        self._trouble: str | None = None
        self._programs: dict[str, Program] = programs.programs(found, self._places, account)
        self._crew = Crew(actor, self._places, self._look, self._again)
        self._crew.adopt(self._programs)
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
            self._trouble = f"supervisord can't be started: {_line(error)}"
            say(f"{self._trouble}; tried again in {wait:g} s")
            self._tell()
            self._actor.at(self._began + wait, self._spawn)
            return
        self._trouble = None
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
        self._crew.lost()
        self._tell()
        self._actor.at(time.monotonic() + wait, self._spawn)

    def _on_words(self, supervisor: Supervisor | None = None) -> None:
        """Takes in how workers ended, which supervisord tells in its log alone."""
        supervisor = supervisor or self._supervisor
        if supervisor is None:
            return
        lines = supervisor.heard()
        if not lines and self._actor.watches(supervisor.words):
            self._actor.unwatch(supervisor.words)  # its end: the descriptor stays readable
        self._crew.hear(lines)

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

    # states and heartbeats

    def _look_seldom(self) -> None:
        self._actor.at(time.monotonic() + _LOOK_S, self._look_seldom)
        self._look()

    def _look(self) -> None:
        """Takes in supervisord's states; looks again soon while something is on its way."""
        self._looking = False
        if self._supervisor is None:
            return
        try:
            states = {entry["name"]: entry for entry in self._call("getAllProcessInfo")}
        except Unanswered:
            return
        self._on_words()
        passing = self._crew.take(states)
        self._tell()
        if passing:
            self._look_soon()

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._actor.at(time.monotonic() + _SETTLE_S, self._look)

    def _again(self, record: Record) -> None:
        """A worker's pause is over."""
        with contextlib.suppress(xmlrpc.client.Fault, Unanswered):
            self._call("startProcess", record.name, False)
        self._look()

    def on_status(self, message: Message) -> None:
        """A worker beats."""
        first = self._crew.beat(message)
        if first:
            self._tell()
        elif first is None and time.monotonic() - message.stamp.mono < _CHECK_S:
            self._look_soon()

    def _check(self) -> None:
        """Kills who hangs; after this process itself was stopped nobody can be judged."""
        now = time.monotonic()
        self._actor.at(now + _CHECK_S, self._check)
        stalled = now - self._checked > 2 * _CHECK_S + 1
        self._checked = now
        notify.notify("WATCHDOG=1")
        if stalled:
            self._crew.begin_anew()
        for record in self._crew.hung(self._configuration.interval):
            self._crew.kill(record)
            self._tell()

    def _tell(self) -> None:
        """Publishes what is known of the workers, where that changed."""
        info = self._crew.info(self._configuration.interval)
        reason = "; ".join(filter(None, [self._trouble, *self._crew.problems(), self._refused])) or None
        if info != self._actor.info or reason != self._actor.reason:
            self._actor.info, self._actor.reason = info, reason
            self._actor.beat()
            running = sum(record.state == RUNNING for record in self._crew)
            every = f"STATUS={running} of {len(self._crew.records)} workers run"
            notify.notify(f"{every}; {reason}" if reason else every)

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
                    return {"restarted": self._restart(list(self._crew.records))}
                case ["restart", name] if name in self._crew.records:
                    return {"restarted": self._restart([name])}
                case ["restart", name]:
                    return {"error": f"there is no worker {name!r}; there are {', '.join(self._crew.records)}"}
                case ["interval", seconds]:
                    return {"replaced": self.reload([f"PROXTOP_INTERVAL={seconds}"])}
        except (ConfigurationError, Unanswered, OSError) as error:
            return {"error": _line(error)}
        except xmlrpc.client.Fault as fault:
            return {"error": f"supervisord: {fault.faultString}"}
        return {"error": f"no such request: {' '.join(words)!r}"}

    def status(self) -> dict[str, Any]:
        """All there is to say, for `proxtopd status`."""
        return {
            "node": self._actor.setup.node,
            "bus": self._places.run,
            "interval": self._configuration.interval,
            "pid": os.getpid(),
            "reason": self._actor.reason,
            "workers": report.rows(self._actor.info, self._crew.beats),
        }

    def _stop(self) -> None:
        raise Stop

    def _restart(self, names: list[str]) -> list[str]:
        """Ends these workers all at once, and starts them again."""
        self._end(names)
        self._crew.requested(names)
        for name in names:
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
            if self._supervisor is None or self._supervisor.wait(_SETTLE_S):
                return

    # reload

    def on_hangup(self) -> None:
        """SIGHUP: the configuration anew. A wrong one changes nothing, and is told."""
        notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            replaced = self.reload()
        except (ConfigurationError, OSError) as error:
            self._refused = f"the configuration was not reloaded: {_line(error)}"
            say(self._refused)
            self._tell()
        else:
            say(f"reloaded; replaced: {', '.join(replaced) or 'nothing'}")
        notify.notify("READY=1")

    def reload(self, settings: Sequence[str] = ()) -> list[str]:
        """Reads the configuration again, with these settings on top; replaces the workers that it changes, which are
        returned, and leaves all others alone."""
        found = self._read(settings)
        for key in _LASTING:
            if found[key] != self._configuration[key]:
                raise ConfigurationError(f"{key} can't change while the fleet runs; restart proxtopd for it")
        if found.node != (before := self._actor.setup.node):  # workers would beat where nobody listens
            raise ConfigurationError(
                f"this host is called {found.node!r} now, and was {before!r} when the fleet was started; "
                "that can't change while it runs; restart proxtopd for it"
            )
        wanted = programs.programs(found, self._places, self._account)
        programs.write(wanted, self._places)
        self._configuration, self._programs, self._refused = found, wanted, None
        self._actor.setup = setup_of(found)
        try:
            added, changed, removed = self._regroup()
        except (xmlrpc.client.Fault, Unanswered) as error:  # half done is no state to stay in
            say(f"supervisord can't take the new configuration, so it is started again: {error}")
            if self._supervisor is not None:
                self._supervisor.signal(signal.SIGKILL)
            self._crew.adopt(wanted)
            return list(wanted)
        for name in removed:
            with contextlib.suppress(OSError):
                os.unlink(self._places.setup(name))
        return [*added, *changed, *removed]

    def _regroup(self) -> tuple[list[str], list[str], list[str]]:
        """Has supervisord take what was written: the workers that are new, changed and gone."""
        [[added, changed, removed]] = self._call("reloadConfig")
        self._end([*removed, *changed])
        for name in (*removed, *changed):
            self._call("removeProcessGroup", name)
        self._crew.requested(changed)
        self._crew.adopt(self._programs)
        self._crew.begin_anew()
        for name in (*changed, *added):
            self._call("addProcessGroup", name)
        self._look_soon()
        return added, changed, removed

    def close(self) -> None:
        """Ends every worker, then supervisord."""
        notify.notify("STOPPING=1")
        for record in self._crew:
            record.wanted = False
        if self._supervisor is not None:
            with contextlib.suppress(Unanswered, xmlrpc.client.Fault):
                self._end(list(self._crew.records))
            self._supervisor.close()
        self._control.close()


def _line(error: Exception) -> str:
    """What went wrong, and where."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


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
    lock = places.prepare(here, account)
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
