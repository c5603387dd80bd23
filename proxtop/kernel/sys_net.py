"""What a network interface is, from /sys/class/net/IF (kernel: Documentation/ABI/testing/sysfs-class-net)."""

from __future__ import annotations

import os

_LOOPBACK = "772"  # ARPHRD_LOOPBACK
_ETHERNET = "1"  # ARPHRD_ETHER
_LINKED = frozenset({"physical", "bridge", "bond", "vlan"})
_DIRECTORIES = (("bridge", "bridge"), ("bonding", "bond"), ("tun_flags", "tap"), ("device", "physical"))
_VETH_NAMES = ("veth", "fwpr", "fwln")


def describe(sysfs: str | None, name: str) -> str | None:
    """physical, bridge, bond, vlan, tap, veth, loopback or virtual; None for one that /sys does not show."""
    root = f"{sysfs}/class/net/{name}"
    if sysfs is None or not os.access(root, os.F_OK):
        return None
    for entry, kind in _DIRECTORIES:
        if os.access(f"{root}/{entry}", os.F_OK):
            return kind
    number = _line(f"{root}/type")
    if number == _LOOPBACK:
        return "loopback"
    device = _devtype(root)
    if device is not None:
        return "vlan" if device == "vlan" else "virtual"
    # of both ends of a veth, each has the other as its link; nothing else that is Ethernet and has no DEVTYPE does
    linked = _line(f"{root}/iflink") not in (None, "0", _line(f"{root}/ifindex"))
    return "veth" if number == _ETHERNET and (linked or name.startswith(_VETH_NAMES)) else "virtual"


def link_speed(sysfs: str | None, name: str, kind: str | None) -> int | None:
    """Mbit/s; None where it is not known (-1, EINVAL of a link that is down) or made up, as a tap's."""
    if sysfs is None or kind not in _LINKED:
        return None
    try:
        speed = int(_line(f"{sysfs}/class/net/{name}/speed") or -1)
    except ValueError:
        return None
    return speed if 0 < speed < 0xFFFFFFFF else None


def _devtype(root: str) -> str | None:
    for line in (_line(f"{root}/uevent") or "").splitlines():
        if line.startswith("DEVTYPE="):
            return line.removeprefix("DEVTYPE=")
    return None


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode(errors="replace").strip() or None
    except OSError:
        return None
