"""Man pages and completions come from --help: they name every option of the command, and shells complete by them."""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from install import texts
from install.helptext import NotHelp, Option, Row, parse
from proxtop import options
from tests.conftest import unavailable

OPTIONS = {
    form for option in texts.help_of("proxtop", texts.commands()["proxtop"]).options for form in option.names
}  # what the command takes: see test_help_tells_every_option_that_the_command_takes

SAMPLE = """\
Usage:
  thing [OPTIONS] COMMAND

Does things. And more.

Commands:
  run              Run it
  restart [PART]   Run it again,
                   all of it or a part

Options:
  -x, --extra=     More of it
      --long-one   Longer
  -q               Quietly
  --file PATH      Where
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("texts")
    texts.write(folder)
    return folder


class Taken(Exception):
    """A parser that was about to parse."""


def parser_of(monkeypatch: pytest.MonkeyPatch, entry: str, *words: str) -> argparse.ArgumentParser:
    """The parser that a command makes for its arguments."""

    def take(parser: argparse.ArgumentParser, *arguments: object) -> None:
        raise Taken(parser)

    module, _, function = entry.partition(":")
    main = getattr(importlib.import_module(module), function)
    for method in ("parse_args", "parse_known_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, take)
    monkeypatch.setattr(sys, "argv", ["", *words])
    with pytest.raises(Taken) as taken:
        main()
    parser: argparse.ArgumentParser = taken.value.args[0]
    return parser


def forms(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """Every form of every option, with whether a value follows."""
    return {form: action.nargs != 0 for action in parser._actions for form in action.option_strings}


def command(name: str) -> str:
    found = shutil.which(name)
    return found or unavailable(f"{name} is missing (Debian package {name})")


def test_help_is_read_into_tables() -> None:
    text = parse("thing", SAMPLE)
    assert text.usage == (Row("thing [OPTIONS] COMMAND", ""),)
    assert text.about == ("Does things. And more.",)
    assert text.commands == (Row("run", "Run it"), Row("restart [PART]", "Run it again, all of it or a part"))
    assert text.options == (
        Option(("-x", "--extra"), True, "More of it"),
        Option(("--long-one",), False, "Longer"),
        Option(("-q",), False, "Quietly"),
        Option(("--file",), True, "Where"),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Usage:", "Use:"),
        ("      --long-one   Longer", "      --Long_one   Longer"),
        ("Does things.", "  Does things."),
    ],
)
def test_a_line_that_fits_nowhere_is_not_lost_but_refused(old: str, new: str) -> None:
    with pytest.raises(NotHelp):
        parse("thing", SAMPLE.replace(old, new))


@pytest.mark.parametrize(
    "words",
    [(name, *rest) for name in texts.commands() for rest in ((), *((part,) for part in texts.PARTS.get(name, ())))],
)
def test_help_tells_every_option_that_the_command_takes(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    name, *rest = words
    entry = texts.commands()[name]
    told = texts.help_of(name, entry, *rest).options
    assert {form: option.takes_value for option in told for form in option.names} == forms(
        parser_of(monkeypatch, entry, *rest)
    )


def test_every_command_of_the_package_has_its_texts(written: pathlib.Path) -> None:
    for name in texts.commands():
        for path in (f"man1/{name}.1", f"bash/{name}", f"zsh/_{name}", f"fish/{name}.fish"):
            assert (written / path).stat().st_size > 200, path


def test_man_pages_are_without_warnings_and_tell_every_option(written: pathlib.Path) -> None:
    groff = command("groff")
    for name in texts.commands():
        page = str(written / f"man1/{name}.1")
        done = subprocess.run(
            [groff, "-man", "-ww", "-Tutf8", "-P-cbou", page], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        for option in texts.help_of(name, texts.commands()[name]).options:
            assert ", ".join(option.names) + ("=VALUE" if option.takes_value else "") in done.stdout.replace(
                "\u2010", "-"
            )


def bash_offers(script: pathlib.Path, line: str) -> list[str]:
    """What bash offers at the end of a line, split as readline does."""
    words = [part for word in shlex.split(line) for part in word.replace("=", " = ").split()]
    words += [""] if line.endswith((" ", "=")) else []
    code = (
        f"compopt() {{ :; }}; source {script}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        "$(complete -p proxtop | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("proxtop --pr", ["--procfs=", "--proxmox", "--pressure", "--printer="]),
        ("proxtop --printer=", list(options.PRINTERS)),
        ("proxtop --printer=j", ["json"]),
        ("proxtop -o t", ["tcp"]),
        ("proxtop --frequency=", []),
        ("proxtop --sysfs=/sys/cl", ["/sys/class"]),
        ("proxtop --netdev=l", ["lo"]),
        ("proxtop k", ["keys"]),
        ("proxtop keys t", ["trust"]),
        ("proxtop keys --u", ["--user="]),
    ],
)
def test_bash_completes(written: pathlib.Path, line: str, offered: list[str]) -> None:
    assert bash_offers(written / "bash/proxtop", line) == offered


def test_bash_offers_every_option(written: pathlib.Path) -> None:
    assert {word.rstrip("=") for word in bash_offers(written / "bash/proxtop", "proxtop -")} == OPTIONS


def fish_offers(folder: pathlib.Path, line: str) -> set[str]:
    code = f"source {folder / 'fish/proxtop.fish'}; complete -C {shlex.quote(line)}"
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [command("fish"), "-N", "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    return {offer.split("\t")[0] for offer in done.stdout.splitlines()}


def test_fish_completes(written: pathlib.Path) -> None:
    long = {form for form in OPTIONS if form.startswith("--")}
    assert {offer.rstrip("=") for offer in fish_offers(written, "proxtop --")} == long
    assert fish_offers(written, "proxtop --printer=j") == {"--printer=json"}
    assert fish_offers(written, "proxtop k") == {"keys"}
    assert fish_offers(written, "proxtop keys ") >= {"new", "show", "trust", "revoke"}


def test_zsh_completes(written: pathlib.Path) -> None:
    with Zsh(command("zsh"), written) as zsh:
        assert zsh.completes("proxtop --printer=j", "proxtop --printer=json")
        assert zsh.completes("proxtop --press", "proxtop --pressure")
        assert zsh.completes("proxtop keys rev", "proxtop keys revoke")
        offered = zsh.offers("proxtop -")
    assert not {form for form in OPTIONS if form not in offered}


class Zsh:
    """An interactive zsh in a terminal of its own, with the completions loaded."""

    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self._folder = folder
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
            os.execve(program, ["zsh", "-f", "-i"], environment)

    def __enter__(self) -> Zsh:
        self._type("stty rows 400 cols 250; unsetopt zle_bracketed_paste; PS1='>'; LISTMAX=0\n")
        self._type(f"fpath=({shlex.quote(str(self._folder / 'zsh'))} $fpath); autoload -Uz compinit; compinit -D -u\n")
        self._type("print $((40 + 2))READY\n")
        self._until("42READY")
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._terminal)
        os.waitpid(self._child, 0)

    def completes(self, line: str, whole: str) -> bool:
        """Whether a tab after `line` makes it `whole`."""
        self._type(f"{line}\t")
        self._until(whole)
        self._type("\x15")  # ^U: the line is emptied
        return True

    def offers(self, line: str) -> str:
        """The list that a tab and ^D after `line` show."""
        self._type(f"{line}\x04\x15print $((40 + 3))DONE\n")
        return self._until("43DONE")

    def _type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _until(self, wanted: str) -> str:
        seen = b""
        deadline = time.monotonic() + 20
        while wanted.encode() not in seen:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {wanted!r} in {seen.decode(errors='replace')!r}"
            seen += os.read(self._terminal, 65536)
        return seen.decode(errors="replace")
