"""The process of a private fleet: nothing of the client's is in it but what it was given. A module of each test's own
stands in for the fleet."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator

import pytest

SETUP = "dict(verbose=False)"
HEAD = "import json, os, signal, sys\nfrom proxtop import attach, child\nchild.FLEET = 'its_fleet'\nours = True\n"
FLEET_HEAD = "import fcntl, json, os, signal, sys\n"
PATIENCE_S = 20.0


class Client:
    """A process that starts a private fleet."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.runtime.mkdir()
        paths = [str(folder), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
        self.environ = {
            **os.environ, "PYTHONPATH": os.pathsep.join(paths), "XDG_RUNTIME_DIR": str(self.runtime), "TERM": "xterm",
        }  # fmt: skip
        self.environ.pop("PYTHONUNBUFFERED", None)

    def fleet(self, body: str) -> None:
        """What the fleet does: the body of main(argv); it finds setup, ready, lifeline, lock."""
        told = "    setup = json.loads(argv[0])\n    ready, lifeline, lock = map(int, argv[1:])\n"
        text = FLEET_HEAD + "def main(argv):\n" + told + textwrap.indent(textwrap.dedent(body), "    ")
        (self.folder / "its_fleet.py").write_text(text)

    def run(
        self, code: str, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> tuple[int, str, str]:
        """Runs that client to its end: exit status, standard output and standard error."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", HEAD + textwrap.dedent(code), *arguments], cwd=self.folder, env=self.environ,
            stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        return done.returncode, done.stdout or "", done.stderr


@pytest.fixture
def client() -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="ptc-") as folder:  # pytest's own are too long for the path of a socket
        yield Client(pathlib.Path(folder))


STARTS = f"""
    fleet = attach.PrivateFleet({SETUP})
    said = os.read(fleet.ready, 65536).decode()
    _, status = os.waitpid(fleet.pid, 0)
    fleet.close()
    sys.stdout.write(json.dumps([said, os.waitstatus_to_exitcode(status)]))
"""
SAYS = """
    links = {int(n): os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
             if os.path.lexists(f"/proc/self/fd/{n}")}
    handled = [n for n in signal.valid_signals() if callable(signal.getsignal(n))]
    said = {
        "descriptors": links, "given": sorted([ready, lifeline, lock]), "handled": handled,
        "wakes": signal.set_wakeup_fd(-1), "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "leads": os.getsid(0) == os.getpid(), "forked": hasattr(sys.modules["__main__"], "ours"),
    }
    os.write(ready, json.dumps(said).encode())
    return 0
"""


def test_a_fork_has_three_descriptors_a_session_and_signals_of_its_own(client: Client) -> None:
    client.fleet(SAYS)
    code = """
    kept = [open(os.devnull), open("data", "w"), os.pipe(), os.pipe()]
    signal.set_wakeup_fd(os.pipe2(os.O_NONBLOCK)[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    """
    status, output, errors = client.run(code + STARTS + "    assert signal.pthread_sigmask(0, ()) == {signal.SIGUSR2}")
    assert (status, errors) == (0, "")
    text, ended = json.loads(output)
    said = json.loads(text)
    assert ended == 0
    assert said["forked"]
    assert said["leads"]
    assert (said["handled"], said["wakes"], said["blocked"]) == ([], -1, 0)
    assert sorted(map(int, said["descriptors"])) == [0, 1, 2, *said["given"]]
    assert said["descriptors"]["0"] == said["descriptors"]["1"] == os.devnull


def test_with_a_thread_about_it_gets_an_interpreter_of_its_own(client: Client) -> None:
    client.fleet(SAYS)
    code = "    import threading\n    threading.Thread(target=signal.pause, daemon=True).start()\n"
    status, output, errors = client.run(code + STARTS)
    assert (status, errors) == (0, "")
    said = json.loads(json.loads(output)[0])
    assert not said["forked"]
    assert said["leads"]
    assert sorted(map(int, said["descriptors"])) == [0, 1, 2, *said["given"]]


def test_what_the_client_has_yet_to_write_and_to_do_is_done_once(client: Client) -> None:
    client.fleet("""
    sys.stdout.write("lost")
    sys.stdout.flush()
    sys.stderr.write("the fleet's\\n")
    sys.stderr.flush()
    os.write(ready, b"ready")
    return 0
    """)
    code = """
    import atexit
    atexit.register(os.write, 2, b"at the end\\n")
    file = open("data", "w")
    file.write("of a file;")
    sys.stdout.write("of the output;")
    sys.stderr.write("of the errors;")
    """
    status, output, errors = client.run(code + STARTS)
    assert status == 0
    assert output == 'of the output;["ready", 0]'
    assert errors == "of the errors;the fleet's\nat the end\n"
    assert (client.folder / "data").read_text() == "of a file;"


@pytest.mark.parametrize(("verbose", "lines"), [("False", 1), ("True", 2)])
def test_a_fleet_that_fails_says_why_in_one_line_and_more_only_if_asked(
    client: Client, verbose: str, lines: int
) -> None:
    client.fleet("raise ValueError('no such thing')")
    status, output, errors = client.run(STARTS.replace("verbose=False", f"verbose={verbose}"))
    assert (status, output) == (0, '["", 1]')
    assert errors.splitlines()[0] == "proxtop: the private fleet failed: ValueError: no such thing"
    assert ("Traceback" in errors) == (lines > 1)
    assert lines > 1 or errors.count("\n") == 1


def test_a_fleet_that_is_not_installed_is_said_in_one_line(client: Client) -> None:
    status, output, errors = client.run(STARTS)
    assert (status, output) == (0, '["", 1]')
    assert errors == "proxtop: the private fleet failed: ModuleNotFoundError: No module named 'its_fleet'\n"


def test_the_lifeline_ends_with_a_killed_client_and_the_lock_is_held_on(client: Client) -> None:
    client.fleet("""
    assert os.read(lifeline, 1) == b""
    try:
        fcntl.flock(os.open(setup["directory"] + "/lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("held\\n")
    return 0
    """)
    status, _, errors = client.run(f"    attach.PrivateFleet({SETUP})\n    os.kill(os.getpid(), signal.SIGKILL)")
    assert (status, errors) == (-signal.SIGKILL, "held\n")


PROXTOP = "    from proxtop import cli\n    sys.exit(cli.main(sys.argv[1:]))"
PROFILER = "    from proxprofiler.cli import main\n    sys.exit(main(sys.argv[1:]))"
SAYS_HOW = """
    spared = [name for name in ("asyncio", "prompt_toolkit", "proxtop.printers") if name in sys.modules]
    how = "forked" if hasattr(sys.modules["__main__"], "ours") else "spawned"
    os.write(ready, f"error {how} with {spared}\\n".encode())
    os.read(lifeline, 1)
    return 0
"""


@pytest.mark.parametrize("printer", ["json", "text"])
def test_a_printer_forks_its_fleet(client: Client, printer: str) -> None:
    client.fleet(SAYS_HOW)
    status, output, errors = client.run(PROXTOP, "--cpu", "--node=elsewhere", "-p", printer)
    assert (status, output, errors) == (2, "", "proxtop: forked with []\n")


def test_the_screen_forks_its_fleet_before_it_has_a_loop(client: Client) -> None:
    client.fleet(SAYS_HOW)
    ours, theirs = pty.openpty()
    try:
        status, _, errors = client.run(PROXTOP, "--cpu", "--node=elsewhere", stdin=theirs, stdout=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (status, errors) == (2, "proxtop: forked with []\n")


def test_the_profiler_forks_its_fleet(client: Client) -> None:
    client.fleet(SAYS_HOW)
    status, _, errors = client.run(PROFILER, "--cpu", "--node=elsewhere", f"--state-dir={client.folder}/state")
    assert status == 2
    assert "proxtop: forked with" in errors


def test_a_client_that_asked_the_fleet_of_the_host_in_vain_forks_one(client: Client) -> None:
    client.fleet(SAYS_HOW)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(str(client.folder / "subscribe.sock"))
        silent.listen()
        code = (
            "    from proxtop import buses\n    from proxtop.bus import endpoints\n    endpoints.LOCAL = os.getcwd()\n"
        )
        began = time.monotonic()
        status, _, errors = client.run(code + "    buses._STATUS_WAIT_S = 0.2\n" + PROXTOP, "--cpu", "-p", "json")
    assert time.monotonic() - began > 0.2
    assert (status, errors) == (2, "proxtop: forked with []\n")
