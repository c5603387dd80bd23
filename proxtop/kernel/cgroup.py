"""Which cgroup a VM is, from /proc/PID/cgroup (cgroups(7)), and where its files are, from /proc/1/mountinfo.

Three layouts are met: v2 alone (/sys/fs/cgroup), v1 alone, and hybrid: controllers in v1 hierarchies, and a v2 one
(/sys/fs/cgroup/unified) that has pressure files only. systemd gives a process the same path in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LEAF = re.compile(r"emulator|vcpu\d+|iothread\d+")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy: `point` is where it is mounted, `root` which of its cgroups is seen there."""

    point: str
    root: str

    def path(self, cgroup: str) -> str | None:
        """The directory of a cgroup; None when it is not below what is mounted."""
        if self.root == "/":
            return self.point + cgroup
        if cgroup == self.root or cgroup.startswith(self.root + "/"):
            return self.point + cgroup[len(self.root) :]
        return None


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The two that count: v1's with the CPU controller, and v2's."""

    cpu: Hierarchy | None = None
    unified: Hierarchy | None = None

    def cpu_stats(self, cgroup: str, vcpus: Iterable[int]) -> Iterator[str]:
        """Every cpu.stat that tells of a limit of this VM, whether there or not: its own, and those below in which
        libvirt sets limits of single vCPUs. Each counts its own limit only, so that they add up."""
        hierarchy = self.cpu or self.unified
        path = hierarchy.path(cgroup) if hierarchy is not None else None
        if path is not None:
            yield f"{path}/cpu.stat"
            yield f"{path}/libvirt/cpu.stat"
            for number in vcpus:
                yield f"{path}/libvirt/vcpu{number}/cpu.stat"
                yield f"{path}/vcpu{number}/cpu.stat"

    def pressure(self, cgroup: str, resource: str) -> str | None:
        """The cgroup's pressure file of cpu, io, memory or irq; v1 has none."""
        path = self.unified.path(cgroup) if self.unified is not None else None
        return None if path is None else f"{path}/{resource}.pressure"


def vm_cgroup(text: bytes) -> str | None:
    """The cgroup of the VM, out of its process' /proc/PID/cgroup: the v2 path, or v1's of the CPU controller where v2
    has the process at its root. libvirt's leaves (libvirt/emulator, vcpuN) are stripped. None at the root, and for one
    outside the cgroup namespace of the reader or deleted already."""
    unified = controller = None
    for line in text.splitlines():
        number, _, rest = line.partition(b":")
        names, colon, path = rest.partition(b":")
        if not colon:
            continue
        if number == b"0" and not names:
            unified = _vm_path(path)
        elif b"cpu" in names.split(b","):
            controller = _vm_path(path)
    return unified or controller


def _vm_path(raw: bytes) -> str | None:
    try:
        parts = raw.decode().strip("/").split("/")
    except UnicodeDecodeError:
        return None
    if _LEAF.fullmatch(parts[-1]):
        parts.pop()
    if parts and parts[-1] == "libvirt":
        parts.pop()
    if not parts or parts == [""] or ".." in parts or parts[-1].endswith(" (deleted)"):
        return None
    return "/" + "/".join(parts)


def parse_mountinfo(text: bytes, sysfs: str | None) -> Hierarchies:
    """The hierarchies that are mounted below /sys, which is seen at `sysfs`; none when that is None."""
    cpu = unified = None
    for line in text.splitlines() if sysfs is not None else ():
        head, dash, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        if not dash or len(fields) < 5 or len(rest) < 3:
            continue
        point = _unescaped(fields[4])
        if not point.startswith("/sys/"):
            continue
        hierarchy = Hierarchy(f"{sysfs}{point.removeprefix('/sys')}", _unescaped(fields[3]))
        if rest[0] == b"cgroup2":
            unified = unified or hierarchy
        elif rest[0] == b"cgroup" and b"cpu" in rest[2].split(b","):
            cpu = cpu or hierarchy
    return Hierarchies(cpu, unified)


def _unescaped(field: bytes) -> str:
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field).decode(errors="replace")
