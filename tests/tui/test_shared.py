"""The screen on a fleet that others use: whose interval + and - change."""

from __future__ import annotations

import pathlib

import pytest

from proxtop import control
from proxtop.bus import endpoints
from proxtop.control import ask
from proxtop.tui.live import Live
from proxtop.tui.theme import Levels
from tests.faults.conftest import rig as rig
from tests.faults.rig import Rig
from tests.faults.supervised import Supervised
from tests.tui.recorded import recorded
from tests.tui.terminal import Terminal


@pytest.fixture
def fleet(rig: Rig) -> Supervised:
    fleet = Supervised(rig.folder, "PROXTOP_FAMILIES=cpu,host", interval=1.0)
    rig.callback(fleet.close)
    fleet.up()
    return fleet


@pytest.mark.slow
def test_who_may_control_the_fleet_changes_its_interval_for_everyone_but_only_by_keys(fleet: Supervised) -> None:
    bus = str(fleet.run)
    with Terminal("--bus", endpoints.subscribe(bus), "-f", "3", size=(120, 24)) as terminal:
        terminal.wait("Refresh: 3.0s")
        assert ask(bus, "status")["interval"] == 1.0
        terminal.keys("+")
        terminal.wait("the fleet's interval is 4 s now, for everyone")
        terminal.wait("Refresh: 4.0s")
        assert ask(bus, "status")["interval"] == 4.0
        terminal.keys("-", "-", "-", "-")
        terminal.wait("the fleet's interval is 0.5 s now, for everyone")
        assert ask(bus, "status")["interval"] == 0.5
        terminal.wait("Refresh: 0.5s")
        terminal.keys("q")
        terminal.ended()
    fleet.interval = 0.5
    fleet.up()
    done = fleet.call("reload")
    assert done.returncode == 0
    assert ask(bus, "status")["interval"] == 1.0


def test_who_may_not_control_it_has_multiples_for_himself(tmp_path: pathlib.Path) -> None:
    assert control.directory(endpoints.subscribe(str(tmp_path))) is None
    assert control.directory("tcp://127.0.0.1:4711") is None


def test_a_screen_follows_a_fleet_whose_interval_somebody_else_changes() -> None:
    (stamp, snapshot), *_ = recorded()
    live = Live((), Levels(), "", interval=1.0, base=1.0)

    def cycle(at: float) -> None:
        from dataclasses import replace

        live.add(replace(stamp, cycle=round(at * 1000)), snapshot, at)

    for at in (10, 11, 12, 14, 15):  # one is lost: no other interval
        cycle(at)
    assert (live.interval, live.base, live.moved) == (1.0, 1.0, None)
    for at in (20, 25, 30):
        cycle(at)
    assert (live.interval, live.base, live.moved) == (5.0, 5.0, 5.0)
    multiple = Live((), Levels(), "", interval=4.0, base=1.0)
    for at in (4, 8, 12, 16):
        multiple.add(stamp, snapshot, at)
    assert (multiple.interval, multiple.moved) == (4.0, None)
