"""The guests that most tests share: one scene for each layout, light enough to stay up for a whole run on two cores."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

from tests.lab.guests import Lab
from tests.lab.libvirt import LibvirtGuest
from tests.lab.qemu import BareGuest, ProxmoxGuest
from tests.lab.spec import Spec

ODD_NAME = 'odd "näme" ☃,= <&>$(x) %s'
"""Without the tab that libvirt allows too: it kills such a guest when libvirtd is restarted (seen with 9.0)."""
WRITE_RATE = 655_360
"""Bytes a second, 10 blocks of 64 KiB."""
READ_RATE = 1_310_720
SEND_RATE = 100_000
"""Bytes a second as the tap counts them, 100 frames."""


class LibvirtScene(NamedTuple):
    """Two names of which one begins the other; the third writes WRITE_RATE and sends SEND_RATE."""

    web: LibvirtGuest
    """Idle."""
    busy: LibvirtGuest
    """web-01: vCPU 0 of two is always busy."""
    odd: LibvirtGuest


class ProxmoxScene(NamedTuple):
    """A directory like a Proxmox VE host's root."""

    root: pathlib.Path
    web: ProxmoxGuest
    """101: idle, reads READ_RATE from virtio0."""
    db: ProxmoxGuest
    """102: writes WRITE_RATE to scsi0 through an iothread, sends SEND_RATE; 96 MiB with the balloon at 80."""


class BareScene(NamedTuple):
    """Started by hand: no pid file, no QMP socket for the first; both for the second, which is a daemon."""

    plain: BareGuest
    """Writes WRITE_RATE, sends SEND_RATE."""
    daemon: BareGuest
    """Idle, one vCPU."""


def libvirt_scene(lab: Lab) -> LibvirtScene:
    odd = Spec(ODD_NAME, disk_load=f"write:{WRITE_RATE}", net_load=f"send:{SEND_RATE}", iothread=True)
    return LibvirtScene(*lab.boot_libvirt([Spec("web"), Spec("web-01", load="busy:1"), odd]))


def proxmox_scene(lab: Lab, root: pathlib.Path) -> ProxmoxScene:
    web = Spec("web", disk_load=f"read:{READ_RATE}")
    db = Spec(
        "db-01",
        memory_mib=96,
        balloon_mib=80,
        disk_bus="scsi",
        disk_load=f"write:{WRITE_RATE}",
        net_load=f"send:{SEND_RATE}",
        iothread=True,
    )
    return ProxmoxScene(root, *lab.boot_proxmox(root, [web, db]))


def bare_scene(lab: Lab) -> BareScene:
    plain = Spec("plain", disk_load=f"write:{WRITE_RATE}", net_load=f"send:{SEND_RATE}")
    return BareScene(*lab.boot_bare([plain, Spec("a,comma", vcpus=1, daemonize=True, qmp=True)]))
