"""Pressure of many VMs: what is not read because it can't have changed, and that nothing which did is missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fixture_hosts import Host, web

from proxtop.collectors import psi
from proxtop.kernel.cgroup import Hierarchies
from proxtop.kernel.files import File
from proxtop.model import Inventory

CALM = "some avg10=0.00 avg60=0.00 avg300=0.00 total={0}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={0}\n"
BUSY = "some avg10=1.00 avg60=0.00 avg300=0.00 total={0}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={0}\n"
VMS = 5


class Slice:
    """A cgroup with so many VMs in it, each with one of its own."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = host
        self.root = host.sys / "fs/cgroup/many.slice"
        vms = [replace(web(), uuid=f"{n}", cgroup=f"/many.slice/{n}.scope") for n in range(VMS)]
        self.inventory = Inventory("libvirt", tuple(vms))
        for vm in ("", *(f"{n}.scope" for n in range(VMS))):
            for resource in ("cpu", "io", "memory"):
                self.write(vm, resource, CALM.format(100))
        self.read: list[str] = []
        read = File.read

        def counted(file: File) -> bytes | None:
            if "many.slice" in file.path:
                self.read.append(str(Path(file.path).relative_to(self.root)))
            return read(file)

        monkeypatch.setattr(File, "read", counted)

    def write(self, vm: str, resource: str, text: str) -> None:
        path = self.root / vm / f"{resource}.pressure"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def pass_after(self, seconds: float) -> dict[str, list[object]]:
        self.host.now += seconds
        self.read.clear()
        return dict(psi.sample(self.inventory, {}, self.host.files).tables["vm"].columns)  # type: ignore[arg-type]

    def settle(self) -> None:
        for _ in range(4):
            self.pass_after(2.0)


@pytest.fixture
def many(host: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch) -> Slice:
    return Slice(host("small-host"), monkeypatch)


def test_files_of_vms_are_not_read_while_the_cgroup_above_stands_still(many: Slice) -> None:
    first = many.pass_after(0.0)
    assert len(many.read) == 3 + 3 * VMS
    many.settle()
    assert many.pass_after(0.5) == first
    assert sorted(many.read) == sorted(
        ["cpu.pressure", "io.pressure", "memory.pressure", *(f"{n}.scope/cpu.pressure" for n in range(VMS))]
    )


def test_a_stall_is_seen_in_the_pass_after_which_it_is_in_the_cgroup_above(many: Slice) -> None:
    many.settle()
    many.write("", "io", BUSY.format(300))
    many.write("3.scope", "io", BUSY.format(300))
    columns = many.pass_after(0.5)
    assert columns["psi_some_io_us"] == [100, 100, 100, 300, 100]
    assert columns["psi_some_io_avg10"] == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert not [path for path in many.read if path.endswith(".scope/memory.pressure")]


def test_averages_that_are_still_moving_are_read_though_no_total_moves(many: Slice) -> None:
    many.settle()
    for scope in ("", "3.scope"):
        many.write(scope, "io", CALM.format(300))  # the kernel has yet to work the averages out
    many.pass_after(0.5)
    many.write("3.scope", "io", BUSY.format(300))
    assert many.pass_after(2.0)["psi_some_io_avg10"] == [0.0, 0.0, 0.0, 1.0, 0.0]
    many.write("3.scope", "io", CALM.format(300))
    assert many.pass_after(10.0)["psi_some_io_avg10"] == [0.0] * VMS


def test_all_is_read_again_in_time_come_what_may(many: Slice) -> None:
    many.settle()
    many.write("2.scope", "memory", CALM.format(777))
    seen = [many.pass_after(1.0)["psi_full_mem_us"][2] for _ in range(11)]
    assert seen[0] == 100 and seen[-1] == 777


def test_what_can_not_be_read_is_told_each_time_and_is_null_for_that_vm_alone(many: Slice) -> None:
    many.settle()
    many.write("1.scope", "cpu", "some avg10=x\n")
    for _ in range(2):
        many.host.now += 1.0
        sample = psi.sample(many.inventory, {}, many.host.files)
        assert sample.reason is not None and "*.pressure" in sample.reason
        assert sample.tables["vm"].columns["psi_some_cpu_us"] == [100, None, 100, 100, 100]


def test_vms_alone_in_their_cgroups_are_read_as_they_are(many: Slice) -> None:
    vms = tuple(replace(vm, cgroup=f"/many.slice/{n}.scope") for n, vm in enumerate(many.inventory.vms[:2]))
    many.inventory = Inventory("libvirt", vms)
    many.settle()
    many.pass_after(0.5)
    assert len(many.read) == 3 * len(vms)


def test_where_there_is_no_pressure_nobody_looks_for_it_again(many: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 4.20, and in v1, no VM has any: the look at all of them would be for nothing."""
    monkeypatch.setattr(psi, "hierarchies", lambda files: Hierarchies())
    looked: list[object] = []
    opened = psi._opened
    monkeypatch.setattr(psi, "_opened", lambda *arguments: looked.append(arguments) or opened(*arguments))
    for _ in range(12):
        assert many.pass_after(1.0)["psi_some_io_us"] == [None] * 5
    assert len(looked) == 5


def test_pressure_that_is_turned_on_later_is_seen_in_time(many: Slice) -> None:
    """cgroup.pressure of 0 hides a cgroup's files."""
    path = many.root / "2.scope" / "io.pressure"
    text = path.read_text()
    path.unlink()
    assert many.pass_after(1.0)["psi_some_io_us"] == [100, 100, None, 100, 100]
    path.write_text(text)
    for _ in range(11):
        columns = many.pass_after(1.0)
    assert columns["psi_some_io_us"] == [100] * VMS
