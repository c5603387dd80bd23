"""The profiler worker of a real fleet: scores on the bus, profiles that survive whatever ends it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxtop.bus import endpoints
from proxtop.bus.sockets import Subscriber
from proxtop.model import Profiles
from tests.faults.rig import Machine, Rig, eventually
from tests.faults.supervised import NODE, Supervised

INTERVAL_S = 0.2
STEP_S = 2 * INTERVAL_S


class Profiled:
    """A fleet with a profiler, the machine that it watches, and a reader of its scores."""

    def __init__(self, rig: Rig) -> None:
        self.machine: Machine = rig.machine("busy")
        self.state = rig.folder / "state"
        option = f"PROXTOP_PROFILER=--buffersize=2 --states=3 --state-dir={self.state}"
        self.fleet = Supervised(rig.folder, option, interval=INTERVAL_S)
        rig.callback(self.fleet.close)
        self.fleet.up()
        self.reader = Subscriber(self.fleet.context, endpoints.subscribe(str(self.fleet.run)), [b"profile/"])
        rig.callback(self.reader.close)

    def until(self, what: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The machine's first row from now on for which the condition holds."""

        def found() -> dict[str, Any] | None:
            self.reader.socket.poll(50)
            for message in self.reader.drain():
                assert (message.kind, message.stamp.node) == ("profile", NODE)
                assert isinstance(message.body, Profiles)
                assert message.body.step == pytest.approx(STEP_S)
                table = message.body.tables["vm"]
                if self.machine.uuid in table.ids:
                    place = table.ids.index(self.machine.uuid)
                    row = {name: column[place] for name, column in table.columns.items()}
                    if condition(row):
                        return row
            return None

        row = eventually(what, found)
        assert row is not None
        return row

    def kept(self) -> dict[str, Any]:
        """The machine's profile on disk, once it is there."""
        path = self.state / f"{self.machine.uuid}.json"
        eventually("the profile on disk", path.exists)
        raw = json.loads(path.read_text())
        assert isinstance(raw, dict)
        return raw

    def end(self, number: signal.Signals) -> None:
        """Ends the worker and waits for the next one."""
        pid = self.fleet.pids()["profiler"]
        os.kill(pid, number)
        self.fleet.replaced("profiler", pid)


@pytest.fixture(scope="module")
def profiled(shared_rig: Rig) -> Iterator[Profiled]:
    yield Profiled(shared_rig)


@pytest.mark.slow
def test_each_vms_score_is_on_the_bus_after_each_step(profiled: Profiled) -> None:
    first = profiled.until("a score", lambda row: True)
    assert first["name"] == "busy"
    assert first["profile_phase"] == 0
    later = profiled.until("three more steps", lambda row: row["profile_steps"] >= first["profile_steps"] + 3)
    assert 0 < later["profile_likelihood"] <= 1
    learnt = profiled.until("a score that is known", lambda row: row["profile_anomaly"] is not None)
    assert learnt["profile_steps"] >= 30
    assert learnt["profile_anomaly"] >= 0
    assert learnt["profile_odd"] in ("cpu", "cpu_used", "io", "mem", "disk", "net")


def test_a_profile_goes_on_after_a_restart(profiled: Profiled) -> None:
    before = profiled.until("some steps", lambda row: row["profile_steps"] >= 5)["profile_steps"]
    profiled.end(signal.SIGTERM)
    kept = max(root["steps"] for root in profiled.kept()["roottx"])
    assert kept >= before
    row = profiled.until("another step", lambda row: row["profile_steps"] != before)
    assert row["profile_steps"] >= kept


def test_a_killed_profiler_loses_at_most_what_came_after_the_last_write(profiled: Profiled) -> None:
    profiled.until("some steps", lambda row: row["profile_steps"] >= 5)
    kept = max(root["steps"] for root in profiled.kept()["roottx"])
    profiled.end(signal.SIGKILL)
    row = profiled.until("a step after it", lambda row: True)
    row = profiled.until("another one", lambda later: later["profile_steps"] > row["profile_steps"])
    assert row["profile_steps"] >= kept


def test_a_damaged_profile_is_set_aside_and_begun_anew(profiled: Profiled) -> None:
    profiled.kept()
    path = pathlib.Path(profiled.state) / f"{profiled.machine.uuid}.json"
    pid = profiled.fleet.pids()["profiler"]
    os.kill(pid, signal.SIGSTOP)
    path.write_bytes(b"{ half of a prof")
    os.kill(pid, signal.SIGKILL)
    profiled.fleet.replaced("profiler", pid)
    eventually("the damaged one set aside", lambda: list(profiled.state.glob(f"{profiled.machine.uuid}.json.old*")))
    row = profiled.until("the first steps", lambda row: row["profile_steps"] <= 5)
    profiled.until("more steps", lambda later: later["profile_steps"] > row["profile_steps"])
    log = (profiled.fleet.own / "log" / "profiler.log").read_text()
    assert "begins anew" in log
