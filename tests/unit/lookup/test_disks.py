"""Which device holds a disk, on one host per kind of storage."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest
from lookup_host import Host

from proxtop.kernel.files import Files
from proxtop.lookup.disks import Disks

ROOT = "27 1 8:2 / / rw - ext4 /dev/sda2 rw\n24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n"


def disks(host: Host, *, root: bool = True, **options: Any) -> Disks:
    return Disks(Files(str(host.proc), str(host.sys)), str(host.root) if root else None, **options)


@pytest.fixture
def sda(host: Host) -> Host:
    host.block("sda", "8:0")
    host.block("sda2", "8:2", of="sda")
    host.mounts(ROOT)
    return host


def test_a_file_is_on_the_disk_of_its_file_systems_partition(sda: Host) -> None:
    assert disks(sda).device("/var/lib/libvirt/images/web.qcow2") == "sda"


def test_dev_root_goes_by_its_number(sda: Host) -> None:
    sda.mounts("27 1 8:2 / / rw - ext4 /dev/root rw")
    assert disks(sda).device("/web.img") == "sda"


def test_a_file_system_on_lvm_on_a_partition_is_the_mapped_device(sda: Host) -> None:
    sda.block("dm-3", "253:3", dm="pve-data--vz")
    sda.mounts(ROOT + "40 27 253:3 / /var/lib/vz rw - xfs /dev/mapper/pve-data--vz rw")
    found = disks(sda)
    assert found.device("/var/lib/vz/images/100/vm-100-disk-0.qcow2") == "dm-3"
    assert found.device("/var/lib/vz2/x") == "sda"


@pytest.mark.parametrize("root", [True, False])
def test_a_logical_volume_by_each_of_its_names(sda: Host, root: bool) -> None:
    sda.block("dm-7", "253:7", dm="pve-vm--100--disk--0")
    sda.link(sda.root / "dev/pve/vm-100-disk-0", "../dm-7")
    sda.link(sda.root / "dev/mapper/pve-vm--100--disk--0", "../dm-7")
    found = disks(sda, root=root)
    assert found.device("/dev/pve/vm-100-disk-0") == "dm-7"
    assert found.device("/dev/mapper/pve-vm--100--disk--0") == "dm-7"
    assert found.device("/dev/dm-7") == "dm-7"


@pytest.mark.parametrize("root", [True, False])
def test_multipath_is_the_map_and_not_a_path(sda: Host, root: bool) -> None:
    sda.block("dm-2", "253:2", dm="mpatha")
    sda.link(sda.root / "dev/mapper/mpatha", "../dm-2")
    assert disks(sda, root=root).device("/dev/mapper/mpatha") == "dm-2"


def test_a_zvol_is_found_through_its_link_and_is_unknown_without(sda: Host) -> None:
    sda.block("zd16", "230:16")
    sda.link(sda.root / "dev/zvol/rpool/data/vm-100-disk-0", "../../../zd16")
    assert disks(sda).device("/dev/zvol/rpool/data/vm-100-disk-0") == "zd16"
    assert disks(sda, root=False).device("/dev/zvol/rpool/data/vm-100-disk-0") is None


def test_rbd_by_link_and_by_image(sda: Host) -> None:
    for number, image, snapshot in ((0, "vm-100-disk-0", "backup"), (1, "vm-100-disk-0", "-"), (2, "vm-100", "-")):
        sda.block(f"rbd{number}", f"252:{number * 16}")
        for name, text in (("pool", "ceph"), ("name", image), ("current_snap", snapshot), ("pool_ns", "")):
            sda.file(sda.sys / f"bus/rbd/devices/{number}/{name}", text + "\n")
    sda.link(sda.root / "dev/rbd/ceph/linked", "../../rbd2")
    found = disks(sda)
    assert found.device("/dev/rbd/ceph/linked") == "rbd2"
    assert found.device("/dev/rbd-pve/4711-fsid/ceph/vm-100-disk-0") == "rbd1"
    assert found.device("/dev/rbd/ceph/vm-100") == "rbd2"
    assert found.device("/dev/rbd/ceph/vm-1") is None


@pytest.mark.parametrize(
    "line",
    [
        "40 27 0:50 / /mnt/pve rw - nfs4 nas:/vol rw",
        "40 27 0:50 / /mnt/pve rw - cifs //nas/vol rw",
        "40 27 0:50 / /mnt/pve rw - ceph 10.0.0.1:/ rw",
        "40 27 0:50 / /mnt/pve rw - fuse.glusterfs gl:/vol rw",
        "40 27 0:50 / /mnt/pve rw - zfs rpool/data rw",
        "40 27 0:50 / /mnt/pve rw - tmpfs tmpfs rw",
        "40 27 0:50 / /mnt/pve rw - virtiofs share rw",
    ],
)
def test_no_host_device_holds_network_files_datasets_and_memory(sda: Host, line: str) -> None:
    sda.mounts(ROOT + line)
    assert disks(sda).device("/mnt/pve/images/100/vm-100-disk-0.qcow2") is None


def test_nothing_is_asked_of_a_network_file_system(sda: Host) -> None:
    sda.mounts(ROOT + "40 27 0:50 / /mnt/nfs rw - nfs nas:/vol rw")
    sda.link(sda.root / "srv/images", "/mnt/nfs/images")
    sda.link(sda.root / "mnt/nfs/images/web.img", "/dev/sda2")
    asked = []

    def lstat(path: str) -> os.stat_result:
        asked.append(path)
        raise FileNotFoundError

    assert disks(sda, lstat=lstat).device("/srv/images/web.img") is None
    assert asked == []


@pytest.mark.parametrize(
    "source", ["rbd:pool/image", "nbd://h/x", "iscsi://h/t/0", "json:{}", "pool/image", "", "a\0b"]
)
def test_what_is_no_path_has_no_device(sda: Host, source: str) -> None:
    assert disks(sda).device(source) is None


def test_btrfs_goes_by_its_source_unless_it_is_spread(sda: Host) -> None:
    sda.block("nvme0n1", "259:0")
    sda.block("nvme0n1p3", "259:3", of="nvme0n1")
    sda.mounts(ROOT + "40 27 0:44 /@vm /vm rw - btrfs /dev/nvme0n1p3 rw,subvol=/@vm")
    assert disks(sda).device("/vm/web.img") == "nvme0n1"
    sda.link(sda.sys / "fs/btrfs/uuid/devices/nvme0n1p3", "x")
    assert disks(sda).device("/vm/web.img") == "nvme0n1"
    sda.link(sda.sys / "fs/btrfs/uuid/devices/sda2", "x")
    assert disks(sda).device("/vm/web.img") is None


def test_overlay_goes_by_where_it_is_written(sda: Host) -> None:
    sda.block("vdb", "254:16")
    sda.mounts(
        "27 1 0:40 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/upper/x\\040y,workdir=/w\n"
        "41 27 254:16 / /upper rw - ext4 /dev/vdb rw"
    )
    assert disks(sda).device("/images/web.img") == "vdb"
    sda.mounts("27 1 0:40 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/upper,workdir=/w")
    assert disks(sda).device("/images/web.img") is None  # an upper layer on itself ends


def test_the_innermost_visible_mount_counts(sda: Host) -> None:
    sda.block("sdb", "8:16")
    sda.block("sdc", "8:32")
    sda.mounts(
        ROOT + "40 27 8:16 / /a/b\\040c rw shared:1 - ext4 /dev/sdb rw\n41 27 8:32 / /a rw - ext4 /dev/sdc rw\n"
        "nonsense\n50 27 x:y / /z rw - ext4 /dev/sdb rw"
    )
    assert disks(sda).device("/a/b c/web.img") == "sdc"  # the later mount covers the earlier one below it
    sda.mounts(ROOT + "40 27 8:16 / /a/b\\040c rw shared:1 - ext4 /dev/sdb rw")
    assert disks(sda).device("/a/b c/web.img") == "sdb"
    assert disks(sda).device("/a/b/web.img") == "sda"


def test_a_device_node_goes_by_its_number_whatever_its_name(sda: Host) -> None:
    def lstat(path: str) -> Any:
        return SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=os.makedev(7, 1))

    sda.block("loop1", "7:1")
    assert disks(sda, lstat=lstat).device("/srv/node") == "loop1"


def test_a_loop_of_links_and_a_hidden_directory_do_not_stop_it(sda: Host) -> None:
    sda.link(sda.root / "a", "b")
    sda.link(sda.root / "b", "a")
    assert disks(sda).device("/a/x") is None

    def lstat(path: str) -> os.stat_result:
        raise PermissionError

    assert disks(sda, lstat=lstat).device("/srv/secret/web.img") == "sda"


def test_no_sysfs_or_no_mounts_means_unknown(sda: Host) -> None:
    (sda.proc / "1/mountinfo").unlink()
    assert disks(sda).device("/x") is None


def test_a_bare_qemus_relative_file_is_below_its_working_directory(sda: Host) -> None:
    sda.file(sda.root / "srv/vm/disk.img", "")
    sda.link(sda.proc / "77/cwd", "/srv/vm")
    found = disks(sda)
    cwd = str(sda.proc / "77/cwd")
    assert found.absolute("disk.img", cwd) == "/srv/vm/disk.img"
    assert found.absolute("other.img", cwd) == "other.img"
    assert found.absolute("rbd:pool/disk.img", cwd) == "rbd:pool/disk.img"
    assert found.absolute("disk.img", str(sda.proc / "78/cwd")) == "disk.img"
    assert found.absolute("disk\0.img", cwd) == "disk\0.img"  # JSON on a command line may hold it


def test_an_image_is_where_its_file_or_device_can_be_seen(sda: Host) -> None:
    sda.file(sda.root / "images/web.raw", "x")
    sda.link(sda.root / "srv", "images")
    found = disks(sda)
    assert found.image("/images/web.raw") == found.image("/srv/web.raw") == f"{sda.root}/images/web.raw"
    for source in (None, "images/web.raw", "pool/volume", "rbd:pool/image", "/images", "/gone", "/images/web\0.raw"):
        assert found.image(source) is None
    assert disks(sda, root=False).image("/images/web.raw") is None


def test_an_image_on_a_network_file_system_is_never_looked_at(sda: Host) -> None:
    sda.mounts(ROOT + "40 27 0:50 / /mnt/nfs rw - nfs4 server:/x rw")
    sda.link(sda.root / "srv", "mnt/nfs")
    touched: list[str] = []

    def lstat(path: str) -> os.stat_result:
        touched.append(path)
        return os.lstat(path)

    found = disks(sda, lstat=lstat)
    assert found.image("/mnt/nfs/web.raw") is None
    assert found.image("/srv/web.raw") is None
    assert touched == []


def test_an_image_without_a_list_of_mounts_is_not_looked_at(sda: Host) -> None:
    sda.file(sda.root / "web.raw", "x")
    sda.mounts("")
    assert disks(sda).image("/web.raw") is None
