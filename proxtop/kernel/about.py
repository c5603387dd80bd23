"""What the reader must know of its own process: its limit of descriptors, its mounts, and which host a procfs is of."""

from __future__ import annotations

import os
import resource
import sys

LASTING = frozenset({"proc", "sysfs", "cgroup", "cgroup2"})
"""File systems whose files say what is, however long ago they were opened."""


def raise_limit() -> int:
    """How many descriptors this process may have: raises the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def lasting_devices() -> frozenset[int]:
    """st_dev of every mounted file system whose files may be kept; none where this process can't see its mounts."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return frozenset()
    devices = set()
    for line in lines:
        head, _, tail = line.partition(b" - ")
        if tail.partition(b" ")[0].decode(errors="replace") in LASTING:
            major, _, minor = head.split()[2].partition(b":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def boot_id(procfs: str) -> bytes | None:
    """Which boot of which machine this procfs tells of."""
    try:
        with open(f"{procfs}/sys/kernel/random/boot_id", "rb") as file:
            return file.read()
    except OSError:
        return None


def own_pid(procfs: str) -> int | None:
    """This process' PID in the PID namespace of that procfs; None where it is not in it."""
    try:
        return int(os.path.basename(os.readlink(f"{procfs}/self")))
    except (OSError, ValueError):
        return None
