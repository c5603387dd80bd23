"""Which VMs are profiled, and when one is let go."""

from __future__ import annotations

from dataclasses import replace

from proxtop.catalog import FAMILIES
from proxtop.model import Snapshot, Table
from proxtop.profiler.profiler import FORGET_S, Profiler
from proxtop.profiler.settings import Settings
from tests.unit.printers.snapshots import snapshot


def cycle(*names: str) -> Snapshot:
    """A cycle with these VMs."""
    shown = snapshot(list(names))
    return replace(shown, tables={**shown.tables, "vm": Table(list(names), shown.tables["vm"].columns)})


def test_a_vm_that_does_not_come_by_for_an_hour_is_let_go() -> None:
    profiler = Profiler(Settings(interval=60.0), FAMILIES)
    went = []
    for number in range(70):
        profiler.feed("pve1", 60.0 * number, cycle("stays", "goes") if number < 5 else cycle("stays"))
        went += [(number, profile.name) for profile in profiler.gone()]
    assert went == [(5 + FORGET_S // 60, "goes")]
    assert list(profiler.profiles) == ["stays"]


def test_a_host_whose_clock_is_hours_ahead_lets_no_other_hosts_vms_go() -> None:
    profiler = Profiler(Settings(buffersize=2), FAMILIES)
    for number in range(40):
        for node, ahead in (("pve1", 0.0), ("pve2", 2 * FORGET_S)):
            profiler.feed(node, ahead + 2.0 * number, cycle(node))
            assert profiler.gone() == []
    assert {max(one.steps for one in p.series.values()) for p in profiler.profiles.values()} == {19}
