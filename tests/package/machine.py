"""A Debian system with systemd as its first process: a guest under TCG, its root an image made from a directory."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import image
from tests.lab.host import LabError
from tests.lab.machine import READY, Guest, Place, spawn
from tests.lab.spec import Spec

IMAGE_MIB = 1536
MEMORY_MIB = 1024
_SHELL = f"""\
#!/bin/sh
# Obeys whoever writes to the second serial line, see tests/lab/guest/serve.
exec < /dev/ttyS1 > /dev/ttyS1 2>&1
stty raw -echo
echo {READY.decode()} > /dev/ttyS0
while :; do /usr/local/sbin/serve; done
"""
_UNIT = """\
[Unit]
Description=Shell of the tests
After=multi-user.target
[Service]
Type=idle
ExecStart=/usr/local/sbin/shell
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target
"""


class Machine(Guest):
    """The guest; `run` runs a command in there as root."""

    layout = "systemd"

    def __init__(self, place: Place) -> None:
        super().__init__(Spec("systemd", memory_mib=MEMORY_MIB, disk_mib=IMAGE_MIB, nic=False), place)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if not self._process:
            raise LabError(f"{self!r} has not been started")
        return self._process.pid

    @property
    def tap(self) -> str:
        return ""

    def _launch(self) -> None:
        vmlinux, initramfs = image.build_for_disk()
        place = self.place
        words = ["setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"]  # a killed run leaves none
        words += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB)]
        words += ["-nodefaults", "-no-reboot", "-display", "none", "-kernel", str(vmlinux), "-initrd", str(initramfs)]
        words += ["-append", "console=ttyS0 quiet panic=-1 systemd.show_status=0 systemd.getty_auto=0 mitigations=off"]
        words += ["-chardev", f"file,id=console,path={place.file('log')}", "-serial", "chardev:console"]
        words += [
            "-chardev",
            f"socket,id=shell,path={place.file('serial')},server=on,wait=off",
            "-serial",
            "chardev:shell",
        ]
        words += ["-drive", f"if=none,id=disk,format=raw,cache=unsafe,file={self.disk_path}"]
        words += ["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]
        self._process = spawn(words, stderr=place.file("stderr"))

    def _reaped(self, pid: int) -> bool:
        return self._process is None or self._process.poll() is not None


def make_image(root: pathlib.Path, disk: pathlib.Path) -> None:
    """An ext4 image of a directory, to which it adds the shell."""
    serve = pathlib.Path(image.SOURCES / "serve")
    sbin = root / "usr/local/sbin"
    shutil.copy2(serve, sbin / "serve")
    (sbin / "shell").write_text(_SHELL)
    for name in ("serve", "shell"):
        (sbin / name).chmod(0o755)
    (root / "etc/systemd/system/shell.service").write_text(_UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "shell.service").symlink_to("../shell.service")
    (root / "etc/hostname").write_text("hypervisor\n")
    command = ["mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(root), str(disk), f"{IMAGE_MIB}M"]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def booted(folder: pathlib.Path, root: pathlib.Path, timeout: float) -> Iterator[Machine]:
    """The system of that directory, up and listening; ended at the end."""
    machine = Machine(Place(folder, 1))
    assert machine.disk_path
    make_image(root, machine.disk_path)
    machine.start()
    try:
        machine.wait_ready(timeout)
        yield machine
    finally:
        machine.kill()
