"""The documentation's commands that name libvirt, as written."""

from __future__ import annotations

import pytest

from tests.faults.rig import proxtop
from tests.lab.scenes import LibvirtScene


@pytest.mark.parametrize("example", ["--libvirt", "-c qemu:///system --printer=text --cpu --mem --net --disk"])
def test_the_examples_that_name_libvirt_work_as_written(example: str, libvirt_guests: LibvirtScene) -> None:
    done = proxtop(*example.split(), "--runs=1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[1][:2] == ["UUID", "name"]
    shown = {row[0] for row in rows[3:]}
    assert {guest.uuid for guest in libvirt_guests} <= shown
