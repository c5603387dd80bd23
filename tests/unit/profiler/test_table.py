from __future__ import annotations

import pytest

from proxprofiler.table import amount, duration, percent, table


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.5, "50.0 %"), (1e-6, "<0.1 %"), (0.99999, ">99.9 %"), (0.9994, "99.9 %")],
)
def test_what_is_neither_never_nor_always_is_shown_as_neither(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "%", "-"), (41.26, "%", "41.3 %"), (4194304, "KB", "4.0 GB"), (9_886_362, "bytes/s", "9.4 MB/s"),
     (0, "bytes/s", "0 B/s"), (1000, "bytes/s", "0.98 KB/s"), (0.0123, "MB/s", "0.012 MB/s"),
     (1 << 50, "KB", "1,048,576 TB")],
)  # fmt: skip
def test_amounts_have_the_unit_that_suits_them(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 s"),
        (20, "20 s"),
        (60, "1 min"),
        (80, "1 min 20 s"),
        (1100, "18.3 min"),
        (3600, "1 h"),
        (129600, "1.5 d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_are_as_wide_as_what_a_terminal_shows_of_them() -> None:
    assert table(["VM", "value"], [["\u7f51\u7ad9", "1"], ["db", "22"]]) == [
        "VM    value",
        "\u7f51\u7ad9      1",
        "db       22",
    ]
