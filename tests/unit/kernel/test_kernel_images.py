"""What an image takes of its host: a file's blocks, a device's size where all of it is set aside."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxtop.kernel.images import Image, look

SECTORS = 2048


class Devices:
    """A /sys of block devices, and the nodes of them."""

    def __init__(self, sys: Path) -> None:
        self.sys = sys
        self._numbers: dict[str, int] = {}

    def add(self, name: str, *, on: tuple[str, ...] = (), uuid: str | None = None, of: str | None = None) -> None:
        """A device; `on` are those that it consists of, `of` the disk that it is a partition of."""
        home = self.sys / "devices" / (f"{of}/{name}" if of else name)
        (home / "slaves").mkdir(parents=True)
        (home / "size").write_text(f"{SECTORS}\n")
        for part in on:
            (home / "slaves" / part).touch()
        if uuid is not None:
            (home / "dm").mkdir()
            (home / "dm/uuid").write_text(uuid + "\n")
            (home / "dm/name").write_text(name + "\n")
        if of:
            (home / "partition").write_text("1\n")
        self._numbers[name] = number = len(self._numbers)
        for link in (f"dev/block/9:{number}", f"class/block/{name}", *(() if of else (f"block/{name}",))):
            (self.sys / link).parent.mkdir(parents=True, exist_ok=True)
            (self.sys / link).symlink_to(os.path.relpath(home, (self.sys / link).parent))

    def look(self, name: str) -> Image | None:
        node: Any = SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=os.makedev(9, self._numbers[name]))
        return look(f"/dev/{name}", str(self.sys), lstat=lambda path: node)


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    devices = Devices(tmp_path)
    devices.add("sda")
    devices.add("sda3", of="sda")
    devices.add("sdb")
    return devices


def test_a_file_takes_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with open(path, "wb") as file:
        file.truncate(1 << 20)
        file.write(b"x" * 8192)
        os.fsync(file.fileno())
    assert look(str(path), "/sys") == Image(1 << 20, path.stat().st_blocks * 512, False)
    assert path.stat().st_blocks * 512 < 1 << 20


def test_what_is_no_file_and_no_device_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (str(tmp_path), f"{tmp_path}/gone", f"{tmp_path}/link", "/dev/null", "/x\0y"):
        assert look(path, "/sys") is None


def test_a_disk_or_partition_takes_all_of_its_size(devices: Devices) -> None:
    for name in ("sda", "sda3"):
        assert devices.look(name) == Image(SECTORS * 512, SECTORS * 512, True)


@pytest.mark.parametrize("uuid", ["LVM-abcdef", "mpath-3600", "CRYPT-LUKS2-x", "part1-mpath-3600"])
def test_a_volume_takes_its_size_of_the_disks_below(devices: Devices, uuid: str) -> None:
    devices.add("md0", on=("sda3", "sdb"))
    devices.add("dm-0", on=("md0",), uuid=uuid)
    assert devices.look("dm-0") == Image(SECTORS * 512, SECTORS * 512, True)


@pytest.mark.parametrize("shared", ["LVM-abc-tpool", "LVM-abc-cow", "LVM-abc-vpool", "docker-pool", ""])
def test_a_thin_volume_and_a_snapshot_take_nobody_knows_what(devices: Devices, shared: str) -> None:
    devices.add("dm-1", on=("sda3",), uuid=shared)
    devices.add("dm-2", on=("dm-1",), uuid="LVM-abcthin")
    devices.add("dm-3", on=("dm-2",), uuid="CRYPT-LUKS2-x")
    for name in ("dm-2", "dm-3"):
        assert devices.look(name) == Image(SECTORS * 512, None, True)


@pytest.mark.parametrize("name", ["zd0", "rbd0", "loop0", "nbd0", "zram0", "drbd0", "dm-9"])
def test_what_another_layer_holds_takes_nobody_knows_what(devices: Devices, name: str) -> None:
    devices.add(name)
    assert devices.look(name) == Image(SECTORS * 512, None, True)


def test_a_device_whose_node_can_not_be_seen_is_found_by_its_name(devices: Devices) -> None:
    devices.add("dm-0", on=("sda3",), uuid="LVM-abcdef")
    (devices.sys / "devices/dm-0/dm/name").write_text("pve-vm--101--disk--0\n")
    (devices.sys / "devices/sda/sda3/size").write_text("1024\n")
    whole, part = Image(SECTORS * 512, SECTORS * 512, True), Image(1024 * 512, 1024 * 512, True)
    for path, seen in (
        ("/dev/sda", whole), ("/dev/sda3", part), ("/dev/mapper/pve-vm--101--disk--0", whole),
        ("/dev/pve/vm-101-disk-0", whole), ("/dev/gone", None), ("/dev/pve/vm-102-disk-0", None), ("/srv/gone", None),
    ):  # fmt: skip
        assert look(path, str(devices.sys), lstat=_hidden) == seen, path


def _hidden(path: str) -> os.stat_result:
    raise FileNotFoundError(path)
