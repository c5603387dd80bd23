"""Every key in a real terminal, on a private fleet that watches real guests; and who hurts whom among three of them."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator

import pytest

from proxtop.attach import PrivateFleet
from tests.lab.guests import Lab
from tests.lab.qemu import BareGuest
from tests.lab.scenes import BareScene
from tests.lab.spec import Spec
from tests.tui.terminal import Terminal

WIDTH, HEIGHT = 132, 40


@pytest.fixture(scope="module")
def opened(bare_guests: BareScene) -> Iterator[Terminal]:
    """The screen on a fleet of its own, once for all tests of this module."""
    with Terminal("--qemu", "--frequency=1", "--vm=plain,a?comma", size=(WIDTH, HEIGHT)) as terminal:
        terminal.wait(lambda text: "plain" in text and "a,comma" in text, timeout=40)
        yield terminal
        terminal.keys("q")
        terminal.ended()


@pytest.fixture
def terminal(opened: Terminal) -> Terminal:
    """The same, back where it began."""
    for key in ("Escape", "Escape", "Escape", "Escape", "a"):
        opened.keys(key)
    if "PAUSED" in opened.wait("View: ALL"):
        opened.keys("Space")
    opened.wait(lambda text: "View: ALL" in text and "plain" in text and "PAUSED" not in text)
    return opened


def row(text: str, name: str) -> list[str]:
    """The cells of that VM's row."""
    return next(line for line in text.split("\n") if f" {name} " in line).split()


def order(text: str) -> list[str]:
    """The names in the order of their rows."""
    return re.findall(r"^[0-9a-f]{8} (\S+)", text, re.MULTILINE)


def head(text: str) -> str:
    """The line of heads."""
    return next(line for line in text.split("\n") if line.startswith(("UUID", "DEVICE")))


@pytest.mark.parametrize(
    ("key", "title", "column"),
    [
        ("c", "CPU", "%RDY"), ("m", "MEMORY", "MEMSZ"), ("d", "DISK", "LAT/rd"), ("n", "NETWORK", "BTX/s"),
        ("i", "I/O", "WROPS"), ("p", "PHYSICAL NICS", "BRX/s"), ("s", "PHYSICAL DISKS", "AWAIT"),
        ("l", "LVM", "AWAIT"), ("x", "MULTIPATH", "AWAIT"), ("a", "ALL", "%USED"),
    ],
)  # fmt: skip
def test_a_letter_shows_its_view(terminal: Terminal, key: str, title: str, column: str) -> None:
    for letter in (key, "c" if key != "c" else "m", key.upper()):
        terminal.keys(letter)
        if letter.lower() == key:
            text = terminal.wait(f"| View: {title} |")
            assert column in head(text)
    if title not in ("LVM", "MULTIPATH"):
        assert len(text.split("\n")[terminal_head(text) + 1].split()) > 2


def terminal_head(text: str) -> int:
    return text.split("\n").index(head(text))


@pytest.mark.parametrize("key", ["h", "H", "?"])
def test_help(terminal: Terminal, key: str) -> None:
    terminal.keys(key)
    terminal.wait(lambda text: "proxtop: keys" in text and "shorter refresh interval" in text)
    terminal.keys(key)
    terminal.wait(lambda text: "proxtop: keys" not in text)


def test_fields_by_arrows_letters_space_and_enter(terminal: Terminal) -> None:
    terminal.keys("c")
    assert "%SYS" not in head(terminal.wait("View: CPU"))
    for move, choose, close in (("j", "Space", "f"), ("Down", "Enter", "Escape")):
        before = "%SYS" in head(terminal.screen())
        terminal.keys("F" if close == "Escape" else "f")
        terminal.wait("Fields of CPU (1/")
        while not re.search(r"Fields of CPU \(\d+", text := terminal.screen()) or cursor(text) != "cpu_other_total":
            at = place(text)
            terminal.keys(move)
            terminal.wait(lambda now, at=at: place(now) != at)
        terminal.keys("k" if move == "j" else "Up")
        terminal.wait(lambda now: cursor(now) != "cpu_other_total")
        terminal.keys(move)
        terminal.wait(lambda now: cursor(now) == "cpu_other_total")
        terminal.keys(choose)
        terminal.wait(f"[{' ' if before else 'x'}] %SYS       cpu_other_total")
        terminal.keys(close)
        terminal.wait(lambda now, before=before: "Fields of" not in now and ("%SYS" in head(now)) is not before)


FIELDS = ["uuid", "name", "vmid", "pid", "cpu_total", "cpu_steal", "cpu_cores", "cpu_other_total", "cpu_other_steal"]


def place(text: str) -> int:
    """The line on which the selector stands, from 1."""
    found = re.search(r"Fields of CPU \((\d+)/", text)
    return int(found[1]) if found else 0


def cursor(text: str) -> str:
    """The field on which the selector stands."""
    return FIELDS[place(text) - 1] if 0 < place(text) <= len(FIELDS) else ""


@pytest.mark.parametrize("key", ["u", "U"])
def test_units(terminal: Terminal, key: str) -> None:
    terminal.keys("m")
    before = "[H]" in terminal.wait("View: MEMORY").split("\n")[0]
    for human in (not before, before):
        terminal.keys(key)
        text = terminal.wait(lambda now, human=human: ("[H]" in now.split("\n")[0]) is human)
        assert row(text, "plain")[2] == ("80.0MB" if human else "81920")


def test_sorting_by_another_column_and_the_other_way_round(terminal: Terminal) -> None:
    terminal.keys("i")
    terminal.wait(lambda text: "MBWR/sv" in text and order(text)[:1] == ["plain"])
    terminal.keys("r")
    terminal.wait(lambda text: "MBWR/s^" in text and order(text)[-1:] == ["plain"])
    terminal.keys("R")
    terminal.wait("MBWR/sv")
    terminal.type(">")
    terminal.wait("RDOPSv")
    terminal.type("<")
    terminal.wait("MBWR/sv")
    terminal.type("<")
    terminal.wait("MBRD/sv")
    terminal.type(">")
    terminal.wait("MBWR/sv")


def test_the_interval(terminal: Terminal) -> None:
    terminal.keys("+")
    terminal.wait("Refresh: 2.0s")
    shown = terminal.screen()
    terminal.wait(lambda text: text != shown)
    terminal.keys("-")
    terminal.wait("Refresh: 1.0s")
    terminal.keys("-")
    terminal.wait("Refresh: 0.5s")
    terminal.until(lambda: len(terminal.python()) > 12)  # a fleet of its own at the new interval …
    terminal.until(lambda: len(terminal.python()) < 15)  # … in the place of the one before
    terminal.wait(lambda text: "plain" in text and "OLD" not in text)
    terminal.keys("=")
    terminal.wait("Refresh: 1.0s")
    shown = terminal.screen()
    terminal.wait(lambda text: text != shown)


def test_a_filter_by_name(terminal: Terminal) -> None:
    terminal.keys("/")
    terminal.type("COMM")
    terminal.wait(lambda text: order(text) == ["a,comma"] and "/COMM_" in text)
    terminal.keys("Enter")
    terminal.wait("filter: COMM")
    terminal.keys("Escape")
    terminal.wait(lambda text: sorted(order(text)) == ["a,comma", "plain"])


def selected(terminal: Terminal) -> str:
    """The name in the row that is shown in reverse. tmux tells what changes only, also from line to line."""
    reverse = False
    for line in terminal.screen(codes=True).split("\n"):
        text, marked = "", False
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if part.startswith("\x1b["):
                for code in part[2:-1].split(";"):
                    reverse = code == "7" or (reverse and code not in ("", "0", "27"))
            else:
                marked = marked or (reverse and not text and bool(part))
                text += part
        found = re.match(r"[0-9a-f]{8} (\S+)", text)
        if found and marked:
            return found[1]
    return ""


def test_the_selection_moves_and_stays_on_its_vm(terminal: Terminal) -> None:
    terminal.keys("i")
    terminal.wait(lambda text: order(text) == ["plain", "a,comma"])
    for key, name in (("Down", "plain"), ("Down", "a,comma"), ("Up", "plain"), ("End", "a,comma"), ("Home", "plain"),
                      ("NPage", "a,comma"), ("PPage", "plain")):  # fmt: skip
        terminal.keys(key)
        terminal.until(lambda name=name: selected(terminal) == name)
    terminal.keys("r")
    terminal.wait(lambda text: order(text) == ["a,comma", "plain"])
    assert selected(terminal) == "plain"
    terminal.keys("r")


def test_a_vm_is_opened_and_left(terminal: Terminal) -> None:
    terminal.keys("i", "Home", "Enter")
    text = terminal.wait("MINUTE")
    assert "plain" in text
    for part in ("CPU", "vCPU", "emulator", "MEMORY", "NIC", "I/O", "%RDY"):
        assert part in text
    terminal.keys("Right")
    terminal.wait(lambda now: "a,comma" in now)
    terminal.keys("Left")
    terminal.wait(lambda now: "plain" in now)
    terminal.keys("Escape")
    terminal.wait("View: I/O")
    terminal.wait(lambda now: "MINUTE" not in now)


def test_a_row_is_expanded_in_place(terminal: Terminal) -> None:
    terminal.keys("c", "Home", "e")
    terminal.wait("vCPU 0")
    terminal.keys("n")
    terminal.wait("  plab")
    terminal.keys("c", "E")
    terminal.wait(lambda text: "vCPU 0" not in text)


def test_columns_scroll(terminal: Terminal) -> None:
    assert "%USED" in head(terminal.screen())
    terminal.keys("Right")
    terminal.wait(lambda text: "%USED" not in head(text))
    terminal.keys("Left")
    terminal.wait(lambda text: "%USED" in head(text))


def test_pausing_and_stepping(terminal: Terminal) -> None:
    terminal.keys("i")
    for _ in range(2):
        shown = terminal.wait("View: I/O")
        terminal.wait(lambda now, shown=shown: now != shown)
    terminal.keys("Space")
    text = terminal.wait("PAUSED at")
    rows = row(text, "plain")
    terminal.wait(lambda now: "(-2 s)" in now or "(-3 s)" in now)
    assert row(terminal.screen(), "plain") == rows, "the screen stands, the data come"
    at = paused_at(text)
    terminal.type("[")
    terminal.wait(lambda now: paused_at(now) < at)
    terminal.type("]")
    terminal.wait(lambda now: paused_at(now) == at and row(now, "plain") == rows)
    terminal.keys("Space")
    terminal.wait(lambda now: "PAUSED" not in now)


def paused_at(text: str) -> str:
    """The clock at which the screen stands."""
    return text.partition("PAUSED at ")[2][:8]


def test_the_mouse(terminal: Terminal) -> None:
    terminal.keys("c")
    text = terminal.wait(lambda now: "View: CPU" in now and "%RDY" in head(now))
    y = terminal_head(text)
    terminal.click(head(text).index("%RDY") + 1, y)
    terminal.wait("%RDYv")
    terminal.click(head(text).index("%RDY") + 1, y)
    terminal.wait("%RDY^")
    terminal.click(head(text).index("%USED") + 1, y)
    terminal.wait("%USEDv")
    terminal.click(12, y + 2)
    terminal.until(lambda: selected(terminal) in ("plain", "a,comma"))
    terminal.click(12, y + 1, button=65)
    terminal.keys("r", "r")


def test_who_hurts_whom_can_be_asked(terminal: Terminal) -> None:
    terminal.keys("w")
    terminal.wait("View: WHO HURTS WHOM")
    terminal.wait(lambda text: "TAKEN BY" in text and ("No VM waits" in text or "%" in text))


def test_settings_are_written(terminal: Terminal) -> None:
    terminal.keys("W")
    terminal.wait("settings written to")
    assert (terminal.home / "config" / "proxtop" / "proxtop.toml").read_text().startswith("# proxtop's screen")


@pytest.mark.parametrize("key", ["q", "Q", "C-c"])
def test_quitting(bare_guests: BareScene, key: str) -> None:
    with Terminal("--qemu", "--cpu") as terminal:
        terminal.wait("plain", timeout=40)
        terminal.keys(key)
        terminal.ended()


def pin(guest: BareGuest, core: int) -> None:
    """Ties all threads of a guest to one core."""
    for thread in pathlib.Path(f"/proc/{guest.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


@pytest.mark.slow
def test_the_victim_and_who_hurts_it_are_named(lab: Lab) -> None:
    """Three busy guests on two cores: far is alone on one, near and the victim share the other."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("takes two cores")
    specs = [Spec(name, vcpus=1, load="busy:1", disk_mib=0, nic=False) for name in ("victim", "near", "far")]
    guests = lab.boot_bare(specs)
    first, second, *_ = sorted(os.sched_getaffinity(0))
    try:
        for guest, core in zip(guests, (first, first, second), strict=True):
            pin(guest, core)
        with Terminal("--qemu", "--cpu", "--frequency=1", size=(132, 40)) as terminal:
            terminal.wait("victim", timeout=40)
            terminal.keys("w")

            def blamed(text: str) -> bool:
                line = next((line for line in text.split("\n") if line.startswith("victim ")), "")
                shares = dict(re.findall(r"(\S+) (\d+)%", line.partition("TAKEN")[2] or line[40:]))
                near, far = int(shares.get("near", 0)), int(shares.get("far", 0))
                return near >= 30 and far <= near / 3  # other tests' guests may take their part of that core

            text = terminal.wait(blamed, timeout=40)
            line = next(line for line in text.split("\n") if line.startswith("victim "))
            assert line.split()[1] == "steal"
            assert f" {first} " in line, "on the core that they share"
            terminal.keys("q")
            terminal.ended()
    finally:
        for guest in guests:
            guest.kill()


def test_on_a_fleet_that_others_use_too_only_its_multiples_can_be_had(bare_guests: BareScene) -> None:
    families = ("cpu", "mem", "io")
    setup = {
        "root": "/", "node": "here", "node_given": True, "interval": 0.5, "families": families, "connector": "qemu",
        "uri": "qemu:///system", "uri_given": False, "procfs": "/proc", "procfs_given": False, "sysfs": "/sys",
        "verbose": False,
    }  # fmt: skip
    fleet = PrivateFleet(setup)
    try:
        assert os.read(fleet.ready, 4096) == b"ready\n"
        with Terminal("--bus", fleet.endpoint, "--frequency=1", size=(132, 40)) as terminal:
            terminal.wait(lambda text: "Refresh: 1.0s" in text and "plain" in text, timeout=40)
            terminal.keys("i")
            for key, says in (
                ("+", "Refresh: 1.5s"),
                ("-", "Refresh: 1.0s"),
                ("-", "Refresh: 0.5s"),
                ("-", "own is 0.5 s"),
            ):
                terminal.keys(key)
                terminal.wait(says)
                shown = terminal.wait(lambda text: "plain" in text and "OLD" not in text)
                terminal.wait(lambda text, shown=shown: row(text, "plain") != row(shown, "plain"))
            terminal.keys("d")
            terminal.wait("The fleet does not collect disk.")
            terminal.keys("q")
            terminal.ended()
    finally:
        fleet.close()


def test_only_the_vms_that_are_named_are_shown(bare_guests: BareScene) -> None:
    with Terminal("--qemu", "--cpu", "--vm", "pl*") as terminal:
        text = terminal.wait(lambda text: "plain" in text and "VMs: 1 " in text, timeout=40)
        assert "a,comma" not in text
        terminal.keys("q")
        terminal.ended()
