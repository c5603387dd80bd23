"""Which file system holds a path, from /proc/PID/mountinfo (kernel: Documentation/filesystems/proc.rst, 3.5)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

NETWORK = frozenset({"9p", "afs", "autofs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
                     "orangefs", "smb3", "smbfs", "virtiofs"})  # fmt: skip
"""File systems whose data lie elsewhere, beside all that FUSE serves but fuseblk: a call on one may never return."""

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line: `point` is where it is mounted as the process sees it, `device` its (major, minor), `source` and
    `options` what the file system says of itself (its super options)."""

    id: int
    parent: int
    device: tuple[int, int]
    point: str
    fstype: str
    source: str
    options: str

    @property
    def network(self) -> bool:
        """Whether it may block for as long as another machine or a daemon does not answer."""
        return self.fstype in NETWORK or self.fstype == "fuse" or self.fstype.startswith("fuse.")

    def option(self, name: str) -> str | None:
        """The value of a super option NAME=VALUE."""
        for option in self.options.split(","):
            key, equals, value = option.partition("=")
            if key == name and equals:
                return value
        return None


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field))


def parse_mountinfo(text: bytes) -> tuple[Mount, ...]:
    """The mounts in the kernel's order; lines that are not understood are left out."""
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        try:
            number, parent = int(fields[0]), int(fields[1])
            major, minor = map(int, fields[2].split(b":"))
            point, fstype, source = _text(fields[4]), _text(rest[0]), _text(rest[1])
        except (IndexError, ValueError):
            continue
        mounts.append(Mount(number, parent, (major, minor), point, fstype, source, _text(b" ".join(rest[2:]))))
    return tuple(mounts)


def _below(path: str, point: str) -> bool:
    return path == point or point == "/" or path.startswith(point + "/")


def holding(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount that a walk to the absolute path without symlinks and `..` ends on; None when no line says.

    The walk goes from mount to child mount, so that what a later mount covers is not found.
    """
    ids = {mount.id for mount in mounts}
    here = next((mount for mount in mounts if mount.point == "/" and mount.parent not in ids - {mount.id}), None)
    if here is None:
        found = [mount for mount in mounts if _below(path, mount.point)]
        return max(reversed(found), key=lambda mount: len(mount.point), default=None)
    seen = {here.id}
    while True:
        children = [m for m in mounts if m.parent == here.id and m.id not in seen and _below(path, m.point)]
        if not children:
            return here
        here = min(reversed(children), key=lambda mount: len(mount.point))
        seen.add(here.id)
