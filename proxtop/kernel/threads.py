"""What a thread of QEMU does, by its name in /proc/PID/task/TID/comm (QEMU: accel/*/…-accel-ops.c, iothread.c,
util/thread-pool.c; kernel: drivers/vhost/vhost.c, io_uring, arch/x86/kvm), and where it may run, by its status.

QEMU names its threads with `-name debug-threads=on`, which libvirt and Proxmox set, and always from QEMU 11 on.
Without, they all bear the name of the process. Roles, in libvirt's sense: `iothread` is an IOThread object's; `worker`
serves disk requests or KVM's upkeep out of a pool (QEMU's `worker`, io_uring's `iou-…`, `kvm-nx-lpage-…`); `vhost` is a
kernel worker of virtio queues; `emulator` is all the rest: main loop, RCU, migration, VNC, SPICE, libraries' threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ALL_VCPUS = b"ALL CPUs/TCG"
"""The one thread that runs all vCPUs in turn (`-accel tcg,thread=single`)."""

_VCPU = re.compile(rb"CPU (\d{1,6})/[A-Z]+")
_OWNER = re.compile(rb"(vhost-|kvm-pit/|kvm-nx-lpage-recovery-)(\d{1,10})")
_WORKERS = (b"worker", b"iou-", b"kvm-")


def parse_vcpu(comm: bytes) -> int | None:
    """The number of the vCPU that this thread runs (`CPU 3/KVM`), None for any other thread."""
    match = _VCPU.fullmatch(comm)
    return None if match is None else int(match[1])


def named_role(comm: bytes) -> str | None:
    """The role that the name alone tells, None for one that does not: emulator, or a process without names."""
    if comm.startswith(b"IO "):
        return "iothread"
    if comm.startswith(b"vhost-"):
        return "vhost"
    return "worker" if comm.startswith(_WORKERS) else None


def parse_owner(comm: bytes) -> tuple[int, str] | None:
    """(PID, role) of the process that this kernel thread works for, where its name tells: before Linux 6.4 a vhost
    worker was no thread of QEMU's but a kernel thread named `vhost-PID`."""
    match = _OWNER.fullmatch(comm)
    return None if match is None else (int(match[2]), "vhost" if match[1] == b"vhost-" else "worker")


def parse_allowed(status: bytes) -> str | None:
    """The CPUs that a thread may run on, `0-3,8`: Cpus_allowed_list of /proc/PID/task/TID/status."""
    _, key, rest = status.partition(b"\nCpus_allowed_list:")
    return rest.partition(b"\n")[0].strip().decode("ascii", "replace") if key else None


def parse_cpus(text: str) -> set[int]:
    """The CPUs of a list, `0-3,8` (kernel: Documentation/core-api/printk-formats.rst, %*pbl)."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def format_cpus(cpus: Iterable[int]) -> str:
    """The same the other way round."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)
