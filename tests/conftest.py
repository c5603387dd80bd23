"""Real guests for every test that asks for them: booted at the first use, once a run.

A test that changes a shared guest's load does so with `guest.loaded(…)`;
one that kills or restarts guests boots its own from `lab`.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab, LabMissing, missing
from tests.lab.scenes import BareScene, LibvirtScene, ProxmoxScene, bare_scene, libvirt_scene, proxmox_scene

LAB = pytest.StashKey[Lab]()

# How long an example takes is the machine's business, which others use too.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Opens the lab when a test will want it: waiting for another run to end must not count as a test's time."""
    wanted = any("lab" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not missing():
        lab = Lab()
        lab.__enter__()
        session.config.stash[LAB] = lab
        session.config.add_cleanup(lambda: lab.__exit__(None, None, None))


def unavailable(reason: str) -> NoReturn:
    """CI has to run everything; elsewhere a test that lacks something is skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Lab:
    """For guests of a test's own; stop each when done."""
    reason = missing()
    if reason:
        unavailable(reason)
    lab = pytestconfig.stash[LAB]
    try:
        lab.prepare()
    except LabMissing as error:
        unavailable(str(error))
    return lab


@pytest.fixture(scope="session")
def libvirt_guests(lab: Lab) -> LibvirtScene:
    """web (idle), web-01 (vCPU 0 of two busy) and one with an odd name, disk writes and network traffic."""
    reason = missing("libvirt")
    if reason:
        unavailable(reason)
    return libvirt_scene(lab)


@pytest.fixture(scope="session")
def proxmox_host(lab: Lab) -> Iterator[ProxmoxScene]:
    """A root directory like a Proxmox VE host's, and its two guests."""
    with tempfile.TemporaryDirectory(prefix="proxtop-pve-") as root:
        yield proxmox_scene(lab, pathlib.Path(root))


@pytest.fixture(scope="session")
def bare_guests(lab: Lab) -> BareScene:
    """Two QEMU processes that nobody manages."""
    return bare_scene(lab)
