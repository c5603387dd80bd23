"""What is made of profiles: predict, compare, plan, plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from proxprofiler import comparing, planning, plotting, predicting
from proxprofiler.files import FilesError


@dataclass(frozen=True, slots=True)
class Tool:
    """A command: its --help, its options, and what it does with them: lines for stdout."""

    help: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], list[str]]


TOOLS = {
    "predict": Tool(predicting.HELP, predicting.declare, predicting.run),
    "compare": Tool(comparing.HELP, comparing.declare, comparing.run),
    "plan": Tool(planning.HELP, planning.declare, planning.run),
    "plot": Tool(plotting.HELP, plotting.declare, plotting.run),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        self.exit(2, f"{self.prog}: {line}; see {self.prog} --help\n")


def main(name: str, argv: Sequence[str]) -> int:
    """Runs one of them; returns the exit status."""
    tool = TOOLS[name]
    parser = _Parser(prog=f"proxprofiler {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--vm", action="append", default=[])
    parser.add_argument("--printer", "-p", choices=("text", "json"), default="text")
    parser.add_argument("files", nargs="*")
    tool.declare(parser)
    given = parser.parse_args(argv)
    if given.help:
        sys.stdout.write(tool.help)
        return 0
    given.vm = [part for value in given.vm for part in value.split(",") if part]
    try:
        lines = tool.run(given)
    except (FilesError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # nobody reads on: nothing more is flushed at the end
    return 0
