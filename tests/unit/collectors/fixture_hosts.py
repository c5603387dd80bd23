"""Hosts out of trees of text, and the two VMs on them."""

from __future__ import annotations

import shutil
from pathlib import Path

from proxtop.kernel.files import Files
from proxtop.model import VM, Disk, Nic, Thread

FIXTURES = Path(__file__).parent.parent / "fixtures"
WEB = "11111111-1111-1111-1111-111111111111"
DB = "22222222-2222-2222-2222-222222222222"


class Host:
    """A copy of a fixture tree that a test may change, with the reader of it and a clock that stands still."""

    def __init__(self, name: str, directory: Path) -> None:
        self.root = directory / name
        shutil.copytree(FIXTURES / name, self.root)
        self.proc = self.root / "proc"
        self.sys = self.root / "sys"
        self.now = 1000.0
        self.files = Files(str(self.proc), str(self.sys), clock=lambda: self.now)

    def end(self, pid: int) -> None:
        """The process is no more."""
        shutil.rmtree(self.proc / str(pid))


def web() -> VM:
    return VM(
        WEB,
        "web",
        1201,
        5000,
        cores=2,
        memory_kb=2097152,
        vcpus=((0, 1202), (1, 1203)),
        threads=(Thread(1201, "emulator", 1201), Thread(1204, "iothread", 1201)),
        disks=(Disk("vda", "/dev/pve/vm-101", "dm-0"),),
        nics=(Nic("tap101i0", "52:54:00:00:00:01", True),),
        cgroup=r"/machine.slice/machine-qemu\x2d1\x2dweb.scope",
    )


def db() -> VM:
    return VM(
        DB,
        "db",
        1302,
        6000,
        cores=2,
        memory_kb=1048576,
        vcpus=((0, 1303), (1, 1304)),
        threads=(Thread(1302, "emulator", 1302), Thread(1305, "iothread", 1302)),
        disks=(Disk("scsi0", None, None),),
        nics=(Nic("macvtap0", "52:54:00:00:00:02", False), Nic("gone0", None, True)),
        cgroup="/qemu.slice/102.scope",
    )
