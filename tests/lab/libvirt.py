"""Guests under libvirt (qemu:///system), through virsh; libvirtd is started when nobody else did."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import time
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from tests.lab import host
from tests.lab.host import LabError, run, wait_for
from tests.lab.machine import TB_CACHE_MIB, Guest, kernel_command_line, spawn

CONFIGURATION = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0770"
unix_sock_group = "libvirt"
"""
DAEMON_DIR = host.ROOT / "libvirtd"
RUN_DIR = pathlib.Path("/run/libvirt")


def virsh(*arguments: str, check: bool = True, timeout: float = 60) -> str:
    """The output of one virsh command on qemu:///system."""
    return run("virsh", "-q", "-c", "qemu:///system", *arguments, check=check, timeout=timeout)


def daemon_answers() -> bool:
    """Whether a libvirtd serves qemu:///system."""
    try:
        return bool(virsh("uri", timeout=20).strip())
    except LabError:
        return False


def start_daemon() -> None:
    """virtlogd and libvirtd, unless one answers; configured to let any local user read."""
    if daemon_answers():
        return
    with contextlib.suppress(LookupError, FileNotFoundError):
        # Otherwise libvirtd probes QEMU anew, for most of a minute, at each define.
        shutil.chown("/dev/kvm", "root", "kvm")
        pathlib.Path("/dev/kvm").chmod(0o660)
    DAEMON_DIR.mkdir(parents=True, exist_ok=True)
    configuration = DAEMON_DIR / "libvirtd.conf"
    configuration.write_text(CONFIGURATION)
    if not _daemon_pid(RUN_DIR.parent / "virtlogd.pid"):
        run("virtlogd", "-d")
    daemon = spawn(["libvirtd", "-d", "--config", str(configuration)], shutil.which("libvirtd"), DAEMON_DIR / "stderr")
    if daemon.wait(60):
        raise LabError(f"libvirtd did not start: {(DAEMON_DIR / 'stderr').read_text().strip()}")
    wait_for("libvirtd to answer", daemon_answers, 60)


def stop_daemon() -> None:
    """Stop the libvirtd that a lab started, once no guest is left; anybody else's is left alone."""
    pid = _daemon_pid(RUN_DIR.parent / "libvirtd.pid")
    if not pid or str(DAEMON_DIR) not in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
        return
    if any(host.processes(run_dir) for run_dir in host.RUNS.glob("*")):
        return
    try:
        # It takes a moment to notice that the last guest was killed.
        wait_for("libvirt to be idle", lambda: not virsh("list", "--name", timeout=20).strip(), 5)
    except LabError:
        return
    _end(pid)
    virtlogd = _daemon_pid(RUN_DIR.parent / "virtlogd.pid")
    if virtlogd:
        _end(virtlogd)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(LabError):
        wait_for(f"the end of process {pid}", lambda: host.gone(pid), 3)
        return
    os.kill(pid, signal.SIGKILL)


def _daemon_pid(pid_file: pathlib.Path) -> int:
    """A daemon's process by its pid file, 0 when it is not running."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        if not host.gone(pid) and pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == pid_file.stem:
            return pid
    return 0


class LibvirtGuest(Guest):
    """A transient domain: its end is its removal."""

    layout = "libvirt"

    @property
    def pid(self) -> int:
        try:
            # Not NAME.pid: there libvirt spells an odd name as XML would (&quot; for a quote).
            status = ElementTree.parse(RUN_DIR / "qemu" / f"{self.name}.xml").getroot()
            return int(status.get("pid", ""))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise LabError(f"{self!r} has no process: {error}") from None

    @property
    def tap(self) -> str:
        if not self.spec.nic:
            return ""
        target = ElementTree.fromstring(virsh("dumpxml", self.uuid)).find("devices/interface/target")
        if target is None:
            raise LabError(f"{self!r} has no tap")
        return target.get("dev", "")

    def _launch(self) -> None:
        description = self.place.file("xml")
        description.write_text(self.domain_xml())
        virsh("create", str(description))

    def _after_kill(self) -> None:
        """libvirt notices the end of the process by itself."""
        deadline = time.monotonic() + 15
        while self.uuid in virsh("list", "--uuid", check=False):
            if time.monotonic() > deadline:
                raise LabError(f"libvirt did not notice the end of {self!r}")
            time.sleep(0.05)

    def set_balloon(self, mib: int) -> None:
        virsh("setmem", self.uuid, f"{mib}M", "--live")
        actual = f"actual {mib << 10}\n"
        wait_for(f"the balloon of {self!r}", lambda: actual in virsh("dommemstat", self.uuid), 60)

    def domain_xml(self) -> str:
        spec, place = self.spec, self.place
        devices = []
        if spec.disk_bus == "scsi":
            devices.append("<controller type='scsi' model='virtio-scsi'/>")
        if spec.disk_mib:
            thread = " iothread='1'" if spec.iothread and spec.disk_bus == "virtio" else ""
            target = "sda" if spec.disk_bus == "scsi" else "vda"
            devices.append(
                f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'{thread}/>"
                f"<source file='{self.disk_path}'/><target dev='{target}' bus='{spec.disk_bus}'/></disk>"
            )
        if spec.nic:
            tap = f"<target dev={quoteattr(spec.tap)}/>" if spec.tap else ""
            devices.append(
                f"<interface type='bridge'><source bridge='{host.BRIDGE}'/><mac address='{place.mac}'/>{tap}"
                "<model type='virtio'/></interface>"
            )
        kernel = (
            f"<kernel>{place.run_dir}/vmlinux</kernel><initrd>{place.run_dir}/initramfs.gz</initrd>"
            f"<cmdline>{escape(kernel_command_line(spec, place))}</cmdline>"
        )
        return f"""\
<domain type='qemu'>
  <name>{escape(spec.name, {chr(9): "&#9;"})}</name>
  <uuid>{spec.uuid}</uuid>
  <memory unit='MiB'>{spec.memory_mib}</memory>
  <vcpu>{spec.vcpus}</vcpu>
  {"<iothreads>1</iothreads>" if spec.iothread else ""}
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    {kernel if spec.bootable else f"<loader readonly='yes' type='rom'>{place.run_dir}/halt.bin</loader>"}
  </os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>{TB_CACHE_MIB}</tb-cache></tcg></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    {"".join(devices)}
    <controller type='usb' model='none'/>
    <serial type='unix'>
      <source mode='bind' path='{place.file("serial")}'/>
      <log file='{place.file("log")}' append='on'/>
    </serial>
    <memballoon model='virtio'><stats period='1'/></memballoon>
  </devices>
</domain>
"""
