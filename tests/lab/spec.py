"""What a guest is to be, and the numbers its load makes."""

from __future__ import annotations

import dataclasses
import uuid

MIN_MEMORY_MIB = 80
"""The kernel does not boot reliably below (it panics at 72 with two vCPUs)."""

MIN_BALLOON_MIB = 72
"""With less than this left, the guest kills its own processes."""

KIB = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """One guest. Loads are comma-joined lists; rates are bytes a second.

    load: `idle`, `busy:N` (N vCPUs never asleep, from vCPU 0 on), `duty:ON_S:OFF_S` (vCPU 0)
    disk_load: `write:RATE`, `read:RATE` (O_DIRECT, blocks of 64 KiB)
    net_load: `send:RATE` (UDP in frames of 1000 bytes, as the tap counts them), `send:RATE:ADDRESS`
    """

    name: str
    vcpus: int = 2
    memory_mib: int = MIN_MEMORY_MIB
    bootable: bool = True
    """False: halted at once, fine with 2 MiB, without load, balloon statistics or `run`: for very many."""
    balloon_mib: int | None = None
    """What the balloon leaves the guest, set as soon as it is up."""
    load: str = "idle"
    disk_load: str = ""
    net_load: str = ""
    disk_mib: int = 16
    """0: no disk."""
    disk_bus: str = "virtio"
    """`virtio` or `scsi`."""
    nic: bool = True
    tap: str = ""
    """Chosen by the layout when empty (libvirt: vnetN, Proxmox: tapVMIDi0, bare: plabN)."""
    iothread: bool = False
    daemonize: bool = False
    """Bare only; a Proxmox guest always is."""
    qmp: bool = False
    """A QMP socket on a bare guest's command line; a Proxmox guest always has one, libvirt's own is left alone."""
    vmid: int = 0
    """Proxmox only: chosen from 101 on when 0."""
    conf: str = ""
    """Proxmox only: more lines for the top of its configuration."""
    arguments: tuple[str, ...] = ()
    """More of QEMU's arguments (bare and Proxmox)."""
    uuid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))

    def kernel_arguments(self) -> str:
        """The load as guest/init reads it."""
        loads = {"load": self.load, "disk": self.disk_load, "net": self.net_load}
        return " ".join(f"lab.{key}={value}" for key, value in loads.items() if value)

    def expected(self) -> str:
        """The rates to see from outside, for a person to read."""
        words = []
        for load in ",".join((self.load, self.disk_load, self.net_load)).split(","):
            kind, *values = load.split(":")
            if kind == "busy":
                share = 100 * int(values[0]) / self.vcpus
                words.append(
                    f"{values[0]} of {self.vcpus} vCPUs busy (cpu_total {share:.0f}, when the host has the time)"
                )
            elif kind == "duty":
                words.append(f"vCPU 0 busy for {values[0]} s, then idle for {values[1]} s")
            elif kind in ("write", "read"):
                words.append(
                    f"disk {kind}s {int(values[0]) / KIB / KIB:.3f} MiB/s, {int(values[0]) / KIB / 64:.1f}/s of 64 KiB"
                )
            elif kind == "send":
                words.append(f"network transmit {int(values[0])} bytes/s, {int(values[0]) / 1000:.0f} packets/s")
        return "; ".join(words) or "idle"
