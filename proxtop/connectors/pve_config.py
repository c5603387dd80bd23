"""A VM's configuration in Proxmox VE: etc/pve/qemu-server/VMID.conf (qm.conf(5)), only up to its first section."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_KEY = re.compile(r"([a-z][a-z_0-9-]{0,63}):\s*(.*)")
_DISK = re.compile(r"(?:scsi|virtio|ide|sata)\d{1,3}|efidisk0|tpmstate0")
_NET = re.compile(r"net(\d{1,3})")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_MOST = 1 << 40
_DEFAULT_MB = 512


@dataclass(frozen=True, slots=True)
class PveConfig:
    """What of it is of use here. `disks` maps scsi0, virtio1, … to the volume as written; CD-ROMs are none. `nets` maps
    the NIC's number to its hardware address. `lock` is the operation that has the VM now (backup, migrate, …)."""

    name: str | None = None
    uuid: str | None = None
    cores: int = 1
    memory_kb: int = _DEFAULT_MB << 10
    disks: dict[str, str] = field(default_factory=dict)
    nets: dict[int, str | None] = field(default_factory=dict)
    lock: str | None = None


def parse_config(text: bytes) -> PveConfig:
    """Of any bytes: lines that are no `key: value` are passed over; `[…]` begins pending changes and snapshots."""
    values: dict[str, str] = {}
    for line in text.decode(errors="replace").split("\n"):
        if line.startswith("["):
            break
        match = _KEY.fullmatch(line.rstrip("\r "))
        if match is not None:
            values[match[1]] = match[2]
    disks: dict[str, str] = {}
    nets: dict[int, str | None] = {}
    for key, value in values.items():
        volume, options = _options(value)
        if _DISK.fullmatch(key):
            volume = volume or options.get("file", options.get("volume", ""))
            if volume not in ("", "none", "cdrom") and options.get("media") != "cdrom" and key != "tpmstate0":
                disks[key] = volume
        elif match := _NET.fullmatch(key):
            nets[int(match[1])] = next((text for text in (*options.values(), volume) if _MAC.fullmatch(text)), None)
    sockets, cores = _number(values.get("sockets"), 1), _number(values.get("cores"), 1)
    memory = values.get("memory", "")
    return PveConfig(
        name=values.get("name") or None,
        uuid=_options(values.get("smbios1", ""))[1].get("uuid"),
        cores=_number(values.get("vcpus"), sockets * cores),
        memory_kb=_number(_options(memory)[1].get("current", memory), _DEFAULT_MB) << 10,
        disks=disks,
        nets=nets,
        lock=values.get("lock") or None,
    )


def _options(value: str) -> tuple[str, dict[str, str]]:
    """`volume,key=value,…`: the bare first part, then the others."""
    options: dict[str, str] = {}
    first = ""
    for number, part in enumerate(value.split(",")):
        key, equals, text = part.partition("=")
        if equals:
            options[key.strip()] = text.strip()
        elif number == 0:
            first = key.strip()
    return first, options


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 13 and 0 < int(text) < _MOST else default
