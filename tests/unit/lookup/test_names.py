from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.lookup.names import clean

BAD = "\ufffd"


@pytest.mark.parametrize("name", ["web", "web-01", "Büro 3", "数据库", "a,b\"c'd", "x" * 256, "nan", "007", "", "عربي"])
def test_ordinary_names_stay(name: str) -> None:
    assert clean(name) == name


@pytest.mark.parametrize(
    "char",
    [
        "\x1b",
        "\t",
        "\n",
        "\r",
        "\0",
        "\x7f",
        "\x9b",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u2028",
        "\udcff",
    ],
)
def test_what_would_control_a_screen_is_shown_as_such(char: str) -> None:
    assert clean(f"a{char}b") == f"a{BAD}b"


def test_length_is_bounded_visibly() -> None:
    assert clean("x" * 257) == "x" * 255 + "…"


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_any_name_becomes_one_line_that_can_be_encoded_and_cleaning_twice_changes_nothing(name: str) -> None:
    cleaned = clean(name)
    cleaned.encode()
    assert len(cleaned) <= 256
    assert len(cleaned.splitlines()) <= 1
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in cleaned)
    assert clean(cleaned) == cleaned
