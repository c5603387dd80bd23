"""A domain's configuration from libvirt's XML (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from proxtop.model import DiskConfig, NicConfig

_KB = {
    "b": 1 / 1024, "bytes": 1 / 1024,
    "kb": 1000 / 1024, "k": 1, "kib": 1,
    "mb": 1000**2 / 1024, "m": 1 << 10, "mib": 1 << 10,
    "gb": 1000**3 / 1024, "g": 1 << 20, "gib": 1 << 20,
    "tb": 1000**4 / 1024, "t": 1 << 30, "tib": 1 << 30,
}  # fmt: skip
_DISKS = ("disk", "lun")
_MOST = 1 << 50


class XmlError(Exception):
    """What should be a domain's XML and is not."""


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """What of it is of use here. `period` is how often the guest is asked for its memory figures, 0: never."""

    cores: int | None
    memory_kb: int | None
    disks: tuple[DiskConfig, ...]
    nics: tuple[NicConfig, ...]
    period: int = 0


def parse_domain(text: str) -> DomainConfig:
    """Of XMLDesc's text; XmlError when it is none."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise XmlError(f"libvirt's XML of a domain can't be read: {error}") from None
    vcpu = root.find("vcpu")
    maximum = None if vcpu is None else _number(vcpu.text)
    current = None if vcpu is None else _number(vcpu.get("current"))
    period = root.find("devices/memballoon/stats")
    return DomainConfig(
        cores=current or maximum,
        memory_kb=_memory_kb(root.find("memory")),
        disks=tuple(disk for node in root.iterfind("devices/disk") if (disk := _disk(node)) is not None),
        nics=tuple(nic for node in root.iterfind("devices/interface") if (nic := _nic(node)) is not None),
        period=(_number(period.get("period")) or 0) if period is not None else 0,
    )


def _disk(node: ElementTree.Element) -> DiskConfig | None:
    """A disk; None for a CD-ROM or a floppy."""
    target = node.find("target")
    name = None if target is None else target.get("dev")
    if not name or node.get("device", "disk") not in _DISKS:
        return None
    source = node.find("source")
    return DiskConfig(name, None if source is None else _source(source))


def _source(source: ElementTree.Element) -> str | None:
    """The file, device, volume or network name behind a disk."""
    for key in ("file", "dev", "path"):
        if value := source.get(key):
            return value
    if volume := source.get("volume"):
        return f"{source.get('pool', '')}/{volume}"
    if name := source.get("name"):
        protocol = source.get("protocol")
        return f"{protocol}:{name}" if protocol else name
    return None


def _nic(node: ElementTree.Element) -> NicConfig | None:
    """A NIC with an interface on the host; None for one that is passed through or handled inside QEMU."""
    kind = node.get("type")
    target = node.find("target")
    name = None if target is None else target.get("dev")
    if kind in ("hostdev", "vdpa", "vhostuser", "user") or not name:
        return None
    mac = node.find("mac")
    return NicConfig(name, None if mac is None else mac.get("address"), kind != "direct")


def _memory_kb(node: ElementTree.Element | None) -> int | None:
    number = None if node is None else _number(node.text)
    if node is None or number is None:
        return None
    factor = _KB.get(node.get("unit", "KiB").lower())
    return None if factor is None else int(number * factor)


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and int(text) < _MOST else None
