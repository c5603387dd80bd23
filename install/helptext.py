"""What a command's --help says, read into tables: from these come its man page and completions, so none can drift."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPTION = re.compile(
    r" +(?:(?P<short>-\w)(?:, +|(?= |$)))?(?P<long>--[a-z][\w-]*)?"
    r"(?P<value>=\S*| [A-Z][A-Z_:]*(?=  |$))?(?:  +(?P<help>\S.*))?"
)
_ROW = re.compile(r" +(?P<words>\S+(?: \S+)*)(?:  +(?P<help>\S.*))?")


@dataclass(frozen=True, slots=True)
class Option:
    """One option; `names` are its short and long form, as far as it has them."""

    names: tuple[str, ...]
    takes_value: bool
    help: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of words with what they do: a way to call the command, or one of its commands."""

    words: str
    help: str


@dataclass(frozen=True, slots=True)
class Section:
    """A titled list of options or rows."""

    title: str
    entries: tuple[Option | Row, ...]


@dataclass(frozen=True, slots=True)
class HelpText:
    """The whole: ways to call it, what it is for, and the rest in the order of --help."""

    name: str
    usage: tuple[Row, ...]
    about: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """Every option of every section."""
        return tuple(entry for part in self.sections for entry in part.entries if isinstance(entry, Option))

    @property
    def commands(self) -> tuple[Row, ...]:
        """The commands that it lists by their first word: of the usage's lines, or of a section of commands."""
        named = [Row(row.words.removeprefix(self.name).strip(), row.help) for row in self.usage if row.help]
        listed = [entry for part in self.sections for entry in part.entries if isinstance(entry, Row)]
        return tuple({row.words.split(" ")[0]: row for row in (*reversed(listed), *reversed(named))}.values())[::-1]


class NotHelp(ValueError):
    """A text that is not in the shape of --help."""


def parse(name: str, text: str) -> HelpText:
    """The tables of `NAME --help`; NotHelp for a line that fits nowhere, so that none is lost."""
    usage: tuple[Row, ...] = ()
    about: list[str] = []
    sections: list[Section] = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        head, *rest = block.split("\n")
        if not head.endswith(":") or not rest:
            if any(line.startswith(" ") for line in (head, *rest)):
                raise NotHelp(f"{name} --help: {head!r} begins no section")
            about.append(" ".join((head, *rest)))
            continue
        entries = tuple(_entries(name, rest))
        if head == "Usage:":
            usage = tuple(entry for entry in entries if isinstance(entry, Row))
        else:
            sections.append(Section(head.removesuffix(":"), entries))
    if not usage:
        raise NotHelp(f"{name} --help: there is no 'Usage:'")
    return HelpText(name, usage, tuple(about), tuple(sections))


def _entries(name: str, lines: list[str]) -> Iterator[Option | Row]:
    for line in _joined(lines):
        option = _OPTION.fullmatch(line)
        names = tuple(filter(None, (option["short"], option["long"]))) if option else ()
        if option and names:
            yield Option(names, option["value"] is not None, option["help"] or "")
            continue
        row = _ROW.fullmatch(line)
        if row is None or row["words"].startswith("-"):
            raise NotHelp(f"{name} --help: {line!r} is no option and no command")
        yield Row(row["words"], row["help"] or "")


def _joined(lines: list[str]) -> list[str]:
    """The lines with what was broken over several made one again: it stands further in than options do."""
    whole: list[str] = []
    for line in lines:
        if whole and len(line) - len(line.lstrip()) > 10:
            whole[-1] += ("" if "  " in whole[-1].strip() else "  ") + " " + line.strip()
        else:
            whole.append(line)
    return whole
