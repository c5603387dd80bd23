"""What the lab needs of the host and puts there: lock, bridge, directories; and the sweep of what a killed lab left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

ROOT = pathlib.Path("/var/tmp/proxtop-lab")
"""On a disk: the guests' O_DIRECT I/O has to reach a block device. Every guest's command line names a file below it."""
RUNS = ROOT / "runs"
DETACHED = "detached"
"""The run that `make lab` leaves behind; a sweep by another run spares it."""

BRIDGE = "proxlab0"
BRIDGE_MAC = "52:54:00:1a:ff:fe"
# 198.18.0.0/15 is set aside for benchmarks between machines of a lab (RFC 2544): never routed anywhere.
PREFIX = 15
BRIDGE_ADDRESS = "198.18.255.254"
SINK_ADDRESS = "198.19.0.9"
"""What guests send to: the host drops it without an answer (a black-hole route), so a tap counts one direction only."""

COMMANDS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "ip": "iproute2",
    "cpio": "cpio",
    "depmod": "kmod",
    "gcc": "gcc",
    "strip": "binutils",
    "lz4": "lz4",
    "busybox": "busybox-static",
}
LIBVIRT_COMMANDS = {
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
}


class LabError(Exception):
    """The lab can't do what was asked; the message says why."""


class LabMissing(LabError):
    """A package, a right or the guests' kernel is not here."""


def missing(layout: str = "bare") -> str:
    """Why no guest of this layout can be booted here; empty when one can."""
    if os.geteuid() != 0:
        return "the guest lab needs root (taps, libvirt's system socket)"
    if not os.access("/dev/net/tun", os.W_OK):
        return "the guest lab needs /dev/net/tun"
    commands = COMMANDS | (LIBVIRT_COMMANDS if layout == "libvirt" else {})
    packages = sorted({package for command, package in commands.items() if not shutil.which(command)})
    return f"the guest lab needs Debian packages: {' '.join(packages)}" if packages else ""


def run(*command: str, check: bool = True, timeout: float = 120) -> str:
    """A command's standard output; LabError with its last words when it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{command[0]}: {error}") from error
    if check and done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], T], timeout: float) -> T:
    """The first true value of `condition`, polled; LabError when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def locked(wait_s: float) -> Iterator[None]:
    """One lab at a time on a machine: names, taps and the figures of a busy host would clash otherwise."""
    ROOT.mkdir(exist_ok=True)
    with open(ROOT / "lock", "a") as lock:

        def taken() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        wait_for("the lock of another run's guest lab", taken, wait_s)
        yield


def new_run(name: str) -> pathlib.Path:
    """An empty directory for one lab's files, readable by libvirt's QEMU user."""
    path = RUNS / name
    path.mkdir(parents=True)
    for folder in (ROOT, RUNS, path):
        folder.chmod(0o755)
    return path


def processes(run_dir: pathlib.Path) -> list[int]:
    """Every QEMU whose command line names a file of this run."""
    names = (path.name for path in pathlib.Path("/proc").iterdir())
    return [pid for pid in map(int, filter(str.isdigit, names)) if _belongs(pid, run_dir)]


def sweep(run_dir: pathlib.Path) -> None:
    """Kill every QEMU of this run, and remove its directory."""
    pids = processes(run_dir)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait_for(f"the end of process {pid}", lambda pid=pid: gone(pid), 30)  # type: ignore[misc]
    shutil.rmtree(run_dir, ignore_errors=True)


def sweep_leftovers() -> None:
    """What killed labs left. Call with the lock held: then only the detached run may live."""
    for run_dir in RUNS.glob("*"):
        if run_dir.name != DETACHED:
            sweep(run_dir)


def _belongs(pid: int, run_dir: pathlib.Path) -> bool:
    try:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    program = command.split(b"\0", 1)[0].rpartition(b"/")[2]
    return program in (b"kvm", b"qemu-system-x86_64") and f"{run_dir}/".encode() in command


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b")")[2].split()[0] in (b"Z", b"X")


def make_bridge() -> None:
    """The lab's own bridge: an address for the host, no uplink, silent by itself."""
    if pathlib.Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    run("ip", "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    silence(BRIDGE)
    run("ip", "address", "add", f"{BRIDGE_ADDRESS}/{PREFIX}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    run("ip", "route", "replace", "blackhole", SINK_ADDRESS)


def remove_bridge() -> None:
    """Unless another run's guests hang on it."""
    if not any(RUNS.glob("*")):
        run("ip", "link", "delete", BRIDGE, check=False)
        run("ip", "route", "delete", "blackhole", SINK_ADDRESS, check=False)


def silence(interface: str) -> None:
    """No IPv6 chatter of the host's own on a counter that a test reads."""
    with contextlib.suppress(FileNotFoundError):
        pathlib.Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")


def plug_in(tap: str) -> None:
    """Put a tap that QEMU has just made on the bridge."""
    wait_for(f"tap {tap}", pathlib.Path(f"/sys/class/net/{tap}").exists, 30)
    silence(tap)
    run("ip", "link", "set", tap, "master", BRIDGE, "up")
