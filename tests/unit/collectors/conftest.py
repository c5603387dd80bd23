"""Fixtures of the collectors' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixture_hosts import DB, WEB, Host, db, web

from proxtop.model import VM, Inventory, Nic


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    hosts: list[Host] = []

    def make(name: str) -> Host:
        hosts.append(Host(name, tmp_path))
        return hosts[-1]

    yield make
    for made in hosts:
        made.files.close()
        assert made.files.kept == 0


@pytest.fixture
def small(host: Callable[[str], Host]) -> Host:
    """A host with the two VMs of the inventory."""
    return host("small-host")


@pytest.fixture
def inventory() -> Inventory:
    return Inventory("libvirt", (db(), web()))


@pytest.fixture
def remote() -> Inventory:
    """VMs of a host of which nothing but libvirt is to be had."""
    vms = tuple(VM(uuid, name, None, None, cores=2, memory_kb=1024, nics=(Nic("vnet0", "aa", True),))
                for uuid, name in ((DB, "db"), (WEB, "web")))  # fmt: skip
    return Inventory("libvirt", vms, remote=True)
