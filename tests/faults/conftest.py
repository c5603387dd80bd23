"""A rig for each fault test; without QEMU there is nothing to break."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.faults.rig import QEMU, Rig


def _require() -> None:
    if not shutil.which(QEMU):
        reason = f"needs {QEMU} (Debian package qemu-system-x86)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """For one test."""
    _require()
    with Rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def shared_rig() -> Iterator[Rig]:
    """For the tests of one module."""
    _require()
    with Rig() as rig:
        yield rig
