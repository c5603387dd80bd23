"""The command `proxtop-agg`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from proxtop import __version__
from proxtop.postpone import postpone

HELP = """\
Usage:
  proxtop-agg COMMAND [OPTIONS]

Subscribes to the snapshots of many proxtopd over the network, and publishes them on one bus of the same shape.

Commands:
  run                  Run in the foreground, as systemd wants it
  check                Read the configuration and the keys that it names; say what is wrong
  status               How each host is heard: connected since, last cycle, age, lag, clock offset, frames lost
  reload               Have the running one read its configuration and keys anew

Options:
      --config=        The configuration (default: /etc/proxtop/agg.toml)
      --json           With status: one JSON object
  -v, --version        Show version
  -h, --help           Show this help message
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"proxtop-agg: {message}; see proxtop-agg --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command: 0, 2 for what the caller can mend, 1 for a failure later."""
    postpone()
    parser = _Parser(prog="proxtop-agg", add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?")
    parser.add_argument("--config")
    for flags in (("--json",), ("-v", "--version"), ("-h", "--help")):
        parser.add_argument(*flags, action="store_true")
    given = parser.parse_args(argv)
    if given.help or given.version:
        sys.stdout.write(HELP if given.help else f"proxtop-agg {__version__}\n")
        return 0
    if given.command not in _COMMANDS:
        parser.error(f"there is no command {given.command!r}" if given.command else "say run, check, status or reload")
    if given.config == "":
        parser.error("--config: the value is empty; give one or leave the option out")
    if given.json and given.command != "status":
        parser.error("--json goes with status")
    from proxtop_agg import config

    path = os.path.abspath(given.config or config.DEFAULT)
    try:
        status = _COMMANDS[given.command](path, given.json)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # nobody reads on: nothing more is flushed at the end
        return 0
    except config.ConfigError as error:
        sys.stderr.write(f"proxtop-agg: {error}\n")
        return 2
    return status


def _run(path: str, json: bool) -> int:
    from proxtop_agg import config
    from proxtop_agg.hub import say
    from proxtop_agg.keeper import Busy, Keeper

    loaded = config.load(path)
    try:
        keeper = Keeper(path, loaded, say)
    except Busy as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"{error.filename or loaded.directory}: {error.strerror}")
        return 2
    return keeper.run()


def _check(path: str, json: bool) -> int:
    from proxtop_agg import config

    loaded = config.load(path)
    trees = sum(peer.tree for peer in loaded.peers)
    sys.stdout.write(
        f"{path}: {len(loaded.peers) - trees} hypervisors, {trees} aggregators, {len(loaded.outputs)} outputs, "
        f"{'a door' if loaded.door else 'no door'}; all of it can be used\n"
    )
    return 0


def _status(path: str, json: bool) -> int:
    from proxtop.attach import reachable
    from proxtop.bus import endpoints
    from proxtop_agg import config, status

    name, directory = config.where(path)
    if (why := reachable(endpoints.subscribe(directory))) is not None:
        why = why.replace("no fleet runs", "no proxtop-agg runs")
        sys.stderr.write(f"proxtop-agg: {why}; start it with `proxtop-agg run`\n")
        return 1
    found = status.read(directory, name)
    if "cluster" not in found:
        sys.stderr.write(f"proxtop-agg: {directory}: nobody answers as {name}\n")
        return 1
    sys.stdout.write((status.as_json if json else status.as_table)(found) + "\n")
    return 0


def _reload(path: str, json: bool) -> int:
    from proxtop_agg import config
    from proxtop_agg.keeper import running

    _, directory = config.where(path)
    pid = running(directory)
    if pid is None:
        sys.stderr.write(f"proxtop-agg: {directory}: no proxtop-agg runs there\n")
        return 1
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        sys.stderr.write(f"proxtop-agg: process {pid}: {error.strerror}\n")
        return 1
    return 0


_COMMANDS = {"run": _run, "check": _check, "status": _status, "reload": _reload}

if __name__ == "__main__":
    sys.exit(main())
