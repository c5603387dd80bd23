"""Guests without libvirt: plain QEMU processes, and QEMU processes as Proxmox VE lays them out."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
from typing import Any

from tests.lab.host import LabError, wait_for
from tests.lab.machine import TB_CACHE_MIB, Guest, Place, kernel_command_line, spawn
from tests.lab.spec import Spec

QEMU = "qemu-system-x86_64"
SUN_PATH_MAX = 107
NODE = "labnode"


class BareGuest(Guest):
    """`qemu-system-x86_64 …` as a person would start it."""

    layout = "bare"

    def __init__(self, spec: Spec, place: Place) -> None:
        super().__init__(spec, place)
        self._tap = spec.tap or f"plab{place.number}"
        self._process: subprocess.Popen[bytes] | None = None
        self.pid_path: pathlib.Path | None = place.file("pid") if spec.daemonize else None
        if spec.qmp:
            self.qmp_path = place.file("qmp")

    @property
    def pid(self) -> int:
        if self.pid_path:
            try:
                return int(self.pid_path.read_text())
            except (OSError, ValueError) as error:
                raise LabError(f"{self!r} has no process: {error}") from None
        if not self._process:
            raise LabError(f"{self!r} has not been started")
        return self._process.pid

    @property
    def tap(self) -> str:
        return self._tap if self.spec.nic else ""

    def _launch(self) -> None:
        self._process = spawn([QEMU, *self._arguments()], shutil.which(QEMU), self.place.file("stderr"))
        if self.pid_path:
            self._wait_daemonized()

    def _wait_daemonized(self) -> None:
        assert self._process
        if self._process.wait(30):
            raise LabError(f"{self!r} did not start: {self._last_words()}")
        self._process = None

    def _reaped(self, pid: int) -> bool:
        return self._process.poll() is not None if self._process else super()._reaped(pid)

    def _after_kill(self) -> None:
        if self._process:
            self._process.wait(30)
            self._process = None
        for leftover in (self.pid_path, self.qmp_path):
            if leftover:
                leftover.unlink(missing_ok=True)

    def set_balloon(self, mib: int) -> None:
        self.qmp("balloon", value=mib << 20)
        wait_for(f"the balloon of {self!r}", lambda: self.qmp("query-balloon")["actual"] == mib << 20, 60)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """One QMP command's return value. Connects, asks, closes."""
        if not self.qmp_path:
            raise LabError(f"{self!r} has no QMP socket")
        with socket.socket(socket.AF_UNIX) as monitor, monitor.makefile("rwb") as stream:
            monitor.settimeout(10)
            monitor.connect(str(self.qmp_path))
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while not answer.keys() & {"return", "error"}:
                    answer = json.loads(stream.readline())
        if "error" in answer:
            raise LabError(f"{self!r}: {command}: {answer['error']}")
        return answer["return"]

    def _arguments(self) -> list[str]:
        spec, place = self.spec, self.place
        words = ["-name", f"guest={_escaped(spec.name)},debug-threads=on", "-uuid", spec.uuid, *self._machine()]
        words += ["-smp", str(spec.vcpus)]
        if self.pid_path:
            words += ["-pidfile", str(self.pid_path), "-daemonize"]
        if self.qmp_path:
            words += [
                "-chardev",
                f"socket,id=qmp,path={self.qmp_path},server=on,wait=off",
                "-mon",
                "chardev=qmp,mode=control",
            ]
        if spec.disk_mib:
            words += [
                "-drive",
                f"id=disk0,if=none,format=raw,cache=none,file={self.disk_path}",
                *self._disk_device("disk0"),
            ]
        if spec.nic:
            words += ["-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no"]
            words += ["-device", f"virtio-net-pci,netdev=net0,mac={place.mac}"]
        return [*words, *spec.arguments]

    def _machine(self) -> list[str]:
        """What every layout's command line has: the accelerator, the memory, the kernel, the console, the balloon."""
        spec, place = self.spec, self.place
        serial = f"socket,id=serial0,path={place.file('serial')},server=on,wait=off,logfile={place.file('log')}"
        words = ["-accel", f"tcg,thread=multi,tb-size={TB_CACHE_MIB}", "-nodefaults", "-no-reboot", "-display", "none"]
        words += ["-m", str(spec.memory_mib)]
        if spec.bootable:
            words += ["-kernel", str(place.run_dir / "vmlinux"), "-initrd", str(place.run_dir / "initramfs.gz")]
            words += ["-append", kernel_command_line(spec, place)]
        else:
            words += ["-bios", str(place.run_dir / "halt.bin")]
        words += ["-chardev", serial, "-serial", "chardev:serial0", "-device", "virtio-balloon-pci,id=balloon0"]
        if spec.iothread:
            words += ["-object", "iothread,id=iothread0"]
        return words

    def _disk_device(self, drive: str, device_id: str = "") -> list[str]:
        named = f",id={device_id}" if device_id else ""
        thread = ",iothread=iothread0" if self.spec.iothread else ""
        if self.spec.disk_bus == "scsi":
            return ["-device", f"virtio-scsi-pci,id=scsihw0{thread}", "-device", f"scsi-hd,drive={drive}{named}"]
        return ["-device", f"virtio-blk-pci,drive={drive}{named}{thread}"]


class ProxmoxGuest(BareGuest):
    """A QEMU as Proxmox VE starts and describes it, but for `-id`, which vanilla QEMU lacks."""

    layout = "proxmox"

    def __init__(self, spec: Spec, place: Place, root: pathlib.Path, vmid: int) -> None:
        super().__init__(spec, place)
        self.vmid = vmid
        self.root = root
        self.pid_path = root / f"var/run/qemu-server/{vmid}.pid"
        self.qmp_path = root / f"var/run/qemu-server/{vmid}.qmp"
        self.conf_path = root / f"etc/pve/nodes/{NODE}/qemu-server/{vmid}.conf"
        self._tap = spec.tap or f"tap{vmid}i0"
        if len(str(self.qmp_path)) > SUN_PATH_MAX:
            raise LabError(f"too long for a socket: {self.qmp_path}")

    def _launch(self) -> None:
        for folder in (self.conf_path.parent, self.qmp_path.parent if self.qmp_path else self.root):
            folder.mkdir(parents=True, exist_ok=True)
        pve = self.root / "etc/pve"
        for link, target in (("local", f"nodes/{NODE}"), ("qemu-server", f"nodes/{NODE}/qemu-server")):
            with contextlib.suppress(FileExistsError):
                (pve / link).symlink_to(target)
        self.conf_path.write_text(self.configuration())
        # PVE starts /usr/bin/kvm, so its comm is kvm; with umask 0077, so its sockets are root's alone.
        kvm = self.place.run_dir / "kvm"
        with contextlib.suppress(FileExistsError):
            kvm.symlink_to(shutil.which(QEMU) or QEMU)
        self._process = spawn(["/usr/bin/kvm", *self._arguments()], str(kvm), self.place.file("stderr"), umask=0o077)
        self._wait_daemonized()
        wait_for(f"QMP of {self!r}", self.qmp_path.exists if self.qmp_path else bool, 10)
        self.qmp("qom-set", path="/machine/peripheral/balloon0", property="guest-stats-polling-interval", value=2)

    def _drive(self) -> str:
        return "scsi0" if self.spec.disk_bus == "scsi" else "virtio0"

    def _arguments(self) -> list[str]:
        spec = self.spec
        words = ["-name", f"{_escaped(spec.name)},debug-threads=on", "-no-shutdown"]
        words += [
            "-chardev",
            f"socket,id=qmp,path={self.qmp_path},server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
        ]
        words += ["-pidfile", str(self.pid_path), "-daemonize", "-smbios", f"type=1,uuid={spec.uuid}"]
        words += ["-smp", f"{spec.vcpus},sockets=1,cores={spec.vcpus},maxcpus={spec.vcpus}", *self._machine()]
        if spec.disk_mib:
            drive = self._drive()
            words += [
                "-drive",
                f"file={self.disk_path},if=none,id=drive-{drive},format=raw,cache=none,detect-zeroes=on",
            ]
            words += self._disk_device(f"drive-{drive}", drive)
        if spec.nic:
            words += ["-netdev", f"type=tap,id=net0,ifname={self.tap},script=no,downscript=no"]
            words += [
                "-device",
                f"virtio-net-pci,mac={self.place.mac},netdev=net0,id=net0,rx_queue_size=1024,tx_queue_size=256",
            ]
        return [*words, *spec.arguments]

    def configuration(self) -> str:
        """VMID.conf; what follows the first section header (the next start, a snapshot) is wrong on purpose."""
        spec = self.spec
        disk = f"local-lvm:vm-{self.vmid}-disk-0,iothread={int(spec.iothread)},size={spec.disk_mib}M"
        top = {
            "balloon": str(spec.balloon_mib or spec.memory_mib),
            "boot": f"order={self._drive()};net0",
            "cores": str(spec.vcpus),
            "cpu": "host",
            "memory": str(spec.memory_mib),
            "meta": "creation-qemu=8.1.5,ctime=1718000000",
            "name": spec.name,
            "net0": f"virtio={self.place.mac.upper()},bridge=vmbr0,firewall=1",
            "numa": "0",
            "onboot": "1",
            "ostype": "l26",
            self._drive(): disk,
            "scsihw": "virtio-scsi-single",
            "smbios1": f"uuid={spec.uuid}",
            "sockets": "1",
            "vmgenid": "0b5a3a5e-6a0c-4f40-8f0e-2f1f6f1c9d10",
        }
        wrong = {"cores": "64", "memory": "1048576", "name": "wrong", "sockets": "4"}
        sections = [("", top), ("PENDING", wrong), ("before-upgrade", wrong | {"snaptime": "1719000000"})]
        lines = ["#Web front end, see the runbook"]
        for header, values in sections:
            lines += [f"\n[{header}]"] if header else []
            lines += [f"{key}: {value}" for key, value in values.items()]
            if not header and spec.conf:
                lines += spec.conf.splitlines()
        return "\n".join(lines) + "\n"

    def stop(self) -> None:
        """As `qm stop`: the configuration stays, the process, its pid file and its socket go."""
        self.kill()

    def remove(self) -> None:
        """As `qm destroy`."""
        self.stop()
        self.conf_path.unlink(missing_ok=True)


def _escaped(value: str) -> str:
    """QEMU's options double a comma that belongs to a value."""
    return value.replace(",", ",,")
