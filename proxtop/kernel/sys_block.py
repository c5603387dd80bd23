"""What a block device is, from /sys/block and /sys/class/block (kernel: Documentation/ABI/stable/sysfs-block,
testing/sysfs-block-dm) and, where there is no /sys of its host, from its name alone."""

from __future__ import annotations

import os
import re
from collections.abc import Container

_DISK = re.compile(r"(sd|hd|vd|xvd|dasd)[a-z]+|nvme\d+n\d+|(mmcblk|pmem)\d+")
_PREFIXES = (("dm-", "dm"), ("md", "md"), ("loop", "loop"), ("zd", "zvol"), ("rbd", "rbd"))
_PARTITION = re.compile(r"(.*\d)p\d+|(.*\D)\d+")


def is_partition(sysfs: str | None, name: str, devices: Container[str]) -> bool:
    """Whether the device is a part of another one, of those in the same table."""
    if sysfs is not None and os.access(f"{sysfs}/class/block/{_file(name)}", os.F_OK):
        return os.access(f"{sysfs}/class/block/{_file(name)}/partition", os.F_OK)
    match = _PARTITION.fullmatch(name)
    return match is not None and (match[1] or match[2]) in devices


def describe(sysfs: str | None, name: str) -> tuple[str, str]:
    """(friendly name, type): disk, lvm, multipath, dm, md, loop, zvol, rbd or other."""
    if name.startswith("dm-"):
        return _mapped(sysfs, name)
    if _DISK.fullmatch(name):
        return name, "disk"
    for prefix, kind in _PREFIXES:
        if name.startswith(prefix):
            return name, kind
    return name, "other"


def _mapped(sysfs: str | None, name: str) -> tuple[str, str]:
    root = f"{sysfs}/block/{name}/dm"
    friendly = _line(f"{root}/name") if sysfs is not None else None
    uuid = (_line(f"{root}/uuid") if sysfs is not None else None) or ""
    if friendly is None:
        return name, "dm"
    if uuid.startswith("LVM-"):
        return volume_name(friendly), "lvm"
    return friendly, "multipath" if uuid.startswith("mpath-") else "dm"


def volume_name(mapped: str) -> str:
    """VG/LV of a device-mapper name: LVM joins the two by one hyphen and doubles those within them."""
    group, _, volume = mapped.replace("--", "\0").partition("-")
    return (f"{group}/{volume}" if volume else group).replace("\0", "-")


def _file(name: str) -> str:
    return name.replace("/", "!")


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode(errors="replace").strip() or None
    except OSError:
        return None
