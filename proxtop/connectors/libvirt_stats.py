"""Rows from libvirt's bulk statistics (virConnectGetAllDomainStats): a key that is missing is unknown.

Of a running QEMU's disk `allocation` is the highest offset written since its start, and `physical` what QEMU calls
the image's actual size, the space that it takes. Where QEMU does not tell that or tells 0, libvirt puts the size of the
image there (src/qemu: qemuMonitorJSONBlockStatsUpdateCapacityData, qemuDomainGetStatsOneBlock).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from proxtop.connectors.balloon import whole
from proxtop.model import Value

Record = Mapping[str, object]

_BLOCK = (
    "rd.reqs", "rd.bytes", "rd.times", "wr.reqs", "wr.bytes", "wr.times", "fl.reqs", "fl.times", "capacity",
)  # fmt: skip
_NET = ("bytes", "pkts", "errs", "drop")
_MOST = 4096
_SECTOR = 512


def has_block(record: Record) -> bool:
    """Whether QEMU was asked: a VM whose job somebody else holds comes with the names of its disks alone."""
    return any(key.endswith(".reqs") and key.startswith("block.") for key in record)


def has_balloon(record: Record) -> bool:
    """The same of the balloon: what libvirt knows by itself is there always."""
    return "balloon.rss" in record or "balloon.last-update" in record


def block_rows(record: Record, disks: Collection[str]) -> dict[str, tuple[Value, ...]]:
    """By disk name, columns as base.BLOCK; a medium that is no disk of these is left out."""
    rows: dict[str, tuple[Value, ...]] = {}
    for number in range(_count(record, "block.count")):
        keys = _keys(number)
        name = record.get(keys.name)
        if isinstance(name, str) and name in disks and name not in rows:
            values = tuple([whole(record.get(key)) for key in keys.counters])
            rows[name] = *values, *_sizes(values[-1], whole(record.get(keys.physical)), record.get(keys.path))
    return rows


class _Keys(NamedTuple):
    """What libvirt calls the figures of a disk."""

    name: str
    path: str
    physical: str
    counters: tuple[str, ...]


@lru_cache(maxsize=256)
def _keys(number: int) -> _Keys:
    disk = f"block.{number}"
    return _Keys(f"{disk}.name", f"{disk}.path", f"{disk}.physical", tuple(f"{disk}.{key}" for key in _BLOCK))


def _sizes(capacity: Value, physical: int | None, path: object) -> tuple[Value, Value]:
    """(allocation, physical): what the image takes, and how large a device is; None where the figure may be another."""
    if isinstance(path, str) and path.startswith("/dev/") and not path.startswith("/dev/shm/"):
        return None, physical
    is_own_size = physical == capacity or (physical is not None and physical % _SECTOR)
    return None if is_own_size else physical, None


def balloon_row(record: Record, fresh: bool) -> tuple[Value, ...]:
    """As base.BALLOON; the guest's own figures only where they are fresh."""
    guest = [whole(record.get(f"balloon.{key}")) for key in ("available", "unused", "usable", "swap_in", "swap_out")]
    return whole(record.get("balloon.current")), *(guest if fresh else [None] * len(guest))


def vcpu_rows(record: Record) -> dict[str, tuple[Value, ...]]:
    """By vCPU number, as base.VCPU: libvirt does not tell the CPU that one ran on."""
    rows: dict[str, tuple[Value, ...]] = {}
    for number in range(_count(record, "vcpu.maximum")):
        run_ns = whole(record.get(f"vcpu.{number}.time"))
        if run_ns is not None:
            rows[str(number)] = run_ns, whole(record.get(f"vcpu.{number}.delay")), None
    return rows


def interface_rows(record: Record) -> dict[str, tuple[Value, ...]]:
    """By the host's interface name, as base.INTERFACE, in the VM's direction."""
    rows: dict[str, tuple[Value, ...]] = {}
    for number in range(_count(record, "net.count")):
        name = record.get(f"net.{number}.name")
        if isinstance(name, str):
            received = (whole(record.get(f"net.{number}.rx.{key}")) for key in _NET)
            sent = (whole(record.get(f"net.{number}.tx.{key}")) for key in _NET)
            rows[name] = (*received, *(None,) * 4, *sent, *(None,) * 4)
    return rows


def _count(record: Record, key: str) -> int:
    return min(whole(record.get(key)) or 0, _MOST)
