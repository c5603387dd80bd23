"""Processes that are killed, stopped, or that can't live."""

from __future__ import annotations

import os
import signal

from tests.faults.reliability.bench import HUNG_S, INTERVAL_S, WORKERS, Bench, Row, in_time
from tests.faults.rig import eventually
from tests.faults.supervised import all_gone, descendants


def killed(bench: Bench, name: str) -> Row:
    """kill -9 of a worker."""
    pid = bench.fleet.pids()[name]
    row = bench.broken(f"kill -9 {name}", lambda: os.kill(pid, signal.SIGKILL), again=(name,))
    if name == "broker":
        assert row.lost.split(";")[0] in ("0 cycles", "1 cycle"), row
    return in_time(bench, row)


def stopped(bench: Bench, name: str) -> Row:
    """SIGSTOP of a worker for 10 s, or until it is found to hang."""
    pid = bench.fleet.pids()[name]

    def act() -> None:
        os.kill(pid, signal.SIGSTOP)

    noticed = HUNG_S + 2 * INTERVAL_S + 1  # the last beat may be two intervals old, and is looked for once a second
    return in_time(bench, bench.broken(f"SIGSTOP {name}", act, again=(name,), noticed=noticed))


def all_killed(bench: Bench) -> Row:
    """kill -9 of all workers at once."""
    pids = bench.fleet.pids()

    def act() -> None:
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)

    return in_time(bench, bench.broken("kill -9 of every worker at once", act, again=WORKERS))


def supervisord_killed(bench: Bench) -> Row:
    """kill -9 of supervisord: its workers die with it."""
    act = lambda: os.kill(bench.fleet.supervisord(), signal.SIGKILL)  # noqa: E731
    return in_time(bench, bench.broken("kill -9 supervisord", act, again=WORKERS))


def supervisord_stopped(bench: Bench) -> Row:
    """SIGSTOP of supervisord: nobody misses it until a worker has to be replaced."""
    cpu = bench.fleet.pids()["cpu"]

    def act() -> None:
        os.kill(bench.fleet.supervisord(), signal.SIGSTOP)
        os.kill(cpu, signal.SIGKILL)

    return in_time(bench, bench.broken("SIGSTOP supervisord, and kill -9 cpu", act, again=WORKERS, noticed=6))


def proxtopd_killed(bench: Bench) -> Row:
    """kill -9 of proxtopd: all of it goes; systemd, here the bench, starts it again."""
    fleet = bench.fleet

    def act() -> None:
        everyone = descendants(fleet.process.pid)
        fleet.process.kill()
        fleet.process.wait()
        all_gone(everyone, 5)
        fleet.start()

    row = bench.broken("kill -9 proxtopd (systemd starts it again)", act, again=WORKERS, noticed=1)
    return in_time(bench, row)


def again_and_again(bench: Bench) -> Row:
    """A worker that can't live: pauses, reasons, and no end of trying."""
    fleet = bench.fleet
    setup = fleet.own / "setup" / "psi.json"
    right = setup.read_text()
    deaths: list[int] = []

    def act() -> None:
        setup.write_text("{}")
        os.kill(fleet.pids()["psi"], signal.SIGKILL)
        fleet.until("the reason in the frames", lambda found: "in a row" in found.stale.get("psi", ""))
        eventually("a third try", lambda: "ended 4 times" in (fleet.status()["psi"]["reason"] or ""))
        deaths.append(fleet.status()["psi"]["restarts"])
        setup.write_text(right)

    row = bench.broken("a worker that dies at each start (4 times)", act, again=("psi",))
    assert "in a row" in row.shown
    return row
