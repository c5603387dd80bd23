"""Which of libvirt's cgroups a VM's threads are in, for a QEMU that does not name them (libvirt: docs/cgroups.rst)."""

from __future__ import annotations

import os
import re

from proxtop.kernel.cgroup import parse_mountinfo
from proxtop.kernel.files import Files
from proxtop.lookup.process import once

_PLACE = re.compile(r"(vcpu|iothread)\d+")


def places(files: Files, cgroup: str | None) -> dict[int, str]:
    """vcpuN or iothreadN by thread id; empty where there are no such cgroups or none is readable."""
    if cgroup is None:
        return {}
    mounted = parse_mountinfo(once(files, f"{files.procfs}/1/mountinfo") or b"", files.sysfs)
    for hierarchy in (mounted.unified, mounted.cpu):
        path = None if hierarchy is None else hierarchy.path(cgroup)
        for level in ("/libvirt", ""):  # this level is there since libvirt 7.1
            found = {} if path is None else _below(files, path + level)
            if found:
                return found
    return {}


def _below(files: Files, root: str) -> dict[int, str]:
    try:
        with os.scandir(root) as entries:
            children = sorted(entry.name for entry in entries if _PLACE.fullmatch(entry.name))
    except OSError:
        return {}
    found: dict[int, str] = {}
    for child in children:
        text = once(files, f"{root}/{child}/cgroup.threads") or once(files, f"{root}/{child}/tasks") or b""
        found |= {int(tid): child for tid in text.split() if tid.isdigit()}
    return found
