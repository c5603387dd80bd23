"""Bare QEMU processes: found in /proc, each known by its own command line.

A VM is its `-uuid` (or the one in -smbios type=1). Without one it gets a UUID made of its name, pid file, disks and
monitors, so that two VMs of one name differ and a VM keeps its UUID over a restart; where all of that is the same too,
or there is none of it, of its PID and start time. A QMP socket on its command line is somebody else's and left alone:
so there are no block and no balloon statistics.
"""

from __future__ import annotations

import time

from proxtop.connectors.base import Settings
from proxtop.connectors.processes import Processes, Qemu
from proxtop.connectors.waiting import readable
from proxtop.kernel.cmdline import CommandLine
from proxtop.kernel.files import Files
from proxtop.model import DiskConfig, Domain, Domains, NicConfig, Statistics

_NAMESPACE = "88ae21e7-78aa-55b7-ba0f-6fc48242b706"
"""The UUIDv5 of qemu.proxtop in the DNS name space."""
_UNKNOWN_NICS = "NICs: its command line names no tap"
_HOST_NETS = frozenset(("tap", "bridge"))


class QemuConnector:
    """Every QEMU of the host, whoever started it."""

    name = "qemu"

    def __init__(self, settings: Settings) -> None:
        self._processes = Processes(Files(settings.procfs, settings.sysfs), time.monotonic)
        self._uuids: dict[tuple[int, int], str] = {}
        self._domains: Domains | None = None

    def open(self) -> None:
        """Nothing to open: a host without a QEMU has no VMs, which is no error."""

    def discover(self) -> Domains:
        """All VMs by command line; new processes alone are read."""
        changed = self._processes.scan()
        if self._domains is None or changed or self._processes.reason != self._domains.reason:
            domains, reason = self._read()
            self._domains = Domains(self.name, domains, self._processes.reason or reason)
        return self._domains

    def statistics(self, *, prime: bool = False) -> list[Statistics]:
        """None: nothing here may be asked."""
        return []

    def wait(self, timeout: float, wake: int) -> bool:
        """No event tells of a new process: the scan before each cycle finds it."""
        readable(wake, timeout)
        return False

    def close(self) -> None:
        """Closes what is held of /proc."""
        self._processes.close()

    def _read(self) -> tuple[tuple[Domain, ...], str | None]:
        found = sorted(self._processes.found.values(), key=lambda qemu: (qemu.start, qemu.pid))
        self._uuids = {key: value for qemu in found if (value := self._uuids.get(key := (qemu.pid, qemu.start)))}
        taken: dict[str, int] = {}
        domains: list[Domain] = []
        reason = None
        for qemu in found:
            key = (qemu.pid, qemu.start)
            name = self._uuids.get(key) or identity(qemu, taken)
            if name in taken:
                # a child of a QEMU before its exec, or a second one by mistake: only one can have the name
                reason = f"PID {qemu.pid} has the UUID of PID {taken[name]} and is left out"
                continue
            taken[name] = qemu.pid
            self._uuids[key] = name
            domains.append(_domain(name, qemu))
        return tuple(domains), reason


def identity(qemu: Qemu, taken: dict[str, int]) -> str:
    """The VM's UUID: given, or made as the module says; `taken` has those of older processes."""
    line = qemu.line
    if line.uuid is not None:
        return line.uuid.lower()
    known = [line.name, line.pidfile, str(line.vmid), *(drive.file for drive in line.drives), *line.monitors]
    known += [net.ifname for net in line.nets]
    if any(part and part != "None" for part in known):
        made = _uuid5("\0".join(part or "" for part in known))
        if made not in taken:
            return made
    return _uuid5(f"{qemu.pid}\0{qemu.start}")


def disks(line: CommandLine) -> tuple[DiskConfig, ...]:
    """The disks that a command line names; removable media and firmware are none."""
    return tuple(DiskConfig(drive.id, drive.file) for drive in line.drives if drive.kind == "disk")


def nics(line: CommandLine) -> tuple[NicConfig, ...] | None:
    """The taps that a command line names; None where it has one whose name it does not tell. User-mode networks and the
    like have no interface on the host."""
    macs = {device.netdev: device.mac for device in line.devices if device.netdev is not None}
    found = []
    for net in line.nets:
        if net.type in _HOST_NETS:
            if net.ifname is None:
                return None
            found.append(NicConfig(net.ifname, net.mac or macs.get(net.id)))
    return tuple(found)


def _domain(name: str, qemu: Qemu) -> Domain:
    line = qemu.line
    known = nics(line)
    return Domain(
        uuid=name,
        name=line.name or f"{line.program}-{qemu.pid}",
        pid=qemu.pid,
        vmid=line.vmid,
        cores=line.cores,
        memory_kb=line.memory_kb,
        disks=disks(line),
        nics=known,
        reason=_UNKNOWN_NICS if known is None else None,
    )


def _uuid5(text: str) -> str:
    import uuid  # brings OpenSSL into the process: only where a VM has no UUID of its own

    return str(uuid.uuid5(uuid.UUID(_NAMESPACE), text))
