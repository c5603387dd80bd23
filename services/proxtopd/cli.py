"""proxtopd: its command line, and what each of its commands does."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from proxtop import __version__
from proxtop.bus import endpoints
from proxtop.control import ControlError, allowed, ask
from proxtopd import configuration, places
from proxtopd.configuration import Configuration, ConfigurationError
from proxtopd.places import Places
from proxtopd.registry import posts
from proxtopd.report import RUNNING, table

HELP = """\
Usage:
  proxtopd [OPTIONS] COMMAND [ARGUMENT] [PROXTOP_KEY=VALUE ...]

The supervised fleet of workers that watches a host's virtual machines, and the bus that proxtop attaches to.

Commands:
  run                  Run the fleet in the foreground
  start                Start it in the background (through systemd where that knows proxtopd.service)
  stop                 Stop it
  restart              Restart every worker, or the WORKER named
  reload               Read the configuration again; replace only what it changes
  status               Show what every worker does and how it fares
  logs                 Show what the WORKER named has said
  check                Check the configuration, and show what it asks for
  worker               Run the one WORKER named, as a supervisord.conf of one's own would

Application Options:
  -c, --config=        Path to the configuration (default: /etc/proxtop.conf, if there is one)
      --json           Print status as JSON
  -v, --version        Show version

Help Options:
  -h, --help           Show this help message

PROXTOP_KEY=VALUE words stand above what the configuration says.
"""

_COMMANDS = ("run", "start", "stop", "restart", "reload", "status", "logs", "check", "worker")
_NAMING = {"restart": False, "logs": True, "worker": True}
"""The commands that take the name of a worker, and whether they need one."""

_START_S = 30.0
_STOP_S = 20.0
_POLL_S = 0.05
_STATUS_S = 2.0
_UNIT = "proxtopd.service"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"proxtopd: {message}; see proxtopd --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 2 for what the call or the configuration got wrong, 1 for a failure
    later."""
    given = _parse(sys.argv[1:] if argv is None else argv)
    try:
        status = _Command(given.config, given.settings, given.worker, json=given.json).run(given.command)
        sys.stdout.flush()
    except (ConfigurationError, places.Held) as error:
        return _fail(str(error), 2)
    except ControlError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        sys.stdout = None  # nobody reads on: nothing more is flushed at the end
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.stdout = None
        return _fail(": ".join(filter(None, [error.filename, error.strerror or str(error)])), 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the edge of the process: systemd starts it again
        return _fail(f"internal error: {type(error).__name__}: {error}; please report it", 1)
    return status


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="proxtopd", add_help=False, allow_abbrev=False)
    for flags in (("-h", "--help"), ("-v", "--version"), ("--json",)):
        parser.add_argument(*flags, action="store_true")
    parser.add_argument("-c", "--config")
    parser.add_argument("words", nargs="*")
    given = parser.parse_intermixed_args(argv)
    if given.help:
        sys.stdout.write(HELP)
        parser.exit(0)
    if given.version:
        sys.stdout.write(f"proxtopd {__version__}\n")
        parser.exit(0)
    if given.config == "":
        parser.error("--config: the value is empty; give one or leave the option out")
    given.settings = [word for word in given.words if "=" in word]
    words = [word for word in given.words if "=" not in word]
    given.command = words.pop(0) if words else None
    if given.command not in _COMMANDS:
        what = f"there is no command {given.command!r}" if given.command else "a command is missing"
        parser.error(f"{what}; give one of {', '.join(_COMMANDS)}")
    if len(words) > (given.command in _NAMING):
        parser.error(f"{given.command}: {words[-1]!r} is too much")
    if not words and _NAMING.get(given.command):
        parser.error(f"{given.command}: name a worker")
    given.worker = words[0] if words else None
    return given


def _fail(text: str, status: int) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"proxtopd: {text}\n")
    return status


class _Command:
    """One call: its configuration, and the worker that it names."""

    def __init__(self, path: str | None, settings: Sequence[str], worker: str | None, *, json: bool) -> None:
        self._path = path
        self._settings = settings
        self._worker = worker
        self._json = json

    def run(self, name: str) -> int:
        """Runs the command of that name."""
        status: int = getattr(self, "_worker_alone" if name == "worker" else f"_{name}")()
        return status

    def _read(self) -> Configuration:
        return configuration.read(self._path, self._settings)

    def _run(self) -> int:
        from proxtopd import supervise

        return supervise.run(self._path, self._settings)

    def _worker_alone(self) -> int:
        from proxtopd import programs, worker

        name = self._worker or ""
        found = configuration.read(self._path or os.environ.get("PROXTOP_CONFIG"), self._settings)
        return worker.main([name], programs.alone(name, found))

    def _check(self) -> int:
        try:
            found = self._read()
        except ConfigurationError as error:
            for problem in error.problems:
                _fail(problem, 2)
            return 2
        account = places.account(found)
        who = f"user {account.user}, group {account.group}" if account else "whoever starts it"
        for key, value in found.values.items():
            sys.stdout.write(f"{key}={value}\n")
        names = ", ".join(post.name for post in posts(found))
        sys.stdout.write(f"# the configuration is right; workers, as {who}: {names}\n")
        return 0

    def _start(self) -> int:
        if not (self._path or self._settings) and _unit_known():
            return subprocess.run(["systemctl", "start", _UNIT]).returncode
        found = self._read()
        here = Places.of(found)
        os.close(places.prepare(here, places.account(found)))  # or say who has it
        log = here.log("proxtopd")
        config = [f"--config={os.path.abspath(self._path)}"] if self._path else []
        with open(log, "ab") as file:
            begin = file.tell()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "proxtopd", *config, "run", *self._settings],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        waiting = ["it does not answer"]
        while time.monotonic() < deadline:
            if process.poll() is not None:
                with open(log, errors="replace") as words:
                    words.seek(begin)
                    sys.stderr.write(words.read())
                return process.returncode or 1
            with contextlib.suppress(ControlError):
                rows = ask(found.run, "status", timeout=_STATUS_S)["workers"]
                waiting = [f"{row['worker']}: {row['reason'] or row['state']}" for row in rows if not _up(row)]
                if not waiting:
                    return 0
            time.sleep(_POLL_S)
        return _fail(f"started, but after {_START_S:g} s not all is well: {'; '.join(waiting)}", 1)

    def _stop(self) -> int:
        found = self._read()
        pid = ask(found.run, "status")["pid"]
        if _unit_runs(pid):
            return subprocess.run(["systemctl", "stop", _UNIT]).returncode
        handle = os.pidfd_open(pid)
        ask(found.run, "stop")
        import select

        if not select.select([handle], [], [], _STOP_S)[0]:
            return _fail(f"PID {pid} has not ended after {_STOP_S:g} s; see its log", 1)
        return 0

    def _restart(self) -> int:
        ask(self._read().run, "restart", *([self._worker] if self._worker else []))
        return 0

    def _reload(self) -> int:
        replaced = ask(self._read().run, "reload")["replaced"]
        sys.stdout.write(f"replaced: {', '.join(replaced) or 'nothing'}\n")
        return 0

    def _status(self) -> int:
        found = self._read()
        others = os.path.exists(endpoints.control(found.run)) and not allowed(found.run)
        status = self._watched(found) if others else ask(found.run, "status")
        if self._json:
            sys.stdout.write(json.dumps(status, indent=2) + "\n")
        else:
            sys.stdout.write(table(status["workers"]))
            if status["reason"]:
                sys.stdout.write(f"\n{status['reason']}\n")
        return 0 if all(map(_up, status["workers"])) else 1

    def _watched(self, found: Configuration) -> dict[str, Any]:
        """The status as everybody sees it who may watch the bus."""
        from proxtopd import watched

        return watched.status(found.run, found.node, _STATUS_S)

    def _logs(self) -> int:
        here = Places.of(self._read())
        path = f"{here.own}/log/{self._worker}.log"
        shown = False
        for name in (f"{path}.1", path):
            with contextlib.suppress(FileNotFoundError), open(name, errors="replace") as file:
                shown = True
                for line in file:
                    sys.stdout.write(line)
        if not shown:
            known = sorted(name[:-4] for name in os.listdir(f"{here.own}/log") if name.endswith(".log"))
            return _fail(f"there is no log of {self._worker!r}; there are {', '.join(known)}", 2)
        return 0


def _up(row: dict[str, object]) -> bool:
    return row["state"] in (RUNNING, "degraded")


def _unit_known() -> bool:
    """Whether systemd runs here and has proxtopd's unit."""
    return (
        os.path.isdir("/run/systemd/system")
        and subprocess.run(["systemctl", "cat", _UNIT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        == 0
    )


def _unit_runs(pid: int) -> bool:
    """Whether that process is systemd's own."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    shown = subprocess.run(["systemctl", "show", "-p", "MainPID", "--value", _UNIT], capture_output=True, text=True)
    return shown.stdout.strip() == str(pid)
