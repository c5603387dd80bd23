"""The join: a cycle closes once, in time, with what is there; nothing old is repeated as new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxtop.join import Closed, Joiner
from proxtop.model import VM, Inventory, Sample, Stamp, Table

VMS = (VM("u1", "alpha", 10, 100), VM("u2", "beta", 20, 200))
INVENTORY = Inventory("qemu", VMS)


def _stamp(cycle: int, mono: float, epoch: int = 1) -> Stamp:
    return Stamp("node", epoch, 1, cycle, 1000.0 + mono, mono)


def _io(value: int, *, prime: bool = False, ids: tuple[str, ...] = ("u1", "u2"), gen: int = 5) -> Sample:
    column = [value] * len(ids)
    names = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
    columns = {name: list(column) for name in names} | {"gen": [gen] * len(ids)}
    return Sample("io", {"vm": Table(list(ids), columns)}, 0.0, prime=prime)  # type: ignore[arg-type]


def _host(name: str, *, prime: bool = False) -> Sample:
    return Sample("host", {"host": Table(["node"], {"host_name": [name]})}, 0.0, prime=prime)


def _joiner() -> Joiner:
    joiner = Joiner(("io", "host"), 1.0)
    joiner.inventory("node", INVENTORY)
    joiner.sample(_stamp(500, 0.5), _io(100, prime=True), 0.5)
    joiner.sample(_stamp(500, 0.5), _host("n", prime=True), 0.5)
    return joiner


def _reads(closed: Closed | None) -> list[object]:
    assert closed is not None
    return list(closed.snapshot.tables["vm"].columns["io_RDOPS"])


def test_priming_makes_no_line_and_the_first_line_has_true_rates() -> None:
    joiner = _joiner()
    assert joiner.close(0.6) is None and joiner.deadline() is None
    joiner.sample(_stamp(1000, 1.0), _io(150), 1.0)
    assert joiner.close(1.0) is None
    joiner.sample(_stamp(1000, 1.0), _host("n"), 1.01)
    closed = joiner.close(1.01)
    assert _reads(closed) == [100.0, 100.0]
    assert closed is not None and closed.cycle == 1000 and closed.snapshot.span == 0.5
    assert closed.snapshot.tables["host"].columns["host_name"] == ["n"]
    assert joiner.close(1.02) is None


def test_a_cycle_closes_at_its_deadline_and_what_is_missing_is_stale() -> None:
    joiner = _joiner()
    joiner.sample(_stamp(1000, 1.0), _io(150), 1.0)
    assert joiner.deadline() == 2.0  # the first cycle
    assert joiner.close(1.99) is None
    assert _reads(joiner.close(2.0)) == [100.0, 100.0]
    joiner.sample(_stamp(3000, 3.0), _io(150), 3.0)
    assert joiner.deadline() == 3.5
    assert joiner.close(3.49) is None
    closed = joiner.close(3.5)
    assert _reads(closed) == [0.0, 0.0]
    assert closed is not None and closed.snapshot.stale == {"host": "no sample in this cycle"}
    assert "host_name" not in closed.snapshot.tables["host"].columns


def test_a_family_that_stays_away_is_not_waited_for_and_is_when_it_is_back() -> None:
    joiner = _joiner()
    for cycle, patience in ((1, 1.0), (2, 0.5)):
        joiner.sample(_stamp(cycle * 1000, float(cycle)), _io(100 + cycle), float(cycle))
        assert joiner.close(cycle + patience - 0.01) is None
        assert joiner.close(cycle + patience) is not None
    joiner.sample(_stamp(3000, 3.0), _io(110), 3.0)
    assert joiner.close(3.0) is not None
    joiner.sample(_stamp(4000, 4.0), _host("n"), 4.0)
    joiner.sample(_stamp(4000, 4.0), _io(120), 4.0)
    assert joiner.close(4.0) is not None
    joiner.sample(_stamp(5000, 5.0), _io(130), 5.0)
    assert joiner.close(5.0) is None


def test_a_late_sample_makes_no_second_line_but_is_the_base_of_the_next_rate() -> None:
    joiner = _joiner()
    joiner.sample(_stamp(1000, 1.0), _host("n"), 1.0)
    assert joiner.close(2.0) is not None
    joiner.sample(_stamp(1000, 1.0), _io(150), 2.0)
    assert joiner.close(2.0) is None and joiner.late == 1
    joiner.sample(_stamp(2000, 2.0), _io(160), 2.0)
    joiner.sample(_stamp(2000, 2.0), _host("n"), 2.0)
    assert _reads(joiner.close(2.0)) == [10.0, 10.0]


def test_a_restarted_collector_gives_no_rate_across_the_restart() -> None:
    joiner = _joiner()
    joiner.sample(_stamp(1000, 1.0, epoch=2), _io(150), 1.0)
    joiner.sample(_stamp(1000, 1.0), _host("n"), 1.0)
    assert _reads(joiner.close(1.0)) == [None, None]
    joiner.sample(_stamp(1300, 1.3, epoch=3), _io(1000, prime=True), 1.3)
    joiner.sample(_stamp(2000, 2.0, epoch=3), _io(1070), 2.0)
    joiner.sample(_stamp(2000, 2.0), _host("n"), 2.0)
    assert _reads(joiner.close(2.0)) == pytest.approx([100.0, 100.0])


def test_the_first_sample_that_a_new_joiner_sees_may_be_a_replay_and_makes_no_line() -> None:
    joiner = Joiner(("io",), 1.0)
    joiner.inventory("node", INVENTORY)
    joiner.sample(_stamp(1000, 1.0), _io(10), 1.7)
    assert joiner.close(9.0) is None
    joiner.sample(_stamp(2000, 2.0), _io(30), 2.0)
    assert _reads(joiner.close(2.0)) == [20.0, 20.0]


def test_a_wall_clock_that_is_set_back_stalls_nothing() -> None:
    joiner = _joiner()
    for cycle, mono in ((9000, 1.0), (2000, 2.0), (3000, 3.0)):
        stamp = replace(_stamp(cycle, mono), time=cycle / 1000)
        joiner.sample(stamp, _io(100 + int(mono)), mono)
        joiner.sample(stamp, _host("n"), mono)
        closed = joiner.close(mono)
        assert closed is not None and closed.cycle == cycle


def test_a_sample_for_a_cycle_long_closed_makes_no_second_line_however_new_its_data_are() -> None:
    joiner = _joiner()
    for cycle in (1000, 2000):
        joiner.sample(_stamp(cycle, cycle / 1000), _io(cycle), cycle / 1000)
        assert joiner.close(cycle / 1000 + 1.0) is not None
    joiner.sample(_stamp(1000, 2.7), _host("n"), 2.7)  # its worker was stopped since 1.0
    assert joiner.close(9.0) is None and joiner.late == 1


def test_rows_follow_the_inventory_and_a_vm_that_was_not_sampled_is_unknown() -> None:
    joiner = _joiner()
    joiner.inventory("node", replace(INVENTORY, vms=(VMS[1], VM("u3", "gamma", 30, 300, reason="starting"))))
    joiner.sample(_stamp(1000, 1.0), _io(150), 1.0)
    joiner.sample(_stamp(1000, 1.0), _host("n"), 1.0)
    closed = joiner.close(1.0)
    assert _reads(closed) == [100.0, None]
    assert closed is not None
    vms = closed.snapshot.tables["vm"]
    assert vms.ids == ["u2", "u3"] and vms.columns["name"] == ["beta", "gamma"]
    assert vms.columns["reason"] == [None, "starting"]


def test_an_older_cycle_closes_as_soon_as_a_newer_one_is_complete() -> None:
    joiner = _joiner()
    joiner.sample(_stamp(1000, 1.0), _io(150), 1.0)
    joiner.sample(_stamp(2000, 2.0), _io(250), 1.4)
    first, second = joiner.close(1.4), joiner.close(1.4)
    assert first is not None and first.cycle == 1000
    assert second is None
