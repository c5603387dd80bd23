"""Any worker can be killed or stopped at any moment: the rest goes on, its own figures come back right."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.rig import Line, Machine, Rig, Running, domain, eventually, numbers

INTERVAL_S = 0.5
FAMILIES = ("cpu", "mem", "disk", "net", "io", "psi", "host")
WORKERS = ("broker", "connector", "lookup", "aggregator", *FAMILIES)
ALL = [f"--{name}" for name in ("cpu", "mem", "disk", "net", "io", "pressure", "host")]

OWN = {"cpu": "cpu_total", "mem": "ram_rss", "io": "io_RDOPS"}
"""A figure of a machine that only this family has."""

HOST = {"cpu": "cpu_user", "mem": "ram_Free", "disk": "disk_device_reads", "net": "net_host_receivedBytes"}


def _in_turn(names: tuple[str, ...]) -> list[Any]:
    """Every worker; those that run the very same code as others only with the slow tests."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in ("net", "psi", "host") else name for name in names]


@pytest.fixture(scope="module")
def watched(shared_rig: Rig) -> tuple[Machine, Running]:
    """One machine and one fleet, that every test breaks in its own way and leaves whole."""
    machine = shared_rig.machine("busy")
    return machine, shared_rig.watch(machine, frequency=INTERVAL_S, options=ALL)


@contextlib.contextmanager
def _stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _while_stopped(intervals: int) -> None:
    """Nothing can be seen to happen meanwhile: only time passes."""
    begin = time.monotonic()
    eventually("some intervals", lambda: time.monotonic() > begin + intervals * INTERVAL_S)


def _healthy(running: Running, machine: Machine) -> None:
    """Waits for a cycle in which every figure is there."""

    def whole(line: Line) -> bool:
        row = domain(line, machine)
        return (
            row is not None
            and all(row[name] is not None for name in OWN.values())
            and all(line["host"][name] is not None for name in HOST.values())
            and not line.get("stale")
        )

    running.until("a cycle in which nothing is missing", whole)


def _true(running: Running, machine: Machine) -> None:
    """The rate is what the kernel counts over the same time, within what readers at different instants may differ."""
    first, before, seconds = time.monotonic(), len(running.lines), machine.on_cpu_s()
    running.cycles(6)
    used = 100 * (machine.on_cpu_s() - seconds) / (time.monotonic() - first)
    rows = [domain(line, machine) for line in running.all()[before:]]
    seen = [row["cpu_total"] for row in rows if row and row["cpu_total"] is not None]
    assert len(seen) >= 4
    assert sum(seen) / len(seen) == pytest.approx(used, abs=max(10, used / 2))


def _sane(running: Running) -> None:
    """No cycle twice or backwards, no number that nothing could have caused."""
    lines = running.all()
    cycles = [line["cycle"] for line in lines]
    assert cycles == sorted(set(cycles))
    for line in lines:
        assert min(numbers(line)) >= 0
        assert line["span"] < 30
        for row in line["domains"]:
            # One vCPU and a handful of helpers that sleep: more than a core of either was never burnt.
            for name, most in (("cpu_total", 100), ("cpu_other_total", 300), ("io_RDOPS", 1e6), ("io_MBRD/s", 1e4)):
                assert row[name] is None or row[name] <= most, (name, row[name])
    assert not [line for line in running.errors if "Traceback" in line]


def _longest_pause(running: Running, first: int) -> float:
    times = running.arrived[first:]
    return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("name", _in_turn(WORKERS))
def test_a_killed_worker_is_back_and_the_others_never_notice(watched: tuple[Machine, Running], name: str) -> None:
    machine, running = watched
    _healthy(running, machine)
    workers = running.workers()
    first = len(running.lines) - 1
    os.kill(workers[name], signal.SIGKILL)
    eventually("a new worker", lambda: running.workers().get(name, workers[name]) != workers[name])
    running.cycles(1)
    _healthy(running, machine)
    others = {other: pid for other, pid in running.workers().items() if other != name}
    assert others == {other: pid for other, pid in workers.items() if other != name}
    assert _longest_pause(running, first) < 5
    _sane(running)
    if name in ("broker", "lookup", "cpu"):
        _true(running, machine)


@pytest.mark.parametrize("name", _in_turn(FAMILIES))
def test_a_stopped_family_is_stale_with_a_reason_while_the_others_are_on_time(
    watched: tuple[Machine, Running], name: str
) -> None:
    machine, running = watched
    _healthy(running, machine)
    workers = running.workers()
    first = len(running.lines) - 1
    with _stopped(workers[name]):
        line = running.until(f"{name} alone stale", lambda line: line.get("stale", {}).keys() == {name})
        assert line["stale"][name]
        row = domain(line, machine)
        assert row is not None
        for family, figure in OWN.items():
            assert (row[figure] is None) == (family == name), figure
        for family, figure in HOST.items():
            assert (line["host"][figure] is None) == (family == name), figure
        running.cycles(2)
        assert _longest_pause(running, first) < 2
    _healthy(running, machine)
    assert running.workers() == workers
    _sane(running)


@pytest.mark.parametrize("name", ["connector", "lookup"])
def test_a_stopped_source_leaves_what_proc_tells(watched: tuple[Machine, Running], name: str) -> None:
    machine, running = watched
    _healthy(running, machine)
    first = len(running.lines) - 1
    with _stopped(running.workers()[name]):
        running.cycles(2)
        for figure in ("cpu_total", "io_RDOPS"):
            running.until(figure, lambda line, figure=figure: domain(line, machine)[figure] is not None)  # type: ignore
        assert _longest_pause(running, first) < 2
    running.cycles(2)
    _healthy(running, machine)
    _sane(running)


@pytest.mark.parametrize("names", [("broker",), ("aggregator",), WORKERS], ids=lambda names: names[0])
def test_after_a_pause_the_lines_go_on_without_a_spike(
    watched: tuple[Machine, Running], names: tuple[str, ...]
) -> None:
    machine, running = watched
    _healthy(running, machine)
    workers = running.workers()
    with _stopped(*(workers[name] for name in names)):
        _while_stopped(4)
    running.cycles(2)
    _healthy(running, machine)
    assert running.workers() == workers
    _sane(running)


def test_every_worker_killed_at_once(watched: tuple[Machine, Running]) -> None:
    machine, running = watched
    _healthy(running, machine)
    before = running.workers()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually("new workers", lambda: len(set(running.workers().values()) - set(before.values())) == len(before))
    running.cycles(1)
    _healthy(running, machine)
    _sane(running)
    _true(running, machine)


def test_a_worker_that_is_killed_in_the_first_second_doubles_no_cycle(rig: Rig) -> None:
    machine = rig.machine("busy")
    running = rig.watch(machine, frequency=INTERVAL_S)
    eventually("the first line", lambda: running.lines)
    for name in ("cpu", "io"):
        os.kill(running.workers()[name], signal.SIGKILL)
    running.cycles(4)
    _healthy(running, machine)
    _sane(running)
