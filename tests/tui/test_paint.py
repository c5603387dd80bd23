"""Painting: only what changed is written, and what is written makes the screen what it should be."""

from __future__ import annotations

import random
import re

from proxtop.tui import theme
from proxtop.tui.paint import Painter
from proxtop.tui.table import Line
from proxtop.tui.text import fit, width

STYLES = theme.styles(colour=True)


class Paper:
    """A terminal that knows as much as the painter needs: cursor, erasing to the end of the line, text."""

    def __init__(self, columns: int, rows: int) -> None:
        self.cells = [[" "] * columns for _ in range(rows)]
        self.x = self.y = 0

    def feed(self, text: str) -> None:
        """Takes what the painter wrote."""
        for code, word in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z])|([^\x1b]+)", text):
            if code.endswith("H"):
                y, _, x = code[2:-1].partition(";")
                self.y, self.x = int(y or 1) - 1, int(x or 1) - 1
            elif code.endswith("K"):
                self.cells[self.y][self.x :] = [" "] * (len(self.cells[self.y]) - self.x)
            for char in word:
                size = width(char)
                if size == 0:
                    self.cells[self.y][self.x - 1] += char
                    continue
                self.cells[self.y][self.x : self.x + size] = [char] + [""] * (size - 1)
                self.x += size

    @property
    def lines(self) -> list[str]:
        """The text of the screen."""
        return ["".join(row).rstrip() for row in self.cells]


def text(lines: list[Line]) -> list[str]:
    return ["".join(word for _, word in line).rstrip() for line in lines]


def test_whatever_comes_after_whatever_the_screen_is_right() -> None:
    chance = random.Random(7)
    words = ["42.0", "-", "web-01", "データ", "e\u0301a", "", "     ", "x" * 9]
    paper, painter = Paper(60, 12), Painter(STYLES)
    for turn in range(300):
        lines: list[Line] = []
        for _ in range(12):
            count = chance.choice((0, 1, 4, 4, 4, 4, 6))
            lines.append([(chance.choice(("", "warn", "dim")), fit(chance.choice(words), 9)) for _ in range(count)])
        if turn % 50 == 49:
            painter.forget()
        paper.feed(painter.paint(lines, 60))
        assert paper.lines == text(lines)


def test_a_screen_that_is_the_same_costs_nothing() -> None:
    painter = Painter(STYLES)
    lines: list[Line] = [[("head", "a"), ("", "b")], [], [("warn", "データ")]]
    assert painter.paint(lines, 40) != ""
    assert painter.paint([list(line) for line in lines], 40) == ""


def test_only_the_fragment_that_changed_is_written() -> None:
    painter = Painter(STYLES)
    painter.paint([[("", "name "), ("", " 1.0"), ("", " 2.0")]], 40)
    written = painter.paint([[("", "name "), ("", " 1.0"), ("warn", " 9.0")]], 40)
    assert "9.0" in written
    assert "\x1b[1;10H" in written
    assert "name" not in written
    assert "1.0" not in written


def test_no_control_code_of_a_name_reaches_the_terminal() -> None:
    written = Painter(STYLES, together=False).paint([[("", "a\x1b[2Jb\x07\x9b31mc\r\n")]], 40)
    assert re.sub(r"\x1b\[[0-9;]*[HmK]", "", written) == "a\ufffd[2Jb\ufffd\ufffd31mc\ufffd\ufffd"


def test_every_style_that_is_drawn_has_a_look_with_and_without_colours() -> None:
    assert theme.styles(colour=True).keys() == theme.styles(colour=False).keys()
    assert all(not re.search(r"\b[34]\d\b", code) for code in theme.styles(colour=False).values())
    assert theme.styles(colour=False)["crit"] != theme.styles(colour=False)["warn"] != ""


def test_colours_are_for_terminals_that_have_them_and_users_who_want_them() -> None:
    assert theme.colour({"TERM": "xterm-256color"})
    for environ in ({"TERM": "vt100"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "xterm-m"}):
        assert not theme.colour(environ)
    assert theme.colour({"TERM": "linux", "NO_COLOR": ""})
