"""Which cgroup is the VM's, and where its files are in the three layouts."""

from __future__ import annotations

import pytest

from proxtop.kernel.cgroup import Hierarchies, Hierarchy, parse_mountinfo, vm_cgroup

SCOPE = r"/machine.slice/machine-qemu\x2d1\x2dweb.scope"


@pytest.mark.parametrize(
    ("text", "cgroup"),
    [
        (f"0::{SCOPE}/libvirt/emulator\n", SCOPE),
        (f"0::{SCOPE}/libvirt/vcpu11\n", SCOPE),
        (f"0::{SCOPE}/libvirt\n", SCOPE),
        (f"0::{SCOPE}\n", SCOPE),
        (f"9:cpu,cpuacct:{SCOPE}/emulator\n1:name=systemd:/x\n", SCOPE),
        ("0::/qemu.slice/101.scope\n", "/qemu.slice/101.scope"),
        ("3:cpu,cpuacct:/a\n0::/b\n", "/b"),
        ("3:cpuacct,cpu:/a\n0::/\n", "/a"),
        ("3:cpuset:/a\n0::/\n", None),
        ("0::/../../b\n", None),
        ("0::/b (deleted)\n", None),
        ("0::/\n", None),
        ("0::/with:colon\n", "/with:colon"),
        ("0::/machine/emulator-x\n", "/machine/emulator-x"),
        ("", None),
    ],
)
def test_the_cgroup_is_the_whole_vms(text: str, cgroup: str | None) -> None:
    assert vm_cgroup(text.encode()) == cgroup


def test_mounts_are_seen_below_the_sysfs_that_was_given() -> None:
    text = b"25 24 0:23 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"
    assert parse_mountinfo(text, "/host/sys") == Hierarchies(None, Hierarchy("/host/sys/fs/cgroup", "/"))
    assert parse_mountinfo(text, None) == Hierarchies()


def test_a_mount_elsewhere_is_not_believed_to_be_below_sysfs() -> None:
    assert parse_mountinfo(b"25 24 0:23 / /cgroup rw - cgroup2 cgroup2 rw\n", "/sys") == Hierarchies()


def test_only_what_is_below_the_root_of_a_mount_has_a_path() -> None:
    hierarchy = Hierarchy("/sys/fs/cgroup", "/docker/abc")
    assert hierarchy.path("/docker/abc/vm") == "/sys/fs/cgroup/vm"
    assert hierarchy.path("/docker/abcd") is None


def test_limits_of_single_vcpus_are_looked_for_below_the_vms_cgroup() -> None:
    paths = list(Hierarchies(None, Hierarchy("/c", "/")).cpu_stats("/vm", [0]))
    assert paths == ["/c/vm/cpu.stat", "/c/vm/libvirt/cpu.stat", "/c/vm/libvirt/vcpu0/cpu.stat", "/c/vm/vcpu0/cpu.stat"]


def test_hybrid_has_its_limits_in_v1_and_its_pressure_in_v2() -> None:
    hybrid = Hierarchies(Hierarchy("/cpu", "/"), Hierarchy("/unified", "/"))
    assert next(iter(hybrid.cpu_stats("/vm", []))) == "/cpu/vm/cpu.stat"
    assert hybrid.pressure("/vm", "memory") == "/unified/vm/memory.pressure"
    assert Hierarchies(Hierarchy("/cpu", "/"), None).pressure("/vm", "cpu") is None
