"""What other monitors cost on the same guests: collectd's virt plugin and prometheus-libvirt-exporter, out of Debian's
packages, unpacked and not installed: an installed one would run as a service from then on."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator

from bench import watch
from bench.figures import Figure, note
from tests.lab import image

PACKAGES = ("collectd-core", "prometheus-libvirt-exporter")
SECONDS = 15
SETTLE_S = 3
_COLLECTD = """\
Hostname "bench"
Interval 1
BaseDir "{home}"
PIDFile "{home}/pid"
PluginDir "{root}/usr/lib/collectd"
TypesDB "{root}/usr/share/collectd/types.db"
LoadPlugin virt
<Plugin virt>
  Connection "qemu:///system"
  RefreshInterval 60
</Plugin>
"""

Ask = Callable[[], None]


def unpacked() -> pathlib.Path | None:
    """Where the packages are unpacked; None, with a note why, where they can't be had."""
    root = image.cache_dir() / "peers"
    if root.exists():
        return root
    with tempfile.TemporaryDirectory(dir=image.cache_dir()) as scratch:
        command = ["apt-get", "download", "-q", *PACKAGES]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found = list(pathlib.Path(scratch).glob("*.deb"))
        if len(found) != len(PACKAGES):
            note(f"no peers to compare with: apt-get download {' '.join(PACKAGES)}: {done.stderr.strip()[-200:]}")
            return None
        tree = pathlib.Path(scratch) / "tree"
        for package in found:
            subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
        tree.rename(root)
    return root


def compare(guests: int) -> list[Figure]:
    """CPU seconds a second of each peer and of libvirtd for it, asked once a second."""
    root = unpacked()
    if root is None:
        return []
    section = f"peers on libvirt, {guests} VMs"
    found = []
    for name, command in (("collectd's virt plugin", _collectd), ("prometheus-libvirt-exporter", _exporter)):
        note(f"{section}: {name}")
        load = watch.load()
        with command(root) as (process, ask):
            time.sleep(SETTLE_S)
            own, daemons = watch.tree(process.pid), watch.named("libvirtd")
            before, begun = watch.usages((*own, *daemons)), time.monotonic()
            for turn in range(SECONDS):
                ask()
                time.sleep(max(0.0, begun + turn + 1 - time.monotonic()))
            took, after = time.monotonic() - begun, watch.usages((*own, *daemons))
        assert process.returncode is not None
        for what, pids in ((f"CPU a second of {name}", own), (f"CPU a second of libvirtd for {name}", daemons)):
            cpu = sum((after[pid] - before[pid]).cpu for pid in pids) / took
            found.append(Figure(section, what, cpu, "s", load=load))
    return found


@contextlib.contextmanager
def _collectd(root: pathlib.Path) -> Iterator[tuple[subprocess.Popen[bytes], Ask]]:
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-") as home:
        path = pathlib.Path(home) / "collectd.conf"
        path.write_text(_COLLECTD.format(home=home, root=root))
        with _running(f"{root}/usr/sbin/collectd", "-f", "-C", str(path)) as process:
            yield process, lambda: None


@contextlib.contextmanager
def _exporter(root: pathlib.Path) -> Iterator[tuple[subprocess.Popen[bytes], Ask]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert b"libvirt_domain" in answer.read()

    program = f"{root}/usr/bin/prometheus-libvirt-exporter"
    options = ("--web.listen-address", f"127.0.0.1:{port}", "--libvirt.uri", "qemu:///system")
    with _running(program, *options) as process:
        deadline = time.monotonic() + 20
        while True:
            try:
                ask()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield process, ask


@contextlib.contextmanager
def _running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
    finally:
        process.terminate()
        process.wait(30)
