"""A rig for each fault test; without QEMU there is nothing to break."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.faults.rig import QEMU, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """For one test."""
    if not shutil.which(QEMU):
        reason = f"needs {QEMU} (Debian package qemu-system-x86)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Rig() as rig:
        yield rig
