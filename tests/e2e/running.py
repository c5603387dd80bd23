"""The command line as a user runs it: proxtop as a child, its lines as they come, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

SCRIPT = pathlib.Path(sys.executable).with_name("proxtop")
MAIN = "import proxtop.cli; raise SystemExit(proxtop.cli.main())"
COMMAND = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-c", MAIN)
_AHEAD = ("chrt", "--rr", "1")
_END_S = 10.0


def _may_go_ahead() -> bool:
    return shutil.which("chrt") is not None and subprocess.run([*_AHEAD, "true"], capture_output=True).returncode == 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of standard output, and when it came: seconds after the command was started."""

    after_s: float
    text: str

    @property
    def data(self) -> dict[str, Any]:
        """The line as a JSON object."""
        value = json.loads(self.text)
        assert isinstance(value, dict)
        return value


class Proxtop:
    """`proxtop ARGUMENTS` in a `with` block; its private fleets live in a directory of their own.

    ahead: before all others in the queue for a core, for what is to be timed: the guests' load and whatever else runs
    on the same cores then count as little as on a machine of its own. By a real-time class, where that is allowed:
    niceness counts within a session only (sched(7), autogroup).
    """

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, ahead: bool = False) -> None:
        self.arguments = arguments
        self._command = (*_AHEAD, *COMMAND) if ahead and _may_go_ahead() else COMMAND
        self.runtime = pathlib.Path(tempfile.mkdtemp(prefix="proxtop-run-"))
        self._env = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), **(env or {})}
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._stderr: list[str] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [*self._command, *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._env,
        )
        for target in (self._read_lines, self._read_errors):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_S)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        left = self._left(_END_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(_END_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        remains = sorted(path.name for path in self.runtime.iterdir())
        shutil.rmtree(self.runtime, ignore_errors=True)
        if error is None:
            assert not left, f"{self} left processes: {left}"
            assert not remains, f"{self} left files: {remains}"

    def __str__(self) -> str:
        return " ".join(("proxtop", *self.arguments))

    @property
    def stderr(self) -> str:
        """What came on standard error so far; all of it once the process has ended."""
        return "".join(self._stderr)

    def line(self, timeout: float = 15) -> Line:
        """The next line; fails with what standard error says when there is none in time."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self}: no line within {timeout:g} s; stderr: {self.stderr!r}") from None
        assert line is not None, f"{self} ended with {self.process.wait()}; stderr: {self.stderr!r}"
        return line

    def lines(self, count: int, timeout: float = 15) -> list[Line]:
        """The next lines; the timeout is for each."""
        return [self.line(timeout) for _ in range(count)]

    def wait(self, timeout: float = 15) -> int:
        """The exit status; standard error is complete then."""
        status = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return status

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._lines.put(Line(time.monotonic() - self._began, text))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self._stderr.append(text)

    def _left(self, timeout: float) -> list[int]:
        """Processes of our private fleets that are still there when the time is over."""
        deadline = time.monotonic() + timeout
        while (left := list(self.fleet())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def fleet(self) -> Iterator[int]:
        """The processes of our private fleets: forks of ours, with the environment that we gave."""
        word = b"\0XDG_RUNTIME_DIR=%b\0" % os.fsencode(self._env["XDG_RUNTIME_DIR"])
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if word in b"\0" + path.read_bytes() and int(path.parent.name) != self.process.pid:
                    yield int(path.parent.name)


def run(
    arguments: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 30, *, ahead: bool = False
) -> tuple[int, list[Line], str]:
    """A command that ends by itself: (exit status, lines, standard error)."""
    found: list[Line] = []
    with Proxtop(*arguments, env=env, ahead=ahead) as proxtop:
        status = proxtop.wait(timeout)
        while (line := proxtop._lines.get()) is not None:
            found.append(line)
        return status, found, proxtop.stderr
