"""What the fault tests break: a running proxtop with its private fleet, and QEMUs that boot in a tenth of a second.

A machine here has no kernel, only a boot sector: it computes for a while at each tick of its timer, then halts. So its
one vCPU thread burns an even part of a core, and its counters move all the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

T = TypeVar("T")
Line = dict[str, Any]

PATIENCE_S = 30.0
"""How long a condition may take on a machine that others load as well."""

PROXTOP = pathlib.Path(sys.executable).with_name("proxtop")
QEMU = "qemu-system-x86_64"
ROOT = pathlib.Path(__file__).parents[2]

# sti; again: hlt; mov ecx, N; spin: dec ecx; jnz spin; jmp again
_SPINS = 4_000_000
_BUSY = (bytes.fromhex("fbf466b9") + _SPINS.to_bytes(4, "little") + bytes.fromhex("664975fcebf1")).ljust(
    510, b"\0"
) + b"\x55\xaa"
_IDLE = bytes.fromhex("faf4").ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt


def eventually(what: str, condition: Callable[[], T], timeout: float = PATIENCE_S) -> T:
    """The first true value of `condition`, polled; an assertion fails when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    state = state_of(pid)
    return state is not None and state not in "ZX"


def state_of(pid: int) -> str | None:
    """The letter of a process's state, None when there is no such process."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return stat.rpartition(b")")[2].split()[0].decode()


def children(pid: int) -> dict[int, str]:
    """The children of a process and their names; not from `children`, which may leave some out when others end."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                found[int(path.name)] = (path / "comm").read_text().strip()
    return found


class Machine:
    """A small QEMU process. `name` is as the user gave it; QEMU's own escape of commas is added."""

    def __init__(
        self,
        folder: pathlib.Path,
        name: str,
        *,
        identity: str | None = None,
        busy: bool = True,
        memory_mib: int = 16,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.memory_mib = memory_mib
        self.uuid = identity or str(uuid.uuid4())
        self._arguments = tuple(arguments)
        self._image = folder / "boot"
        self._image.write_bytes(_BUSY if busy else _IDLE)
        self.start()

    def start(self) -> None:
        """A new process of the same machine."""
        escaped = self.name.replace(",", ",,")
        command = [QEMU, "-accel", "tcg,thread=multi", "-name", f"guest={escaped},debug-threads=on", "-uuid", self.uuid]
        command += ["-nodefaults", "-display", "none", "-m", str(self.memory_mib), "-smp", "1"]
        command += ["-drive", f"file={self._image},format=raw,if=ide,snapshot=on", *self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        eventually(f"the vCPU of {self.name!r}", lambda: self._process.poll() is not None or self.vcpu())
        assert self._process.poll() is None, f"{self.name!r} did not start"

    @property
    def pid(self) -> int:
        return self._process.pid

    def vcpu(self) -> int | None:
        """The thread of its vCPU."""
        for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                if path.read_text().startswith("CPU 0/"):
                    return int(path.parent.name)
        return None

    def on_cpu_s(self) -> float:
        """Seconds that its vCPU has been on a CPU: the truth to hold a rate against."""
        text = pathlib.Path(f"/proc/{self.pid}/task/{self.vcpu()}/schedstat").read_text()
        return int(text.split()[0]) / 1e9

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it and waits for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)


class Running:
    """A proxtop under test: its lines as they come, its fleet, its end."""

    def __init__(self, runtime: pathlib.Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self.arrived: list[float] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [PROXTOP, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)} | (environment or {}),
            text=True,
            errors="surrogateescape",
        )
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._take), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _take(self, line: str) -> None:
        self.arrived.append(time.monotonic())
        self.lines.append(line)

    @staticmethod
    def _read(stream: Any, take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                take(line.removesuffix("\n"))

    @property
    def pid(self) -> int:
        return self.process.pid

    def fleet(self) -> int:
        """The process of its private fleet."""

        def found() -> int | None:
            return next((pid for pid, name in children(self.pid).items() if name == "pt-fleet"), None)

        return eventually("the private fleet", found)

    def workers(self) -> dict[str, int]:
        """Its fleet's workers by name, as many as there are now."""
        return {name.removeprefix("pt-"): pid for pid, name in children(self.fleet()).items() if name[:3] == "pt-"}

    def cycles(self, count: int, timeout: float = PATIENCE_S) -> list[Line]:
        """The objects of so many lines of JSON that come from now on."""
        first = len(self.lines)
        eventually(f"{count} lines", lambda: len(self.lines) >= first + count or self.ended(), timeout)
        assert len(self.lines) >= first + count, f"ended with {self.process.returncode}: {self.errors}"
        return [json.loads(line) for line in self.lines[first : first + count]]

    def until(
        self, what: str, condition: Callable[[Line], bool], timeout: float = PATIENCE_S, since: int | None = None
    ) -> Line:
        """The first cycle from now on for which the condition holds; or from line `since` on."""
        seen = len(self.lines) if since is None else since

        def found() -> Line | None:
            nonlocal seen
            while seen < len(self.lines):
                line: Line = json.loads(self.lines[seen])
                seen += 1
                if condition(line):
                    return line
            assert not self.ended(), f"ended with {self.process.returncode}: {self.errors}"
            return None

        line = eventually(what, found, timeout)
        assert line is not None
        return line

    def all(self) -> list[Line]:
        """Every cycle so far."""
        return [json.loads(line) for line in list(self.lines)]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def status(self, timeout: float = PATIENCE_S) -> int:
        """Waits for its end: the exit status."""
        status = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return status

    def data_ended(self) -> None:
        """Waits until everyone has closed its standard output."""
        eventually("the end of the data", lambda: not self._threads[0].is_alive())

    def stop(self) -> int:
        """Ends it as `kill` does."""
        if not self.ended():
            self.process.terminate()
        return self.status()

    def close(self) -> None:
        """The end of the test: whatever is left of it goes."""
        if not self.ended():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if not self.ended():
            self.process.kill()
        self.status()


class Rig(contextlib.ExitStack):
    """Machines and clients of one test; all of it is gone when the test ends."""

    def __enter__(self) -> Self:
        super().__enter__()
        # pytest's own directories are too long for the path of a socket.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ptf-"))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o700)
        return self

    def machine(self, name: str, **options: Any) -> Machine:
        """A running machine."""
        folder = self.folder / f"machine-{uuid.uuid4()}"
        folder.mkdir()
        machine = Machine(folder, name, **options)
        self.callback(machine.kill)
        return machine

    def proxtop(self, *arguments: str, **options: Any) -> Running:
        """A running proxtop; `--qemu` unless the arguments say what to attach to."""
        told = any(word.startswith(("--bus", "--proxmox", "--libvirt", "--qemu", "-c")) for word in arguments)
        own = [] if told else ["--qemu"]
        running = Running(self.runtime, *own, *arguments, **options)
        self.callback(running.close)
        return running

    def watch(self, *machines: Machine, frequency: float = 0.5, options: Sequence[str] = ()) -> Running:
        """A proxtop that prints these machines as JSON."""
        selection = [f"--vm={','.join(machine.uuid for machine in machines)}"] if machines else []
        return self.proxtop("-p", "json", "-f", str(frequency), "--verbose", *selection, *options)


def domain(line: Line, machine: Machine) -> Line | None:
    """The machine's figures in a cycle, None where it is not there."""
    found = [row for row in line["domains"] if row["UUID"] == machine.uuid]
    assert len(found) <= 1, f"{machine.uuid} twice in one cycle"
    return found[0] if found else None


def numbers(value: Any) -> Iterator[float]:
    """Every number of a cycle."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def one_line(errors: Sequence[str]) -> str:
    """The only line of stderr, proxtop's own."""
    assert len(errors) == 1, errors
    assert errors[0].startswith("proxtop: "), errors
    return errors[0]


def proxtop(*arguments: str, timeout: float = PATIENCE_S, **options: Any) -> subprocess.CompletedProcess[str]:
    """A proxtop that ends by itself."""
    return subprocess.run(
        [PROXTOP, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **options
    )
