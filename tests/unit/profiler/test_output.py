"""Profiles come in time, each with all VMs that came by since the last time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import orjson

from proxprofiler.output import ProfilePrinter
from proxtop.catalog import FAMILIES
from proxtop.model import Table
from proxtop.options import Options
from proxtop.profiler.profiler import Profiler
from proxtop.profiler.settings import Settings
from proxtop.view import View
from tests.unit.printers.snapshots import STAMP, snapshot


def printed(cycles: Iterable[tuple[str, float]]) -> list[set[str]]:
    """The VMs in each output, where every 10 s there is one; each host has a VM of its name, and these cycles (s)."""
    printer = ProfilePrinter(View.of(Options()), "json", Profiler(Settings(), FAMILIES), 10.0, None)
    found = []
    for node, time in cycles:
        shown = snapshot([node])
        tables = {**shown.tables, "vm": Table([node], shown.tables["vm"].columns)}
        stamp = replace(STAMP, node=node, cycle=round(time * 1000))
        if lines := printer.lines(printer.select(replace(shown, tables=tables)), stamp, {}):
            found.append({orjson.loads(line)["profile"]["vm"] for line in lines})
    return found


def test_a_clock_that_is_set_back_holds_no_profile_up() -> None:
    cycles = [("a", 10_000.0 + 2 * number) for number in range(6)]
    cycles += [("a", 5_000.0 + 2 * number) for number in range(6)]
    assert printed(cycles) == [{"a"}, {"a"}]


def test_the_vms_of_a_host_whose_clock_is_behind_are_there_too() -> None:
    cycles = [(node, late + 2.0 * number) for number in range(11) for node, late in (("a", 1000.0), ("b", 970.0))]
    assert printed(cycles) == [{"a", "b"}, {"a", "b"}]
