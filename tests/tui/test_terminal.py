"""The program in a real terminal on a bus: sizes, ends, kinds of terminal. Every key with guests: test_guests.py."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.tui.feed import Feed
from tests.tui.terminal import Terminal

STATUS = "proxtop | Refresh:"


@pytest.fixture
def feed(tmp_path: pathlib.Path) -> Iterator[Feed]:
    with Feed(tmp_path / "bus.sock") as feed:
        yield feed


@pytest.mark.parametrize("name", [(), ("-p", "ncurses"), ("-p", "tui")])
def test_a_terminal_opens_the_screen_and_q_gives_it_back(feed: Feed, name: tuple[str, ...]) -> None:
    with Terminal("--bus", feed.uri, *name) as terminal:
        terminal.wait("lab-busy")
        assert terminal.lines[0].startswith("proxtop | Refresh: 0.5s | View: ALL | VMs: 3 | Press ? help")
        terminal.keys("q")
        terminal.wait("status 0")
        terminal.ended()


@pytest.mark.parametrize("size", [(80, 24), (300, 100), (20, 5), (160, 50), (40, 8)])
def test_any_size_will_do_and_can_change_at_any_moment(feed: Feed, size: tuple[int, int]) -> None:
    with Terminal("--bus", feed.uri, size=size) as terminal:
        terminal.wait("too small" if size == (20, 5) else STATUS)
        for columns, rows in ((100, 30), (20, 5), (200, 60), (3, 2), size):
            terminal.resize(columns, rows)
        terminal.wait("too small" if size == (20, 5) else "lab-busy")
        terminal.keys("q")
        terminal.ended()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 0)])
def test_a_signal_leaves_the_terminal_sane(feed: Feed, number: int, status: int) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        os.kill(terminal.python()[0], number)
        terminal.wait(f"status {status}")
        terminal.ended()


def test_ctrl_c_quits(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        terminal.keys("C-c")
        terminal.ended()


def test_a_crash_is_one_line_and_leaves_the_terminal_sane(feed: Feed) -> None:
    code = (
        "import proxtop.cli, proxtop.tui.app as app\n"
        "render = app.render\n"
        "def crash(state, *rest):\n"
        "    if state.human: raise KeyError('the fault of this test')\n"
        "    return render(state, *rest)\n"
        "app.render = crash\n"
        "raise SystemExit(proxtop.cli.main())\n"
    )
    with Terminal("--bus", feed.uri, code=code) as terminal:
        terminal.wait("lab-busy")
        terminal.keys("u")
        text = terminal.wait("status 1")
        line = next(line for line in text.split("\n") if line.startswith("proxtop: "))
        assert "internal error: KeyError: 'the fault of this test'" in line
        assert "Traceback" not in text
        terminal.ended()


def test_a_terminal_that_disappears_ends_the_program() -> None:
    with Terminal("--qemu", "--cpu") as terminal:
        terminal.wait(STATUS)
        terminal.until(lambda: len(terminal.python()) > 3)
        terminal.tmux("kill-server")
        terminal.until(lambda: not terminal.python())


def test_a_fleet_of_ones_own_ends_with_the_screen() -> None:
    with Terminal("--qemu", "--cpu") as terminal:
        terminal.wait(lambda text: STATUS in text and "VMs: -" not in text)
        assert len(terminal.python()) > 3
        terminal.keys("q")
        terminal.ended()


def test_a_suspended_screen_comes_back(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        terminal.keys("C-z")
        terminal.wait(lambda text: "READY$" in text.rstrip().split("\n")[-1])
        terminal.type("fg\r")
        terminal.wait("lab-busy")
        terminal.keys("q")
        terminal.ended()


def test_a_lost_connection_is_said_and_found_again(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        feed.stop()
        terminal.wait("trying again")
        terminal.wait(lambda text: "OLD:" in text.split("\n")[0])
        assert "lab-busy" in terminal.screen(), "what was there stays, greyed"
        feed.start()
        terminal.wait(lambda text: "trying again" not in text and "OLD:" not in text)
        terminal.keys("q")
        terminal.ended()


@pytest.mark.parametrize("kind", [{"term": "vt100"}, {"NO_COLOR": "1"}])
def test_without_colours_nothing_is_coloured(feed: Feed, kind: dict[str, str]) -> None:
    with Terminal("--bus", feed.uri, **kind) as terminal:  # type: ignore[arg-type]
        terminal.wait("lab-busy")
        codes = terminal.screen(codes=True)
        assert not [part for part in codes.split("\x1b[")[1:] if part[:2] in ("30", "31", "33", "41", "43", "46")]
        terminal.keys("q")
        terminal.ended()


def test_a_number_of_runs_ends_by_itself(feed: Feed) -> None:
    with Terminal("--bus", feed.uri, "--runs=2") as terminal:
        terminal.wait("status 0")
        terminal.ended()


def test_a_path_without_programs_will_do(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        terminal.keys("q")
        terminal.ended()
        terminal.type(f"clear; PATH=/nonexistent {terminal.command}\r")
        terminal.wait("lab-busy")
        terminal.keys("q")
        terminal.ended()


@pytest.mark.parametrize("name", ["tui", "ncurses"])
def test_without_a_terminal_the_screen_is_refused_in_one_line(name: str) -> None:
    code = "import proxtop.__main__; raise SystemExit(proxtop.__main__.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "-p", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no terminal" in done.stderr


def test_what_prints_does_not_load_the_screen() -> None:
    code = (
        "import sys, contextlib, proxtop.cli\n"
        "with contextlib.suppress(SystemExit): proxtop.cli.main(['-p', 'json', '--qemu', '--cpu', '--runs=1'])\n"
        "sys.exit(any(name.startswith(('prompt_toolkit', 'proxtop.tui')) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_settings_are_written_and_read_again(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        terminal.wait("lab-busy")
        terminal.keys("c")
        terminal.keys("u")
        terminal.keys(">")
        terminal.wait(lambda text: "%RDYv" in text and "[H]" in text)
        terminal.keys("W")
        terminal.wait("settings written to")
        terminal.keys("q")
        terminal.ended()
        terminal.type(f"clear; {terminal.command}\r")
        terminal.wait(lambda text: "View: CPU [H]" in text and "%RDYv" in text)
        terminal.keys("q")
        terminal.ended()


def test_a_broken_settings_file_is_one_line_and_the_defaults_stand(feed: Feed) -> None:
    with Terminal("--bus", feed.uri) as terminal:
        file = terminal.home / "config" / "proxtop" / "proxtop.toml"
        terminal.wait("lab-busy")
        terminal.keys("q")
        terminal.ended()
        file.parent.mkdir(parents=True)
        file.write_text('view = "no such view"\n')
        terminal.type(f"clear; {terminal.command}\r")
        terminal.wait(lambda text: "View: ALL" in text and "settings:" in text)
        terminal.keys("q")
        terminal.ended()


def test_settings_that_cannot_be_written_are_said(feed: Feed) -> None:
    with Terminal("--bus", feed.uri, XDG_CONFIG_HOME="/proc/nowhere") as terminal:
        terminal.wait("lab-busy")
        terminal.keys("W")
        terminal.wait("settings: /proc/nowhere")
        terminal.keys("q")
        terminal.ended()


def test_a_hypervisor_that_does_not_answer_is_one_line_and_a_sane_terminal(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("libvirt")
    nobody = f"qemu+unix:///system?socket={tmp_path}/nobody"
    with Terminal("--libvirt", "--connection", nobody, size=(200, 24)) as terminal:
        text = terminal.wait("status 2")
        assert any(line.startswith("proxtop: libvirt: ") for line in text.split("\n"))
        assert "Traceback" not in text
        terminal.ended()


def test_a_bus_where_nobody_is_is_tried_again_and_said(tmp_path: pathlib.Path) -> None:
    with Terminal("--bus", "tcp://127.0.0.1:9", size=(120, 24)) as terminal:
        terminal.wait("no connection, trying again: tcp://127.0.0.1:9")
        terminal.keys("?")
        terminal.wait("proxtop: keys")
        terminal.keys("q")
        terminal.ended()


def test_a_fleet_that_is_killed_is_one_line_and_a_sane_terminal() -> None:
    with Terminal("--qemu", "--cpu") as terminal:
        terminal.wait(lambda text: STATUS in text and "VMs: -" not in text)
        os.kill(terminal.python()[1], signal.SIGKILL)
        text = terminal.wait("status 1")
        assert "proxtop: the private fleet ended" in text
        terminal.ended()


def test_what_a_fleet_says_is_a_line_of_the_screen_and_never_in_its_midst() -> None:
    with Terminal("--qemu", "--cpu", size=(120, 24)) as terminal:
        terminal.wait(lambda text: STATUS in text and "VMs: -" not in text)
        os.kill(terminal.python()[-1], signal.SIGKILL)
        text = terminal.wait("was killed by signal 9; it is started again")
        assert "was killed" in text.rstrip("\n").split("\n")[-1]
        assert text.count("proxtop") == 1
        terminal.keys("q")
        terminal.ended()
