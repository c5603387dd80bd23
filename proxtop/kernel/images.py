"""How large the file or block device behind a virtual disk is, and what it takes of the host: stat(2), and /sys/block
(kernel: Documentation/ABI/stable/sysfs-block, testing/sysfs-block-dm)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from proxtop.kernel import blockdev
from proxtop.kernel.sys_block import describe

_SECTOR = 512
_MAPPED = ("LVM-", "mpath-", "CRYPT-", "part")
_SHARED = ("-tpool", "-cow", "-vpool")
"""Ends of LVM's UUIDs of what volumes share and take from as they are written: thin pools, snapshots, VDO pools."""

_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Image:
    """Sizes in bytes; `taken` is None for a device that may take less of the host than its size: a thin volume, a
    snapshot, a zvol, a RADOS block device, a loop."""

    size: int
    taken: int | None
    device: bool


def look(path: str, sysfs: str, *, lstat: Callable[[str], os.stat_result] = os.lstat) -> Image | None:
    """What is at that path; None where it can't be seen or is no file and no block device."""
    try:
        status = lstat(path)
    except (OSError, ValueError):
        return _by_name(path, sysfs) if path.startswith("/dev/") else None
    if stat.S_ISREG(status.st_mode):
        return Image(status.st_size, status.st_blocks * _SECTOR, device=False)
    if not stat.S_ISBLK(status.st_mode):
        return None
    number = os.major(status.st_rdev), os.minor(status.st_rdev)
    sectors = _line(f"{sysfs}/dev/block/{number[0]}:{number[1]}/size")
    return _device(sysfs, blockdev.by_number(sysfs, *number), sectors)


def _by_name(path: str, sysfs: str) -> Image | None:
    """The device of a node that can't be seen, in a container or a service that has a /dev of its own."""
    whole = blockdev.by_path(sysfs, path)
    node = path.removeprefix("/dev/").replace("/", "!")
    sectors = _line(f"{sysfs}/class/block/{node}/size") or _line(f"{sysfs}/class/block/{whole}/size")
    return _device(sysfs, whole, sectors)


def _device(sysfs: str, whole: str | None, sectors: str | None) -> Image | None:
    if whole is None or sectors is None or not sectors.isdecimal():
        return None
    size = int(sectors) * _SECTOR
    return Image(size, size if _is_thick(sysfs, whole) else None, device=True)


def _is_thick(sysfs: str, name: str, depth: int = 0) -> bool:
    """Whether all of a whole device's size is set aside for it: so for disks, and what consists of nothing else."""
    kind = describe(sysfs, name)[1]
    if kind == "disk":
        return True
    if kind not in ("lvm", "multipath", "dm", "md") or depth > _DEEPEST:
        return False
    uuid = _line(f"{sysfs}/block/{name}/dm/uuid") or ""
    if kind != "md" and (not uuid.startswith(_MAPPED) or uuid.endswith(_SHARED)):
        return False
    try:
        below = [blockdev.by_name(sysfs, part) for part in os.listdir(f"{sysfs}/block/{name}/slaves")]
    except OSError:
        return False
    return bool(below) and all(part is not None and _is_thick(sysfs, part, depth + 1) for part in below)


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode(errors="replace").strip()
    except OSError:
        return None
