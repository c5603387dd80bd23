"""The settings file: what is written is read; what is broken is one line and the defaults."""

from __future__ import annotations

import pathlib

import pytest

from proxtop.tui import settings
from proxtop.tui.state import Sort, State
from proxtop.tui.theme import THRESHOLDS, Levels

CHANGED = State(
    view="disk", human=True, sorts={"cpu": Sort("cpu_steal", False)},
    fields={"cpu": ("name", "cpu_steal", "cpu_total"), "nics": ("device", "net_host_speed")},
    host={"mem": ("ram_Free",)},
)  # fmt: skip


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    file = settings.path({"XDG_CONFIG_HOME": str(tmp_path / "deep")})
    assert settings.save(file, CHANGED, THRESHOLDS) == f"settings written to {file}"
    loaded = settings.load(file, State())
    assert loaded.state == CHANGED
    assert dict(loaded.thresholds) == dict(THRESHOLDS)
    assert list(loaded.thresholds) == list(THRESHOLDS), "the first that matches counts"
    assert loaded.warning == ""
    assert [path.name for path in file.parent.iterdir()] == ["proxtop.toml"]


def test_no_file_is_no_warning(tmp_path: pathlib.Path) -> None:
    assert settings.load(tmp_path / "none", State()) == settings.Settings(State())


@pytest.mark.parametrize(
    "text",
    [
        "view = ", 'view = "nowhere"', "view = 3", 'units = "imperial"', "views = 1", "[views.nowhere]",
        '[views.cpu]\ncolumns = "name"', '[views.cpu]\ncolumns = ["ram_used"]', "[views.cpu]\nsort = 1",
        '[views.cpu]\nsort = "cpu_total"\ndescending = "yes"', "[thresholds]\ncpu_steal = 5",
        "[thresholds]\ncpu_steal = [10, 5]", '[thresholds]\ncpu_steal = ["a", "b"]', "thresholds = 7",
        '[views.cpu]\nhost = ["nothing"]', "\x00", "a = [" * 2000, 'view = ["all"]', "[view]",
        f"[thresholds]\ncpu_steal = [1, 1{'0' * 400}]",
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line_and_the_defaults(tmp_path: pathlib.Path, text: str) -> None:
    file = tmp_path / "proxtop.toml"
    file.write_text(text)
    loaded = settings.load(file, State())
    assert loaded.state == State()
    assert dict(loaded.thresholds) == dict(THRESHOLDS)
    assert loaded.warning.startswith(f"settings: {file}: ")
    assert "\n" not in loaded.warning


def test_a_file_that_is_no_text_or_no_file_is_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert settings.load(tmp_path / "binary", State()).warning
    assert settings.load(tmp_path, State()).warning


def test_where_it_is() -> None:
    assert settings.path({"HOME": "/home/a"}) == pathlib.Path("/home/a/.config/proxtop/proxtop.toml")
    assert settings.path({"HOME": "/home/a", "XDG_CONFIG_HOME": "/b"}) == pathlib.Path("/b/proxtop/proxtop.toml")
    relative = settings.path({"HOME": "/home/a", "XDG_CONFIG_HOME": "b"})
    assert relative == pathlib.Path("/home/a/.config/proxtop/proxtop.toml")


def test_own_thresholds_come_first(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "proxtop.toml"
    file.write_text('[thresholds]\n"cpu_*" = [1, 2]\n')
    levels = Levels(settings.load(file, State()).thresholds)
    assert levels.style("cpu_steal", 1.5) == "warn"
    assert levels.style("cpu_total", 2.0) == "crit"
    assert levels.style("disk_lat_rd", 20.0) == "warn"


@pytest.mark.parametrize(
    ("name", "value", "whole", "style"),
    [
        ("cpu_steal", 4.9, None, ""), ("cpu_steal", 5.0, None, "warn"), ("cpu_steal", 10.0, None, "crit"),
        ("disk_lat_wr", 20.0, None, "warn"), ("ram_used", 89.0, 100, ""), ("ram_used", 90, 100, "warn"),
        ("ram_used", 98, 100, "crit"), ("ram_used", 98, None, ""), ("ram_used", 98, 0, ""),
        ("ram_swap", 4, None, "warn"),
        ("ram_swap", 0, None, ""), ("cpu_steal", None, None, ""), ("cpu_total", 100.0, None, ""),
    ],
)  # fmt: skip
def test_the_thresholds_are_those_that_the_field_uses(name: str, value: float, whole: int, style: str) -> None:
    assert Levels().style(name, value, whole) == style


def test_thresholds_are_written_with_all_their_digits(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "proxtop.toml"
    own = {"ram_swap": (1.0, 1234567.0), "ram_majflt": (0.1, float("inf")), "io_rchar": (1e-7, 0.1 + 0.2)}
    settings.save(file, State(), {**own, **THRESHOLDS, **own})
    found = settings.load(file, State())
    assert found.warning == ""
    assert {name: found.thresholds[name] for name in own} == own
