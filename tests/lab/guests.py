"""The lab: boots guests in parallel, waits for all, leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from tests.lab import host, image, libvirt
from tests.lab.host import LabError, LabMissing
from tests.lab.libvirt import LibvirtGuest
from tests.lab.machine import Guest, Place, write_halting_firmware
from tests.lab.qemu import BareGuest, ProxmoxGuest
from tests.lab.spec import MIN_BALLOON_MIB, MIN_MEMORY_MIB, Spec

FIRST_VMID = 101
G = TypeVar("G", bound=Guest)


class Lab:
    """Guests that end with the `with` block, or with the next lab when this process is killed. One lab at a time.

    detached: the guests stay, until `make lab-stop`.
    """

    def __init__(self, *, detached: bool = False, wait_s: float = 900) -> None:
        self._name = host.DETACHED if detached else str(os.getpid())
        self._detached = detached
        self._wait_s = wait_s
        self._open = contextlib.ExitStack()
        self._numbers = iter(range(0x4000 if detached else 1, 0x8000))
        self._vmids = iter(range(FIRST_VMID, 10**9))
        self.run_dir = host.RUNS / self._name
        self.guests: list[Guest] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.enter_context(host.locked(self._wait_s))
            host.sweep_leftovers()
            undo.callback(host.remove_bridge)
            host.sweep(self.run_dir)
            host.new_run(self._name)
            if not self._detached:
                undo.callback(self.tear_down)
            self._open = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._detached and error:
            self.tear_down()
        self._open.close()

    def tear_down(self) -> None:
        """End every guest and remove every trace of this run."""
        for guest in self.guests:
            with contextlib.suppress(LabError):
                guest.stop()
        self.guests.clear()
        host.sweep(self.run_dir)
        libvirt.stop_daemon()

    def boot_libvirt(self, specs: Sequence[Spec], timeout: float | None = None) -> list[LibvirtGuest]:
        """Domains of qemu:///system."""
        self.prepare("libvirt")
        libvirt.start_daemon()
        return self._boot([LibvirtGuest(spec, self._place()) for spec in specs], timeout)

    def boot_proxmox(
        self, root: pathlib.Path, specs: Sequence[Spec], timeout: float | None = None
    ) -> list[ProxmoxGuest]:
        """Guests of a Proxmox VE host whose root directory is `root`."""
        self.prepare("proxmox")
        guests = [ProxmoxGuest(spec, self._place(), root, spec.vmid or next(self._vmids)) for spec in specs]
        return self._boot(guests, timeout)

    def boot_bare(self, specs: Sequence[Spec], timeout: float | None = None) -> list[BareGuest]:
        """QEMU processes that nobody manages."""
        self.prepare("bare")
        return self._boot([BareGuest(spec, self._place()) for spec in specs], timeout)

    def prepare(self, layout: str = "bare") -> None:
        """Kernel, initramfs, bridge; LabMissing when what they need is not installed. Each boot does it."""
        reason = host.missing(layout)
        if reason:
            raise LabMissing(reason)
        host.make_bridge()
        if not (self.run_dir / "vmlinux").exists():
            vmlinux, initramfs = image.build()
            write_halting_firmware(self.run_dir / "halt.bin")
            shutil.copy(initramfs, self.run_dir / "initramfs.gz")
            shutil.copy(vmlinux, self.run_dir / "vmlinux")

    def _place(self) -> Place:
        return Place(self.run_dir, next(self._numbers))

    def _boot(self, guests: list[G], timeout: float | None) -> list[G]:
        for guest in guests:
            if guest.spec.bootable and guest.spec.memory_mib < MIN_MEMORY_MIB:
                raise LabError(f"{guest!r} does not boot with less than {MIN_MEMORY_MIB} MiB")
            if (guest.spec.balloon_mib or MIN_BALLOON_MIB) < MIN_BALLOON_MIB:
                raise LabError(f"{guest!r} does not live with less than {MIN_BALLOON_MIB} MiB")
            self.guests.append(guest)
            guest.start()
        for guest in guests:
            guest.wait_ready(timeout or 60 + 10 * len(guests))
        return guests
