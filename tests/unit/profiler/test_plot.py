from __future__ import annotations

import math
import pathlib
import sys
from xml.etree import ElementTree

import orjson
import pytest

import proxprofiler
from proxprofiler.cli import main
from proxtop.profiler.document import document
from tests.unit.profiler.chains import START, chain_settings, fed


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Of a VM with a name that a drawing library might take for something else, with a tree of two levels."""
    states = [round(1.5 + 1.5 * math.sin(number / 10)) for number in range(600)]
    found = fed(states, chain_settings(periodsize=(2, 6, 20)), start=START)
    found.vm = "$\\frac{web}$_^ ☃ 网"
    path = tmp_path_factory.mktemp("plot") / "profile.json"
    path.write_bytes(orjson.dumps(document(found)))
    return path


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_profile_is_drawn(
    profile: pathlib.Path, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], ending: str, magic: bytes
) -> None:
    picture = tmp_path / f"picture.{ending}"
    assert main(["plot", str(profile), "-o", str(picture)]) == 0
    data = picture.read_bytes()
    assert data.startswith(magic)
    assert len(data) > 5000
    assert capfd.readouterr().err == ""


def test_the_picture_has_the_matrix_the_forecast_and_the_tree(profile: pathlib.Path, tmp_path: pathlib.Path) -> None:
    picture = tmp_path / "picture.svg"
    assert main(["plot", str(profile), "-o", str(picture)]) == 0
    groups = {element.get("id", "") for element in ElementTree.parse(picture).iter()}
    assert {"axes_1", "axes_2", "axes_3"} <= groups


def test_a_picture_that_can_not_be_written_is_said(
    profile: pathlib.Path, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plot", str(profile), "-o", str(tmp_path / "no" / "such.png")])
    assert ended.value.code == 2
    assert "No such file or directory" in capfd.readouterr().err


def test_without_matplotlib_one_line_says_how_to_get_it(
    profile: pathlib.Path, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "proxprofiler.picture", raising=False)
    monkeypatch.delattr(proxprofiler, "picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as ended:
        main(["plot", str(profile), "-o", str(tmp_path / "x.svg")])
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'proxtop[plot]'" in said
