"""One guest, whatever its layout: its files, its console, its end."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import secrets
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import ClassVar

from tests.lab import host
from tests.lab.host import LabError, wait_for
from tests.lab.spec import Spec

READY = b"LAB-READY"
TB_CACHE_MIB = 16
"""TCG's translation cache: QEMU's default of 1 GiB fills up as guests run; below this a boot takes twice as long."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a guest's files are, and its address: `number` is unique among the guests of a machine."""

    run_dir: pathlib.Path
    number: int

    def file(self, kind: str) -> pathlib.Path:
        return self.run_dir / f"{self.number}.{kind}"

    @property
    def mac(self) -> str:
        return f"52:54:00:1a:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def address(self) -> str:
        return f"198.18.{self.number >> 8}.{self.number & 255}"


class Guest:
    """A running guest. `pid` and `tap` are read anew each time, so they are right after a restart."""

    layout: ClassVar[str]

    def __init__(self, spec: Spec, place: Place) -> None:
        self.spec = spec
        self.place = place
        self.name, self.uuid = spec.name, spec.uuid
        self.vmid: int | None = None
        self.address = place.address
        self.mac = place.mac
        self.disk_path = place.file("raw") if spec.disk_mib else None
        self.qmp_path: pathlib.Path | None = None

    def __repr__(self) -> str:
        return f"<{self.layout} guest {self.name!r}>"

    @property
    def pid(self) -> int:
        """QEMU's process; LabError when there is none."""
        raise NotImplementedError

    @property
    def tap(self) -> str:
        """The name of its network interface on the host."""
        raise NotImplementedError

    def _launch(self) -> None:
        """Start QEMU; LabError when that fails at once."""
        raise NotImplementedError

    def _after_kill(self) -> None:
        """Whatever the layout has to forget once the process is gone."""

    def set_balloon(self, mib: int) -> None:
        """What the balloon shall leave the guest; returns once it does."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        with contextlib.suppress(LabError):
            return not host.gone(self.pid)
        return False

    # -- its life

    def start(self) -> None:
        """Launch without waiting; see `wait_ready`."""
        if self.disk_path and not self.disk_path.exists():
            _make_disk(self.disk_path, self.spec.disk_mib)
        self.place.file("log").write_bytes(b"")
        self._launch()
        if self.spec.nic:
            host.plug_in(self.tap)

    def wait_ready(self, timeout: float = 90) -> None:
        """Until the guest's init has started its load and listens."""

        def ready() -> bool:
            if not self.spec.bootable or READY in self.place.file("log").read_bytes():
                return True
            if not self.running:
                raise LabError(f"{self!r} has ended: {self._last_words()}")
            return False

        try:
            wait_for(f"{self!r} to be ready", ready, timeout)
        except LabError as error:
            raise LabError(f"{error}; its console: {self.console_text()[-300:]!r}") from None
        if self.spec.balloon_mib:
            self.set_balloon(self.spec.balloon_mib)

    def stop(self) -> None:
        """End the guest for good, as `qm stop` or `virsh destroy` would."""
        self.kill()

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send QEMU a deadly signal and wait for its end; also ends a stopped (SIGSTOP) one."""
        with contextlib.suppress(LabError, ProcessLookupError):
            pid = self.pid
            os.kill(pid, sig)
            os.kill(pid, signal.SIGCONT)
            wait_for(f"the end of {self!r}", lambda: self._reaped(pid), 30)
        self._after_kill()

    def _reaped(self, pid: int) -> bool:
        return host.gone(pid)

    def restart(self) -> None:
        """The same guest with a new process."""
        self.stop()
        self.start()
        self.wait_ready()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self.place.file("stderr").read_text(errors="replace").strip()[-500:]
        return ""

    # -- its inside

    def console_text(self) -> str:
        """All that the serial console has printed."""
        return self.place.file("log").read_text(errors="replace")

    def run(self, command: str, *, check: bool = True, timeout: float = 30) -> str:
        """A shell command's output, from inside the guest; LabError when it fails. One at a time."""
        if "\n" in command:
            raise LabError("one line only")
        token = secrets.token_hex(4)
        begin, end = f"<{token}\n".encode(), f"\n>{token} ".encode()
        with socket.socket(socket.AF_UNIX) as serial:
            serial.settimeout(timeout)
            serial.connect(str(self.place.file("serial")))
            serial.sendall(f"\n{token} {command}\n".encode())
            received = b""
            while end not in b"\n" + received or not received.endswith(b"\n"):
                try:
                    chunk = serial.recv(65536)
                except TimeoutError:
                    raise LabError(f"{self!r} did not answer {command!r} within {timeout:.0f} s") from None
                if not chunk:
                    raise LabError(f"{self!r} hung up on {command!r}")
                received += chunk.replace(b"\r", b"")
        output, _, status = received.partition(begin)[2].rpartition(end[1:])
        if check and int(status):
            raise LabError(
                f"{self!r}: {command!r} failed with {int(status)}: {output.decode(errors='replace').strip()}"
            )
        return output.decode(errors="replace")

    def set_load(self, *loads: str) -> None:
        """Replace what the guest does, e.g. `set_load("busy:1", "write:655360")`; without arguments it idles."""
        self.run("killall load 2>/dev/null; true")
        if loads:
            self.run(f"start-load {shlex.join(loads)} > /dev/null 2>&1")

    @contextlib.contextmanager
    def loaded(self, *loads: str) -> Iterator[None]:
        """`set_load` for a while; then what the guest booted with again."""
        self.set_load(*loads)
        try:
            yield
        finally:
            self.set_load(*_loads(self.spec))


def _loads(spec: Spec) -> tuple[str, ...]:
    return tuple(load for load in (spec.load, spec.disk_load, spec.net_load) if load)


def _make_disk(path: pathlib.Path, mib: int) -> None:
    """Written in full: the host's file system answers a read of an unwritten block without touching the disk."""
    with open(path, "wb", buffering=0) as disk:
        for _ in range(mib):
            disk.write(b"\xa5" * (1 << 20))
        os.fdatasync(disk)
        os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kernel_command_line(spec: Spec, place: Place) -> str:
    words = ["console=ttyS0 quiet nokaslr panic=-1 ipv6.disable=1"]
    words.append(f"lab.ip={place.address}/{host.PREFIX} lab.bridge={host.BRIDGE_MAC} lab.sink={host.SINK_ADDRESS}")
    if spec.disk_bus == "scsi":
        words.append("lab.scsi=1")
    return " ".join([*words, spec.kernel_arguments()])


def write_halting_firmware(path: pathlib.Path) -> None:
    """64 KiB that end in a reset vector of `cli; hlt; jmp back`: a guest that never wakes up."""
    path.write_bytes(b"\xfa\xf4\xeb\xfc".ljust(16, b"\x90").rjust(1 << 16, b"\x90"))


def without_huge_pages() -> None:
    """For a child before exec: huge pages would make all of a small guest's memory resident (prctl(2))."""
    pr_set_thp_disable = 41
    ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)


def spawn(
    arguments: list[str], executable: str | None = None, stderr: pathlib.Path | None = None, umask: int = 0o022
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    with open(stderr or os.devnull, "wb") as errors:
        return subprocess.Popen(
            arguments,
            executable=executable,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            umask=umask,
            preexec_fn=without_huge_pages,
        )
