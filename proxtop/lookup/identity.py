"""Which VM a process is, by the exact options of its command line; never by a part of one."""

from __future__ import annotations

from dataclasses import dataclass

from proxtop.kernel.cmdline import IDENTITY, parse_cmdline
from proxtop.model import Domain


@dataclass(frozen=True, slots=True)
class Identity:
    """What a QEMU's command line says: `-uuid` or `-smbios type=1,uuid=`, `-name`, Proxmox's `-id`."""

    uuid: str | None = None
    name: str | None = None
    vmid: int | None = None


def parse_identity(cmdline: bytes, *, told: bool = False) -> Identity | None:
    """From /proc/PID/cmdline; None for what is no QEMU that runs a VM: a shell, sudo or debugger with a QEMU's options,
    a QEMU that is only asked what it can do, a kernel thread, an ended process.

    A program by any other name is taken for a QEMU where a connector told its PID.
    """
    program, _, arguments = cmdline.partition(b"\0")
    line = parse_cmdline(b"qemu\0" + arguments if told and program else cmdline, IDENTITY)
    return None if line is None or line.machine == "none" else Identity(line.uuid, line.name, line.vmid)


def is_same(domain: Domain, identity: Identity, *, told: bool = False) -> bool:
    """Whether that process runs that VM: by Proxmox's number where both have one, else by UUID, else by name. Where
    nothing names it, it is the VM whose connector told its PID."""
    if domain.vmid is not None and identity.vmid is not None:
        return domain.vmid == identity.vmid
    if identity.uuid is not None:
        return identity.uuid.lower() == domain.uuid.lower()
    if identity.name is not None:
        return identity.name == domain.name
    return told
