"""proxtop in a real terminal: a tmux of its own, driven by keys and read off the screen."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

MAIN = "import proxtop.__main__; raise SystemExit(proxtop.__main__.main())"
_WAIT_S = 20.0


class Terminal:
    """`proxtop ARGUMENTS` started by a shell in tmux, in a `with` block: the shell is there when proxtop has ended, so
    that the terminal's state can be seen. Its configuration and private fleets live in a directory of its own."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (80, 24), term: str = "", code: str = MAIN,
                 **env: str) -> None:  # fmt: skip
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="proxtop-tui-"))
        script = self.home / "run.py"
        script.write_text(code)
        command = shlex.join([sys.executable, "-P", str(script), *arguments])
        self.command = f"TERM={term} {command}" if term else command
        self._size = size
        self._env = {
            **{name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR", "TMUX_PANE")},
            "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config"),
            "PS1": "READY$ ", "TZ": "UTC", "LC_ALL": "C.UTF-8", **env,
        }  # fmt: skip

    def __enter__(self) -> Self:
        columns, rows = map(str, self._size)
        self.tmux("new-session", "-d", "-x", columns, "-y", rows, "sh", "-i")
        self.wait("READY$")
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.type(self.command + "; echo status $?\r")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = self.screen() if error is not None else ""
        self.tmux("kill-server", check=False)
        deadline = time.monotonic() + _WAIT_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            os.kill(pid, 9)
        files = sorted(path.name for path in self.home.glob("proxtop-fleet-*"))
        shutil.rmtree(self.home, ignore_errors=True)
        if error is not None:
            error.add_note(f"the screen was:\n{last}")
            return
        assert not left, f"processes were left: {left}"
        assert not files, f"files were left: {files}"

    def tmux(self, *words: str, check: bool = True) -> str:
        """A command of tmux; what it said."""
        done = subprocess.run(
            ["tmux", "-S", str(self.home / "tmux"), "-f", os.devnull, *words],
            env=self._env, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def keys(self, *names: str) -> None:
        """Presses keys, by tmux's names."""
        self.tmux("send-keys", *(";" if name == "\\;" else name for name in names))

    def type(self, text: str) -> None:
        """Writes text as it is, also what tmux would take for the name of a key."""
        self.tmux("send-keys", "-l", text)

    def click(self, x: int, y: int, button: int = 0) -> None:
        """Presses and releases a mouse button at that cell, counted from 0, as xterm's SGR mode tells it."""
        for end in "Mm" if button < 64 else "M":
            self.type(f"\x1b[<{button};{x + 1};{y + 1}{end}")

    def resize(self, columns: int, rows: int) -> None:
        """Gives the terminal another size."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, codes: bool = False) -> str:
        """What is on the screen; with escape codes where `codes`."""
        return self.tmux("capture-pane", "-p", *(["-e", "-N"] if codes else []))

    @property
    def lines(self) -> list[str]:
        """The screen's lines."""
        return self.screen().split("\n")

    def wait(self, wanted: str | Callable[[str], bool], timeout: float = _WAIT_S) -> str:
        """The first screen that has this text, or for which this is true."""
        test = wanted if callable(wanted) else lambda text: wanted in text
        deadline = time.monotonic() + timeout
        while not test(text := self.screen()):
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {wanted!r}; the screen is:\n{text}"
            time.sleep(0.02)
        return text

    def until(self, condition: Callable[[], bool], timeout: float = _WAIT_S) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """The processes that belong to this terminal: proxtop, its fleet."""
        word = f"XDG_RUNTIME_DIR={self.home}\0".encode()
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if word in path.read_bytes() + b"\0" and int(path.parent.name) != os.getpid():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def python(self) -> list[int]:
        """Those of them that run Python: proxtop first, then its fleet."""
        found = []
        for pid in sorted(self.processes()):
            try:
                if b"python" in pathlib.Path(f"/proc/{pid}/exe").readlink().name.encode():
                    found.append(pid)
            except OSError:
                continue
        return found

    def ended(self, timeout: float = _WAIT_S) -> None:
        """Waits until the shell has the terminal again, sees that it is sane and that no process stays behind."""
        self.wait(lambda text: "READY$" in text.rstrip().split("\n")[-1], timeout)
        self.until(lambda: not self.python(), timeout)
        self.type('clear; stty -a | grep -o -e " -*icanon" -e " -*echo " -e " -*isig"; echo "modes over"\r')
        text = self.wait("\nmodes over")
        assert "-icanon" not in text, text
        assert "-isig" not in text, text
        assert "-echo" not in text, text
        flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}#{mouse_standard_flag}#{mouse_sgr_flag}"
        modes = self.tmux("display-message", "-p", flags).strip()
        assert modes == "0 1 000", f"alternate screen, cursor, mouse: {modes}"
