"""A private fleet ends with its owner whatever way that ends, and leaves nothing behind."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from tests.faults.rig import Rig, Running, alive, eventually, one_line

ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGKILL, -signal.SIGKILL)]


def _processes(running: Running) -> list[int]:
    running.cycles(1)
    workers = running.workers()
    assert {"broker", "connector", "lookup", "aggregator", "cpu", "mem", "disk", "net", "io"} == workers.keys()
    return [running.fleet(), *workers.values()]


def _all_gone(pids: list[int]) -> None:
    eventually("the end of every process of the fleet", lambda: not any(map(alive, pids)))


def _leftovers(rig: Rig) -> list[pathlib.Path]:
    return sorted(rig.runtime.rglob("*"))


def test_a_run_that_is_done_leaves_no_process_and_no_file(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5", "-r", "3")
    pids = _processes(running)
    assert running.status() == 0
    assert not any(map(alive, pids))
    assert _leftovers(rig) == []
    assert len(running.lines) == 3


@pytest.mark.parametrize(("number", "status"), ENDINGS, ids=lambda value: getattr(value, "name", None))
def test_the_fleet_ends_with_its_owner(rig: Rig, number: signal.Signals, status: int) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    os.kill(running.pid, number)
    assert running.status() == status
    _all_gone(pids)
    eventually("an empty runtime directory", lambda: not _leftovers(rig))


@pytest.mark.parametrize(("number", "status"), ENDINGS, ids=lambda value: getattr(value, "name", None))
def test_an_owner_that_ends_before_the_fleet_is_up_leaves_nothing_either(
    rig: Rig, number: signal.Signals, status: int
) -> None:
    running = rig.proxtop("-p", "json")
    fleet = running.fleet()
    os.kill(running.pid, number)
    assert running.status() == status
    _all_gone([fleet])
    eventually("an empty runtime directory", lambda: not _leftovers(rig))


def test_ctrl_c_in_a_terminal_reaches_the_client_and_ends_all(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    # A terminal signals its foreground group: the fleet, which has a session of its own, is ended by its owner.
    assert {os.getsid(pid) for pid in pids} == {pids[0]} != {os.getsid(running.pid)}
    os.kill(running.pid, signal.SIGINT)
    assert running.status() == 130
    _all_gone(pids)
    assert not [line for line in running.errors if "Traceback" in line]


def test_a_killed_fleet_is_said_in_one_line_and_leaves_nothing(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    running.errors.clear()
    os.kill(pids[0], signal.SIGKILL)
    assert running.status() == 1
    assert "fleet" in one_line(running.errors)
    _all_gone(pids)
    assert _leftovers(rig) == []


def test_what_a_killed_fleet_and_a_killed_owner_left_is_swept_by_the_next_start(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    # Stopped, the owner can't clean up after its fleet; then both are gone without a word.
    os.kill(running.pid, signal.SIGSTOP)
    os.kill(pids[0], signal.SIGKILL)
    os.kill(running.pid, signal.SIGKILL)
    running.status()
    _all_gone(pids)
    assert _leftovers(rig) != []
    assert rig.proxtop("-p", "json", "-r", "1").status() == 0
    assert _leftovers(rig) == []


def test_the_sweep_spares_a_fleet_that_lives(rig: Rig) -> None:
    first = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(first)
    assert rig.proxtop("-p", "json", "-r", "1").status() == 0
    first.cycles(3)
    assert all(map(alive, pids))
    assert first.stop() == 0
    assert _leftovers(rig) == []


def test_two_private_fleets_do_not_disturb_each_other(rig: Rig) -> None:
    first, second = (rig.proxtop("-p", "json", "-f", "0.5") for _ in range(2))
    first.cycles(2)
    second.cycles(2)
    assert first.stop() == 0
    second.cycles(2)
    assert second.stop() == 0


def test_a_stopped_client_does_not_stop_its_fleet_and_goes_on_afterwards(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    last = running.cycles(1)[0]["cycle"]
    os.kill(running.pid, signal.SIGSTOP)
    beat = pathlib.Path(f"/proc/{pids[1]}/schedstat")
    before = int(beat.read_text().split()[2])
    eventually("the fleet at work", lambda: int(beat.read_text().split()[2]) > before + 20)
    os.kill(running.pid, signal.SIGCONT)
    running.until("a later cycle", lambda line: line["cycle"] > last)
    numbers = [line["cycle"] for line in running.all()]
    assert numbers == sorted(set(numbers))
    assert running.stop() == 0


def test_a_stopped_fleet_ends_with_a_killed_owner_once_it_goes_on(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(running.pid, signal.SIGKILL)
    running.process.wait()
    running.data_ended()  # a reader of the data does not wait for the fleet
    os.kill(pids[0], signal.SIGCONT)
    _all_gone(pids)
    eventually("an empty runtime directory", lambda: not _leftovers(rig))


def test_a_fleet_that_does_not_end_is_killed_by_its_owner(rig: Rig) -> None:
    running = rig.proxtop("-p", "json", "-f", "0.5")
    pids = _processes(running)
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(running.pid, signal.SIGTERM)
    assert running.status() == 0
    _all_gone(pids)
    assert _leftovers(rig) == []
