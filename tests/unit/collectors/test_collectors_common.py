"""What holds for every collector, whatever the family."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_hosts import DB, WEB, Host

from proxtop import catalog
from proxtop.catalog import FAMILIES as KNOWN
from proxtop.collectors import load
from proxtop.kernel.errors import FileError
from proxtop.kernel.files import File, Files
from proxtop.kernel.pid_stat import parse_start
from proxtop.model import EMPTY, VM, Inventory, Sample, Statistics

FAMILIES = list(KNOWN)
OF_VMS = [family for family in FAMILIES if any(c.table == "vm" for c in catalog.FAMILIES[family].columns)]


def check_shape(family: str, sample: Sample) -> None:
    assert sample.family == family
    declared: dict[str, set[str]] = {}
    for column in catalog.FAMILIES[family].columns:
        declared.setdefault(column.table, set()).add(column.name)
    for scope, table in sample.tables.items():
        assert all(len(column) == len(table.ids) for column in table.columns.values())
        assert len(set(table.ids)) == len(table.ids)
        assert table.at is None or len(table.at) == len(table.ids)
        if table.ids:
            unknown = {name for name in table.columns if name not in declared[scope]}
            assert all(family == "mem" and name.startswith("ram_") for name in unknown)
            assert declared[scope] <= table.columns.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_and_columns_are_the_catalogs(family: str, small: Host, inventory: Inventory) -> None:
    for _ in range(2):
        sample = load(family)(inventory, {}, small.files)
        check_shape(family, sample)
        assert set(sample.tables) >= {column.table for column in catalog.FAMILIES[family].columns}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_that_tells_nothing_gives_empty_values_and_a_reason(
    family: str, small: Host, inventory: Inventory
) -> None:
    shutil.rmtree(small.proc)
    shutil.rmtree(small.sys)
    small.proc.mkdir()
    sample = load(family)(inventory, {}, small.files)
    check_shape(family, sample)
    host = sample.tables.get("host")
    if host is not None and family != "host":
        assert all(column == [None] for column in host.columns.values())
        assert sample.reason is not None and sample.reason.startswith(f"{family}: ") and "\n" not in sample.reason


@pytest.mark.parametrize("family", FAMILIES)
def test_garbage_in_every_file_gives_nulls_and_a_reason(family: str, small: Host, inventory: Inventory) -> None:
    load(family)(inventory, {}, small.files)
    for path in [*small.proc.rglob("*"), *small.sys.rglob("*")]:
        if path.is_file():
            path.write_bytes(b"\xff garbage \x00 7\n")
    check_shape(family, load(family)(inventory, {}, small.files))
    check_shape(family, load(family)(inventory, {}, Files(str(small.proc), str(small.sys))))


@pytest.mark.parametrize("family", OF_VMS)
def test_a_vm_that_left_has_no_row(family: str, small: Host, inventory: Inventory) -> None:
    collect = load(family)
    if family != "net":
        assert collect(inventory, {}, small.files).tables["vm"].ids == [DB, WEB]
        small.end(1302)
        for path in (small.sys / "fs/cgroup/qemu.slice").rglob("*.pressure"):
            path.unlink()
        assert collect(inventory, {}, small.files).tables["vm"].ids == [WEB]


@pytest.mark.parametrize("family", OF_VMS)
def test_a_vm_whose_pid_is_another_process_now_has_no_row(family: str, small: Host, inventory: Inventory) -> None:
    collect = load(family)
    collect(inventory, {}, small.files)
    small.end(1302)
    shutil.copytree(small.proc / "1201", small.proc / "1302")
    assert collect(inventory, {}, small.files).tables["vm"].ids == [WEB]


@pytest.mark.parametrize("family", OF_VMS)
def test_a_vm_that_left_the_inventory_leaves_nothing_open(family: str, small: Host, inventory: Inventory) -> None:
    collect = load(family)
    collect(inventory, {}, small.files)
    assert small.files.kept == 2
    smaller = dataclasses.replace(inventory, vms=inventory.vms[1:])
    assert collect(smaller, {}, small.files).tables["vm"].ids == [WEB]
    assert small.files.kept == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_remote_host_is_never_shown_with_the_local_hosts_figures(family: str, remote: Inventory) -> None:
    files = Files()
    sample = load(family)(remote, {}, files)
    check_shape(family, sample)
    for scope in ("device", "interface", "nic", "disk", "thread", "vcpu"):
        assert scope not in sample.tables or sample.tables[scope].ids == []
    if "host" in sample.tables:
        assert all(column == [None] for column in sample.tables["host"].columns.values())
    if "vm" in sample.tables:
        assert sample.tables["vm"].ids == [DB, WEB]
        assert sample.tables["vm"].columns["gen"] == [None, None]
    files.close()


@pytest.mark.parametrize(
    ("family", "part"), [("cpu", "vcpu"), ("mem", "balloon"), ("disk", "block"), ("net", "interface")]
)
def test_what_happened_is_said_before_what_a_remote_host_never_tells(family: str, part: str, remote: Inventory) -> None:
    files = Files()
    lost = Statistics(part, EMPTY, 1.0, "libvirt: connection lost")
    assert load(family)(remote, {part: lost}, files).reason == f"{family}: libvirt: connection lost (and 1 more)"
    files.close()


@pytest.mark.parametrize("name", ["small-host", "storage", "cgroup-v1", "cgroup-hybrid", "old-kernel"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_host_is_sampled(
    family: str, name: str, host: Callable[[str], Host], inventory: Inventory
) -> None:
    check_shape(family, load(family)(inventory, {}, host(name).files))


@pytest.mark.parametrize("family", FAMILIES)
def test_this_machine_is_sampled(family: str) -> None:
    files = Files()
    for _ in range(2):
        check_shape(family, load(family)(Inventory("qemu", ()), {}, files))
    files.close()


@pytest.mark.parametrize("family", sorted({*OF_VMS} - {"disk"}))  # which may have nothing of the process itself
def test_a_process_that_ends_between_two_passes_takes_only_its_own_row(family: str) -> None:
    files = Files()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        own, other = (
            VM(name, name, pid, parse_start(Path(f"/proc/{pid}/stat").read_bytes()))
            for name, pid in (("own", os.getpid()), ("other", child.pid))
        )
        inventory = Inventory("qemu", (other, own))
        for _ in range(2):
            assert load(family)(inventory, {}, files).tables["vm"].ids == ["other", "own"]
        child.kill()
    for _ in range(2):
        assert load(family)(inventory, {}, files).tables["vm"].ids == ["own"]
    files.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_files_that_fail_to_be_read_are_a_reason_and_no_crash(
    family: str, small: Host, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all do below a /proc that is mounted over the network once its server is lost."""
    load(family)(inventory, {}, small.files)

    def lost(file: File) -> bytes | None:
        raise FileError(file.path, errno.ENOTCONN)

    monkeypatch.setattr(File, "read", lost)
    sample = load(family)(inventory, {}, small.files)
    check_shape(family, sample)
    assert family == "host" or sample.reason is not None
