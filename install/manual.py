"""A command's man page, from its --help (man-pages(7), groff_man(7))."""

from __future__ import annotations

from collections.abc import Sequence

from install.helptext import HelpText, Option, Row, Section

_STATUS = (
    ("0", "all went well"),
    ("1", "something failed at run time"),
    ("2", "the call or the configuration is wrong; one line on standard error says what and where"),
)
_FILES = (
    ("/etc/proxtop.conf", "the configuration of proxtopd, and the environment of proxtop.service"),
    ("/etc/proxtop/", "keys, for a bus over the network"),
    ("/run/proxtop/", "the bus of this host's fleet; members of group proxtop may watch"),
)


def page(text: HelpText, version: str, others: Sequence[str], parts: Sequence[HelpText] = ()) -> str:
    """The source of `NAME(1)`; `parts` are the helps of its commands that have one of their own."""
    name = text.name
    about = text.about or (f"Part of proxtop: see {name} --help.",)
    lines = [f'.TH {name.upper()} 1 "" "proxtop {_escaped(version)}" "User Commands"']
    lines += [".SH NAME", f"{_escaped(name)} \\- {_escaped(_brief(about[0]))}"]
    lines += [".SH SYNOPSIS", *_usage(text.usage)]
    lines += [".SH DESCRIPTION"]
    for paragraph in about:
        lines += [".PP", _line(paragraph)]
    lines += [".SH OPTIONS", *_sections(text.sections)]
    for part in parts:
        lines += [f".SH {part.name.upper()}", *_usage(part.usage, helped=True), *_sections(part.sections)]
    for title, rows in (("EXIT STATUS", _STATUS), ("FILES", _FILES)):
        lines += [f".SH {title}"]
        for word, meaning in rows:
            lines += [".TP", f".B {_escaped(word)}", _line(meaning)]
    related = [f".BR {_escaped(other)} (1)" for other in others if other != name]
    lines += [".SH SEE ALSO", ",\n".join(related)] if related else []
    return "\n".join(lines) + "\n"


def _brief(sentence: str) -> str:
    """A sentence as the whatis line wants it: no capital, no full stop."""
    first = sentence.split(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _usage(rows: Sequence[Row], *, helped: bool = False) -> list[str]:
    lines: list[str] = []
    for row in rows:
        if row.help and helped:
            lines += [".TP", f".B {_escaped(row.words)}", _line(row.help)]
        else:
            lines += [f".B {_escaped(row.words)}", ".br"]
    return lines


def _sections(sections: Sequence[Section]) -> list[str]:
    lines: list[str] = []
    for part in sections:
        lines += [f".SS {_escaped(part.title)}"]
        for entry in part.entries:
            lines += [".TP", _head(entry), _line(entry.help)]
    return lines


def _head(entry: Option | Row) -> str:
    if isinstance(entry, Row):
        return f".B {_escaped(entry.words)}"
    value = "=\\fIVALUE\\fR" if entry.takes_value else ""
    return ", ".join(f"\\fB{_escaped(name)}\\fR" for name in entry.names) + value


def _escaped(text: str) -> str:
    ascii_only = text.replace("\\", "\\e").replace("-", "\\-")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in ascii_only)


def _line(text: str) -> str:
    """A line of text: one that began with a control character would be a request."""
    escaped = _escaped(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
