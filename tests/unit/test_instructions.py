"""The hot loops take no more instructions than they are known to: a count, which no clock and no load can change."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from bench import instructions
from tests.conftest import unavailable


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_hot_loop_takes_more_instructions_than_it_is_known_to() -> None:
    if shutil.which("valgrind") is None or not pathlib.Path("/usr/include/valgrind/callgrind.h").exists():
        unavailable("valgrind is not installed (Debian: valgrind)")
    found, known = instructions.count(), instructions.reference()
    assert found.keys() == known.keys()
    dearer = {name: f"{ratio} of the calibration, known: {known[name]}" for name, ratio in found.items()
              if ratio > instructions.ALLOWED * known[name]}  # fmt: skip
    assert not dearer, f"{dearer}; if that is worth it: python -m bench.instructions --write"
