"""Proxmox VE: pid files and QMP sockets in var/run/qemu-server, configuration in etc/pve.

A pid file is believed only when that process' own -pidfile names it. A VM's disks are those of its command line, where
it has them (that is what QEMU opened) and they were not moved since, else as configured. The files of etc/pve are
FUSE's (pmxcfs): they are read in a thread with a deadline, and again only when their time of change moved or is of just
now.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from dataclasses import dataclass, replace

from proxtop.connectors.base import ConnectorError, Settings, joined
from proxtop.connectors.bounded import Bounded, Late
from proxtop.connectors.monitors import Monitors, Target
from proxtop.connectors.processes import Processes, Qemu
from proxtop.connectors.pve_config import PveConfig, parse_config
from proxtop.connectors.qemu import nics as line_nics
from proxtop.connectors.waiting import readable
from proxtop.kernel.cmdline import CommandLine
from proxtop.kernel.files import Files
from proxtop.model import DiskConfig, Domain, Domains, NicConfig, Statistics

RUN = "var/run/qemu-server"
CONFIG = "etc/pve/qemu-server"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "proxmox.proxtop")
_LOOK_S = 0.5
_CONFIG_S = 0.5
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago is read again: pmxcfs tells whole seconds, and it may change twice in one."""

_VOLUME = re.compile(r"(?<=[/:])(?:vm|base)-\d+-[\w.-]+$")
_BALLOONS = ("virtio-balloon-pci", "virtio-balloon", "virtio-balloon-device")


@dataclass(frozen=True, slots=True)
class _Guest:
    """A running VM: its process, what its configuration said last, and which disks are others since it was started."""

    vmid: int
    qemu: Qemu
    config: PveConfig | None
    moved: frozenset[str]
    domain: Domain


class ProxmoxConnector:
    """The VMs of a Proxmox VE host."""

    name = "proxmox"

    def __init__(self, settings: Settings) -> None:
        root = settings.root.rstrip("/")
        self._run = f"{root}/{RUN}"
        self._config = f"{root}/{CONFIG}"
        self._processes = Processes(Files(settings.procfs, settings.sysfs), time.monotonic)
        self._monitors = Monitors(settings.interval)
        self._configs: dict[int, tuple[int, PveConfig]] = {}
        self._reader = Bounded("proxmox-config", most=1)
        self._guests: dict[int, _Guest] = {}
        self._domains: Domains | None = None
        self._changed = -1

    def open(self) -> None:
        """ConnectorError where the pid files are not there or not for us to read."""
        try:
            os.scandir(self._run).close()
        except OSError as error:
            hint = "run it as root" if error.errno in (1, 13) else "is this a Proxmox VE host? (--libvirt, --qemu)"
            raise ConnectorError(f"proxmox: {self._run}: {error.strerror}; {hint}") from None

    def discover(self) -> Domains:
        """All VMs with a pid file that holds; files that did not change are not read again."""
        self._changed = self._stamp()
        changed = self._processes.scan()
        running, unread = self._running()
        reason = self._read_configs(set(running))
        guests = {}
        owners: dict[str, int] | None = None
        for vmid, qemu in sorted(running.items()):
            config = self._configs.get(vmid, (0, None))[1]
            known = self._guests.get(vmid)
            if known is None or known.qemu is not qemu or known.config is not config:
                owners = self._owners(running) if owners is None else owners
                moved = _moved(known, qemu, config)
                known = _Guest(vmid, qemu, config, moved, self._described(vmid, qemu, config, moved, owners))
                changed = True
            guests[vmid] = known
        changed = changed or guests.keys() != self._guests.keys()
        self._guests = guests
        reason = joined([self._processes.reason, unread, reason])
        if self._domains is None or changed or reason != self._domains.reason:
            domains = Domains(self.name, tuple(guest.domain for guest in guests.values()), reason)
            if domains != self._domains:
                self._domains = domains
        return self._domains if self._domains is not None else Domains(self.name, ())

    def _owners(self, running: dict[int, Qemu]) -> dict[str, int]:
        """The VM of each UUID, of those whose process is the one of before."""
        return {
            known.domain.uuid: vmid
            for vmid, known in self._guests.items()
            if vmid in running and running[vmid].process is known.qemu.process
        }

    def _described(
        self, vmid: int, qemu: Qemu, config: PveConfig | None, moved: frozenset[str], owners: dict[str, int]
    ) -> Domain:
        """The VM by a UUID that no other running one has: two may be given the same, as by a backup that was restored
        under another number. A process keeps its own."""
        domain, known = _domain(vmid, qemu, config, moved), self._guests.get(vmid)
        if known is not None and known.qemu.process is qemu.process and qemu.line.uuid is not None:
            return replace(domain, uuid=known.domain.uuid)
        return domain if owners.setdefault(domain.uuid, vmid) == vmid else replace(domain, uuid=_made(vmid))

    def statistics(self, *, prime: bool = False) -> list[Statistics]:
        """Block and balloon statistics over QMP."""
        targets = [
            Target(
                uuid=guest.domain.uuid,
                gen=guest.qemu.start << 22 | guest.qemu.pid,
                path=f"{self._run}/{vmid}.qmp",
                disks=tuple(disk.name for disk in guest.domain.disks),
                balloon=_balloon(guest.qemu.line),
                locked=guest.config is not None and guest.config.lock is not None,
                stopped=guest.qemu.stopped,
            )
            for vmid, guest in self._guests.items()
        ]
        return self._monitors.statistics(targets, prime=prime)

    def wait(self, timeout: float, wake: int) -> bool:
        """The directory of pid files tells by its time of change that a VM came or went."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if readable(wake, min(max(left, 0.0), _LOOK_S)):
                return False
            if self._stamp() != self._changed:
                return True
            if left <= 0:
                return False

    def close(self) -> None:
        """Closes what is held of /proc."""
        self._processes.close()
        self._reader.close()

    def _stamp(self) -> int:
        try:
            return os.stat(self._run).st_mtime_ns
        except OSError:
            return -1

    def _running(self) -> tuple[dict[int, Qemu], str | None]:
        """VMs whose pid file names a process that names the pid file."""
        running: dict[int, Qemu] = {}
        try:
            names = os.listdir(self._run)
        except OSError as error:
            return {vmid: guest.qemu for vmid, guest in self._guests.items()}, f"{self._run}: {error.strerror}"
        reason = None
        for name in names:
            number = name.removesuffix(".pid")
            if number == name or not (number.isascii() and number.isdigit()) or len(number) > 9:
                continue
            vmid = int(number)
            known = self._guests.get(vmid)
            if known is not None and self._processes.found.get(known.qemu.pid) is known.qemu:
                running[vmid] = known.qemu
                continue
            try:
                pid = _pid(f"{self._run}/{name}")
            except OSError as error:
                reason = f"{self._run}/{name}: {error.strerror}"
                continue
            qemu = None if pid is None else self._processes.found.get(pid)
            if qemu is not None and qemu.line.pidfile in (
                f"{self._run}/{name}",
                f"/{RUN}/{name}",
                f"/run/qemu-server/{name}",
            ):
                running[vmid] = qemu
        return running, reason

    def _read_configs(self, vmids: set[int]) -> str | None:
        """Reads what changed; the reason where etc/pve does not answer, and then what was read before stands."""
        known = {vmid: entry for vmid, entry in self._configs.items() if vmid in vmids}
        try:
            self._configs, reason = self._reader.call(lambda: _configs(self._config, vmids, known), _CONFIG_S)
        except Late:
            self._configs, reason = known, f"{self._config} does not answer; configuration as read before"
        return reason


def _configs(
    directory: str, vmids: set[int], known: dict[int, tuple[int, PveConfig]]
) -> tuple[dict[int, tuple[int, PveConfig]], str | None]:
    """Each VM's configuration with its file's time of change."""
    found: dict[int, tuple[int, PveConfig]] = {}
    reason = None
    for vmid in vmids:
        path = f"{directory}/{vmid}.conf"
        try:
            changed = os.stat(path).st_mtime_ns
            entry = known.get(vmid)
            if entry is None or entry[0] != changed:
                settled = abs(time.time_ns() - changed) > _SETTLED_NS
                with open(path, "rb") as file:
                    config = parse_config(file.read(1 << 20))
                entry = changed if settled else -1, config if entry is None or entry[1] != config else entry[1]
            found[vmid] = entry
        except OSError as error:
            reason = f"{path}: {error.strerror}"
            if vmid in known:
                found[vmid] = known[vmid]
    return found, reason


def _pid(path: str) -> int | None:
    """The number in a pid file, None while it is being written."""
    with open(path, "rb") as file:
        text = file.read(32).strip()
    return int(text) if text.isdigit() and len(text) < 10 else None


def _moved(known: _Guest | None, qemu: Qemu, config: PveConfig | None) -> frozenset[str]:
    """The disks whose volume became another one while this process ran: its command line has the old one."""
    if known is None or known.qemu.process is not qemu.process:
        return frozenset()
    if known.config is None or config is None:
        return known.moved
    return known.moved.union(disk for disk, old in known.config.disks.items() if config.disks.get(disk) != old)


def _domain(vmid: int, qemu: Qemu, config: PveConfig | None, moved: frozenset[str]) -> Domain:
    line = qemu.line
    given = line.uuid or (None if config is None else config.uuid)
    if config is None:
        cores, memory_kb, name = line.cores, line.memory_kb, line.name
        disks = tuple(DiskConfig(disk, source) for disk, source in _line_disks(line).items())
        nics = line_nics(line)
    else:
        cores, memory_kb, name = config.cores, config.memory_kb, config.name or line.name
        opened = {disk: file for disk, file in _line_disks(line).items() if disk not in moved}
        disks = tuple(DiskConfig(disk, _source(opened.get(disk), volume)) for disk, volume in config.disks.items())
        nics = _nics(vmid, line, config)
    return Domain(
        uuid=given.lower() if given else _made(vmid),
        name=name or f"VM{vmid}",
        pid=qemu.pid,
        vmid=vmid,
        cores=cores,
        memory_kb=memory_kb,
        disks=disks,
        nics=nics,
        reason="its configuration can't be read" if config is None else None,
    )


def _made(vmid: int) -> str:
    """The UUID of a VM that has none, or another one's."""
    return str(uuid.uuid5(_NAMESPACE, str(vmid)))


def _source(opened: str | None, volume: str) -> str:
    """Where a disk is: what QEMU opened, unless by its name that is another volume, from which the disk was moved."""
    if opened is None:
        return volume
    then, now = _VOLUME.search(opened), _VOLUME.search(volume)
    return volume if then is not None and now is not None and then[0] != now[0] else opened


def _line_disks(line: CommandLine) -> dict[str, str | None]:
    """Files by disk name, as QEMU was told to open them; firmware counts where the configuration has it."""
    return {
        drive.id.removeprefix("drive-"): drive.file
        for drive in line.drives
        if drive.kind == "disk" or drive.id == "drive-efidisk0"
    }


def _nics(vmid: int, line: CommandLine, config: PveConfig) -> tuple[NicConfig, ...]:
    taps = {net.id: net.ifname for net in line.nets}
    return tuple(
        NicConfig(taps.get(f"net{number}") or f"tap{vmid}i{number}", mac) for number, mac in sorted(config.nets.items())
    )


def _balloon(line: CommandLine) -> str | None:
    """The path of the balloon device in QEMU's object tree."""
    name = next((device.id for device in line.devices if device.driver in _BALLOONS and device.id), None)
    return None if name is None else f"/machine/peripheral/{name}"
