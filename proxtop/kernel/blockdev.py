"""The kernel's names of block devices, from /sys/dev/block, /sys/class/block and /sys/bus/rbd
(kernel: Documentation/ABI/stable/sysfs-block, testing/sysfs-block-dm, testing/sysfs-bus-rbd)."""

from __future__ import annotations

import os
from collections.abc import Iterator


def by_number(sysfs: str, major: int, minor: int) -> str | None:
    """The whole device with that number, as /proc/diskstats names it: a partition's disk, a mapped device itself."""
    return _whole(f"{sysfs}/dev/block/{major}:{minor}")


def by_name(sysfs: str, name: str) -> str | None:
    """The same by the name of its node in /dev, `cciss/c0d0` included."""
    name = name.replace("/", "!")
    return None if name in ("", ".", "..") else _whole(f"{sysfs}/class/block/{name}")


def by_mapped_name(sysfs: str, name: str) -> str | None:
    """The device-mapper device of that name, as in /dev/mapper."""
    for device in _entries(f"{sysfs}/block"):
        if device.startswith("dm-") and _line(f"{sysfs}/block/{device}/dm/name") == name:
            return device
    return None


def by_rbd_image(sysfs: str, pool: str, namespace: str, image: str) -> str | None:
    """The kernel's RADOS block device with that image."""
    for number in _entries(f"{sysfs}/bus/rbd/devices"):
        path = f"{sysfs}/bus/rbd/devices/{number}"
        is_snapshot = _line(f"{path}/current_snap") not in (None, "-")
        mapped = (_line(f"{path}/pool"), _line(f"{path}/pool_ns") or "", _line(f"{path}/name"))
        if mapped == (pool, namespace, image) and not is_snapshot:
            return f"rbd{number}"
    return None


def by_path(sysfs: str, path: str) -> str | None:
    """The device of a path below /dev by what the path says, for one who can't see the node itself."""
    match path.split("/")[2:]:
        case ["mapper", name]:
            return by_mapped_name(sysfs, name)
        case ["rbd", pool, image]:
            return by_rbd_image(sysfs, pool, "", image)
        case ["rbd", pool, namespace, image]:
            return by_rbd_image(sysfs, pool, namespace, image)
        case ["rbd-pve", _fsid, pool, image]:
            return by_rbd_image(sysfs, pool, "", image)
        case ["rbd-pve", _fsid, pool, namespace, image]:
            return by_rbd_image(sysfs, pool, namespace, image)
        case [name]:
            return by_name(sysfs, name)
        case [group, volume] if (device := by_mapped_name(sysfs, mapped_name(group, volume))) is not None:
            return device
        case parts:
            return by_name(sysfs, "/".join(parts))


def mapped_name(group: str, volume: str) -> str:
    """LVM's device-mapper name of a logical volume."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def btrfs_devices(sysfs: str, name: str) -> tuple[str, ...]:
    """All the block devices (partitions too) of the btrfs that the device or partition of that name is part of."""
    for fsid in _entries(f"{sysfs}/fs/btrfs"):
        devices = tuple(_entries(f"{sysfs}/fs/btrfs/{fsid}/devices"))
        if name in devices:
            return devices
    return ()


def _whole(link: str) -> str | None:
    try:
        target = os.readlink(link)
    except OSError:
        return None
    disk, _, name = target.rpartition("/")
    if os.path.exists(f"{link}/partition"):
        name = disk.rpartition("/")[2]
    return name.replace("!", "/") or None


def _entries(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            yield from sorted(entry.name for entry in entries)
    except OSError:
        return


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(4096).strip())
    except OSError:
        return None
