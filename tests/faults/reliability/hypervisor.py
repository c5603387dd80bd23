"""libvirtd that is not there yet, goes, and comes back: one of the bench's own, in a mount namespace."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import time
from collections.abc import Iterator

from proxtop.model import Snapshot, Value
from tests.faults.reliability.bench import INTERVAL_S, Row
from tests.faults.rig import QEMU, Rig, eventually
from tests.faults.supervised import Supervised

_UUID = "5334dd7c-170f-4ea6-89c3-d1a4c59f8a01"
_RETRY_S = 2.0
"""How often the connector looks for a libvirtd that is away."""

_SCRIPT = r"""set -e
for directory in /run/libvirt /var/lib/libvirt /var/log/libvirt /etc/libvirt; do
    mkdir -p $directory
    mount -t tmpfs none $directory
done
mkdir -p /var/lib/libvirt/qemu /etc/libvirt/qemu
printf 'auth_unix_ro = "none"\nauth_unix_rw = "none"\nunix_sock_ro_perms = "0777"\n' > /etc/libvirt/libvirtd.conf
printf 'stdio_handler = "file"\nsecurity_driver = "none"\nuser = "root"\ngroup = "root"\ncgroup_controllers = [ ]\n' \
    > /etc/libvirt/qemu.conf
exec "$@"
"""

_DOMAIN = """<domain type='qemu'><name>proxtop-fault</name><uuid>{uuid}</uuid>
<memory unit='MiB'>16</memory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/{qemu}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/>
<target dev='hda' bus='ide'/></disk>
<memballoon model='none'/></devices></domain>
"""


class _Libvirtd:
    """libvirtd in the fleet's namespace."""

    def __init__(self, fleet: Supervised) -> None:
        self._enter = ["nsenter", f"--mount=/proc/{fleet.process.pid}/ns/mnt"]
        self._pid = pathlib.Path(f"/proc/{fleet.process.pid}/root/run/libvirt/own.pid")

    def start(self) -> None:
        subprocess.run([*self._enter, "libvirtd", "-d", "--pid-file", "/run/libvirt/own.pid"], check=True)

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            pid = self._pid.read_text().strip()
            subprocess.run(["kill", pid], check=True)
            eventually("the end of libvirtd", lambda: not pathlib.Path(f"/proc/{pid}").exists())

    def virsh(self, *words: str) -> None:
        subprocess.run([*self._enter, "virsh", "-q", "-c", "qemu:///system", *words], check=False, timeout=60)


def _figure(snapshot: Snapshot, name: str) -> Value:
    """A figure of the domain, None where there is none."""
    table = snapshot.tables["vm"]
    return dict(zip(table.ids, table.columns.get(name, ()), strict=False)).get(_UUID)


def libvirtd_away(rig: Rig) -> Iterator[Row]:
    """proxtopd is there before libvirtd; then libvirtd is stopped and started again."""
    fleet = Supervised(
        rig.folder,
        config="PROXTOP_CONNECTOR=libvirt\n",
        interval=INTERVAL_S,
        prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"],
    )
    rig.callback(fleet.close)
    pids = fleet.up()
    reason = fleet.until("the reason", lambda found: "cannot connect" in (found.reason or "")).reason
    daemon = _Libvirtd(fleet)
    rig.callback(daemon.stop)
    domain = rig.folder / "domain.xml"
    image = rig.folder / "disk"
    image.write_bytes(b"\0" * (1 << 20))
    domain.write_text(_DOMAIN.format(uuid=_UUID, qemu=QEMU, image=image))

    def whole(found: Snapshot) -> bool:
        figures = [_figure(found, name) for name in ("cpu_total", "disk_size_capacity", "ram_rss")]
        return None not in figures and not found.reason

    begin = time.monotonic()
    daemon.start()
    daemon.virsh("create", str(domain))
    rig.callback(daemon.virsh, "destroy", "proxtop-fault")
    fleet.until("the domain", whole)
    yield Row(
        "libvirtd is started after proxtopd", "nothing: the host's figures were there", _short(reason),
        time.monotonic() - begin,
    )  # fmt: skip

    place = len(fleet.seen)
    daemon.stop()
    reason = fleet.until("the reason", lambda found: bool(found.reason)).reason
    fleet.until("what only libvirt tells is unknown", lambda found: _figure(found, "disk_size_capacity") is None)
    begin = time.monotonic()
    daemon.start()
    fleet.until("the domain", whole)
    seen = [found for _, _, found in fleet.seen[place:]]
    assert all(_figure(found, "cpu_total") is not None for found in seen), "what /proc tells was lost"
    unknown = sum(_figure(found, "disk_size_capacity") is None for found in seen)
    seconds = time.monotonic() - begin
    assert seconds <= _RETRY_S + 2 + 2 * INTERVAL_S + 10
    assert fleet.pids() == pids
    yield Row(
        "libvirtd is stopped, and started again",
        f"the disks' figures in {unknown} cycles; the VM stays, with all that /proc tells",
        _short(reason),
        seconds,
    )


def _short(reason: str | None) -> str:
    return (reason or "").partition(":")[0] + ":" + (reason or "").partition(":")[2].partition(";")[0]
