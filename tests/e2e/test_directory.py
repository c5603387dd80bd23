"""proxtop takes no code out of the directory in which it is called: an administrator may be anywhere."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e.running import run


def test_modules_in_the_current_directory_are_not_imported(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("msgpack", "proxtop", "proxtopd", "zmq"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the current directory')\n")
    monkeypatch.chdir(tmp_path)
    status, lines, stderr = run(["--qemu", "--runs=1", "-p", "json", "--cpu"])
    assert (status, len(lines)) == (0, 1), stderr
