"""Every fault of docs/reliability.md, with its bounds; and the document has each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import unavailable
from tests.faults.reliability import bus, hypervisor, processes, world
from tests.faults.reliability.__main__ import FAULTS, FILE, plain, rows
from tests.faults.reliability.bench import FAMILIES, WORKERS, Bench, Row
from tests.faults.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bench(shared_rig: Rig) -> Iterator[Bench]:
    if os.geteuid() != 0:
        unavailable("needs root: it mounts a small file system in a namespace of its own")
    yield Bench(shared_rig, prefix=world.small_disk(shared_rig))


def _documented(row: Row) -> None:
    """The table has that fault."""
    assert plain(row.fault) in rows(FILE.read_text()), f"{row.fault} is not in {FILE.name}: make reliability"


@pytest.mark.parametrize("name", WORKERS)
def test_a_killed_worker(bench: Bench, name: str) -> None:
    _documented(processes.killed(bench, name))


@pytest.mark.parametrize("name", [name for name in WORKERS if name not in FAMILIES[1:]])
def test_a_stopped_worker(bench: Bench, name: str) -> None:
    """Of the families one: each takes ten seconds, and all have the same loop. `make reliability` stops every one."""
    _documented(processes.stopped(bench, name))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault(bench: Bench, fault: Callable[..., Row]) -> None:
    _documented(fault(bench, **({"seconds": 20.0} if fault is bus.reader_stopped else {})))


def test_a_thousand_vms_that_come_and_go(bench: Bench) -> None:
    _documented(world.vm_cycles(bench))


def test_the_clock_is_set(rig: Rig) -> None:
    if world.faketime() is None:
        unavailable("needs libfaketime (Debian package faketime)")
    for row in world.clock_stepped(rig):
        _documented(row)


def test_libvirtd_comes_late_goes_and_comes_back(rig: Rig) -> None:
    if os.geteuid() != 0:
        unavailable("needs root: it starts a libvirtd in a mount namespace")
    for row in hypervisor.libvirtd_away(rig):
        _documented(row)
