"""The inventory: what the connector knows of the VMs, joined with what /proc and /sys show of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from proxtop.kernel.files import Files
from proxtop.lookup.disks import Disks
from proxtop.lookup.guest import Guest, Host
from proxtop.lookup.nics import Interfaces
from proxtop.lookup.process import once
from proxtop.lookup.processes import Processes
from proxtop.model import Domains, Inventory

SCAN = 10.0
"""Seconds between two looks at all PIDs: for kernel threads, and for VMs whose process was not found for long."""

SEARCH = 1.0
"""The same while a VM is new, or its process just ended."""

_BOOT_ID = "sys/kernel/random/boot_id"


class Lookup:
    """Keeps the inventory of one host. `root` is where that host's / can be seen; by itself, / for the local /proc, and
    PROCFS/1/root for another /proc of this machine (a container's view of its host)."""

    def __init__(
        self,
        procfs: str = "/proc",
        sysfs: str = "/sys",
        *,
        root: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = Files(procfs, sysfs, clock=clock)
        self._clock = clock
        self._own = os.path.realpath(procfs) == "/proc"
        self._processes = Processes(self._files)
        self._disks = Disks(self._files, self._root() if root is None else root)
        self._interfaces = Interfaces(self._files)
        self._guests: dict[str, Guest] = {}
        self._domains: Domains | None = None
        self._inventory: Inventory | None = None
        self._scanned_at: float | None = None
        self._hasty_until = 0.0

    def inventory(self, domains: Domains) -> Inventory:
        """The VMs as they are now, by name; the same object as last time when nothing changed."""
        now = self._clock()
        visible = not (domains.remote and self._own)
        self._interfaces.forget()
        adopted = domains is not self._domains
        if adopted:
            self._adopt(domains, visible, now)
        search = visible and self._scan_when_due(now)
        living = sum(guest.bound for guest in self._guests.values())
        for guest in self._guests.values():
            guest.look(now, search=search)
        if sum(guest.bound for guest in self._guests.values()) < living:
            self._hasty_until = now + SCAN
        if adopted or search:
            self._files.keep({gen for guest in self._guests.values() if (gen := guest.gen) is not None})
        return self._published(domains)

    def close(self) -> None:
        """Let go of all descriptors."""
        self._guests.clear()
        self._files.close()

    def _root(self) -> str | None:
        if self._own:
            return "/"
        there, here = (once(self._files, f"{procfs}/{_BOOT_ID}") for procfs in (self._files.procfs, "/proc"))
        return f"{self._files.procfs}/1/root" if there is not None and there == here else None

    def _adopt(self, domains: Domains, visible: bool, now: float) -> None:
        """Other VMs, or other things about them."""
        self._domains = domains
        self._disks.forget()
        host = Host(self._files, self._processes, self._disks, self._interfaces, domains.connector, visible)
        known, self._guests = self._guests, {}
        for number, domain in enumerate(domains.domains):
            guest = known.pop(domain.uuid, None)
            if guest is None:
                guest = Guest(host, domain, number)
                self._hasty_until = now + SCAN
                if self._scanned_at is not None and now - self._scanned_at >= SEARCH:
                    self._scanned_at = None  # look at once
            guest.configure(host, domain)
            self._guests[domain.uuid] = guest
        for guest in known.values():
            guest.close()

    def _scan_when_due(self, now: float) -> bool:
        """Look at all PIDs if it is time to: whether it was."""
        missing = any(not guest.bound for guest in self._guests.values())
        patience = SEARCH if missing and now < self._hasty_until else SCAN
        if self._scanned_at is not None and now - self._scanned_at < patience:
            return False
        self._scanned_at = now
        self._processes.scan(now)
        return True

    def _published(self, domains: Domains) -> Inventory:
        vms = [guest.vm for guest in self._guests.values() if guest.vm is not None]
        vms.sort(key=lambda vm: (vm.name, vm.uuid))
        reason = "; ".join(filter(None, (domains.reason, self._processes.reason))) or None
        old = self._inventory
        if (
            old is None
            or (old.connector, old.reason, old.remote) != (domains.connector, reason, domains.remote)
            or len(old.vms) != len(vms)
            or any(one is not other for one, other in zip(old.vms, vms, strict=True))
        ):
            self._inventory = old = Inventory(domains.connector, tuple(vms), reason, domains.remote)
        return old
