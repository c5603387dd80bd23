"""`proxtop keys`: make a node's keys, show them, and say whose are let in."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from typing import NoReturn

from proxtop.bus import keys
from proxtop.bus.keys import KeyProblem

HELP = """\
Usage:
  proxtop keys new [NAME]          Make the keys of this node (default: its host name)
  proxtop keys show [NAME]         Print NAME and public key: of own keys, and of those that are let in
  proxtop keys trust NAME KEY      Let in who has this key, under this name
  proxtop keys trust FILE          The same, from what `proxtop keys show NAME` printed elsewhere
  proxtop keys revoke NAME         Let in nobody under this name any more: within a second

Options:
      --directory=     Where the keys are (default: /etc/proxtop; for other users than root ~/.config/proxtop)
      --user=          With new: the user that the file of keys shall belong to
  -h, --help           Show this help message
"""


_WITH_VALUE = ("--directory=", "--user=")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"proxtop keys: {message}; see proxtop keys --help\n")


def main(argv: Sequence[str]) -> int:
    """Runs the command; 0, or 2 with one line on stderr that says what was wrong; 1 where stdout takes nothing."""
    parser = _Parser(prog="proxtop keys", add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--directory")
    parser.add_argument("--user")
    parser.add_argument("-h", "--help", action="store_true")
    # a key may begin with -, and would pass for an option
    dashed = [word for word in argv if word.startswith("-") and not word.startswith(_WITH_VALUE) and keys.is_key(word)]
    given = parser.parse_args([word for word in argv if word not in dashed])
    given.words += dashed
    if given.help:
        sys.stdout.write(HELP)
        return 0
    command = _COMMANDS.get(given.command or "")
    if command is None:
        parser.error(f"say new, show, trust or revoke, not {given.command!r}" if given.command else "say what to do")
    least, most, act = command
    if not least <= len(given.words) <= most:
        parser.error(f"{given.command} takes {f'{least} or {most}' if most > least else least} words after it")
    if given.directory == "":
        parser.error("--directory: the value is empty; give one or leave the option out")
    if given.user is not None and given.command != "new":
        parser.error("--user goes with new alone")
    try:
        act(given.directory or keys.directory(os.environ), given.words, given.user)
        sys.stdout.flush()
    except KeyProblem as problem:
        sys.stderr.write(f"proxtop keys: {problem}\n")
        return 2
    except BrokenPipeError:
        sys.stdout = None  # nobody reads on: nothing more is flushed at the end
    except OSError as error:
        sys.stdout = None
        sys.stderr.write(f"proxtop keys: standard output: {error.strerror}; `proxtop keys show` prints it again\n")
        return 1
    return 0


def _new(directory: str, words: Sequence[str], user: str | None) -> None:
    name = keys.checked_name(words[0] if words else os.uname().nodename)
    owner = None
    if user is not None:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise KeyProblem(f"--user: there is no user {user!r}") from None
        owner = (entry.pw_uid, entry.pw_gid)
    try:
        there = os.path.isdir(directory)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        if owner is not None and not there:  # whatever the umask: the user has to get in
            os.chmod(directory, 0o755)
    except OSError as error:
        raise KeyProblem(f"{directory}: {error.strerror}") from None
    _print(keys.create(_file(directory, name), name, owner))


def _show(directory: str, words: Sequence[str], user: str | None) -> None:
    if words and os.path.lexists(path := _file(directory, keys.checked_name(words[0]))):
        _print(_loaded(path))
        return
    lines = []
    if not words:
        for name in _own(directory):
            pair = _loaded(_file(directory, name))
            lines.append(f"{pair.name} {pair.public.decode()}  # its keys are here\n")
    path = os.path.join(directory, keys.TRUSTED)
    if os.path.lexists(path):
        lines += [
            f"{name} {key.decode()}  # is let in\n"
            for key, name in keys.trusted(path).items()
            if not words or name == words[0]
        ]
    if not lines:
        raise KeyProblem(f"{directory}: no keys{f' of {words[0]}' if words else ''}; `proxtop keys new` makes them")
    sys.stdout.write("".join(lines))


def _loaded(path: str) -> keys.Pair:
    """Keys to show: root may look at those of the services' users too."""
    return keys.load(path, owned=os.geteuid() != 0)


def _own(directory: str) -> list[str]:
    try:
        return sorted(name.removesuffix(".key") for name in os.listdir(directory) if name.endswith(".key"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KeyProblem(f"{directory}: {error.strerror}") from None


def _trust(directory: str, words: Sequence[str], user: str | None) -> None:
    if len(words) == 2:
        name, key = words[0], keys.public_key(words[1])
    else:
        name, key = keys.shown(words[0])
    new = keys.trust(os.path.join(directory, keys.TRUSTED), keys.checked_name(name), key)
    sys.stdout.write(f"{name} is let in {'now' if new else 'already'}\n")


def _revoke(directory: str, words: Sequence[str], user: str | None) -> None:
    path = os.path.join(directory, keys.TRUSTED)
    if not keys.revoke(path, words[0]):
        raise KeyProblem(f"{path}: no key is bound to {words[0]!r}; `proxtop keys show` lists them")
    sys.stdout.write(f"{words[0]} is out, with what it had open\n")


def _file(directory: str, name: str) -> str:
    return os.path.join(directory, f"{name}.key")


def _print(pair: keys.Pair) -> None:
    sys.stdout.write(f"{pair.name} {pair.public.decode()}\n")


_COMMANDS = {"new": (0, 1, _new), "show": (0, 1, _show), "trust": (1, 2, _trust), "revoke": (1, 1, _revoke)}
