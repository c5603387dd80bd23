"""The units are as closed as they can be: systemd's own score, lower is better, on the units as they are."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

from tests.conftest import unavailable
from tests.package.roots import REPOSITORY

UNITS = sorted((REPOSITORY / "systemd").glob("*.service"))
OVERALL = "→ Overall exposure level for "


def exposure(unit: pathlib.Path) -> float:
    """What `systemd-analyze security` says of a unit's file, 0 to 10."""
    if not shutil.which("systemd-analyze"):
        unavailable("systemd-analyze is missing (Debian package systemd)")
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(OVERALL))
    return float(line.removeprefix(OVERALL).split(": ")[1].split()[0])


def test_there_is_a_unit_for_everything_that_runs_for_long() -> None:
    assert {unit.stem for unit in UNITS} == {"proxtop", "proxtopd", "proxtop-agg", "proxprofiler"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_its_exposure_is_low(unit: pathlib.Path) -> None:
    assert 0 < exposure(unit) <= (2.8 if unit.stem == "proxtopd" else 1.5)


def test_a_unit_without_a_sandbox_would_be_seen(tmp_path: pathlib.Path) -> None:
    unit = tmp_path / "open.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(unit) > 9


def test_proxtopd_has_the_capabilities_that_its_workers_and_their_start_need_and_no_other() -> None:
    (line,) = (
        line for line in (REPOSITORY / "systemd/proxtopd.service").read_text().splitlines() if "BoundingSet" in line
    )
    assert set(line.partition("=")[2].split()) == {
        f"CAP_{name}" for name in ("SETUID", "SETGID", "SETPCAP", "KILL", "SYS_PTRACE", "DAC_READ_SEARCH")
    }


@pytest.mark.parametrize("name", ["proxtop", "proxprofiler"])
def test_readers_read_from_the_fleet_and_have_no_privilege(name: str) -> None:
    lines = (REPOSITORY / f"systemd/{name}.service").read_text().splitlines()
    assert "User=proxtop" in lines and "CapabilityBoundingSet=" in lines
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert start.startswith(f"ExecStart=/usr/bin/{name} --bus=/run/proxtop/subscribe.sock ")
