"""What proxtop's printers wrote is read back as what was printed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxprofiler.recorded import RecordedError, cycles, interval
from proxtop import printers
from proxtop.catalog import FAMILIES
from proxtop.model import Snapshot, Stamp, Table
from proxtop.profiler.document import document
from proxtop.profiler.profiler import Profiler
from proxtop.profiler.settings import Settings
from proxtop.view import View
from tests.unit.printers.snapshots import STAMP, snapshot
from tests.unit.profiler.chains import START

NAMES = ['we,b "1"\n', "db", "nan"]
CYCLES = 60


def run() -> Iterator[tuple[Stamp, Snapshot]]:
    """Cycles of three VMs; one has no guest statistics, one comes and goes."""
    chance = random.Random(4)
    for number in range(CYCLES):
        shown = snapshot(NAMES if not 20 <= number < 30 else NAMES[:2])
        table = shown.tables["vm"]
        columns = dict(table.columns)
        size = len(table.ids)
        for name, high in (("cpu_total", 90.0), ("cpu_steal", 5.0), ("disk_ioutil", 100.0), ("net_receivedBytes", 1e8)):
            columns[name] = [round(chance.uniform(0, high), 3) for _ in range(size)]
        columns["net_transmittedBytes"] = [12.5] * size
        columns["io_MBRD/s"], columns["io_MBWR/s"] = [0.5] * size, [round(chance.random(), 6) for _ in range(size)]
        columns["ram_used"] = [None, *(chance.randrange(1 << 20) for _ in range(size - 1))]
        columns["ram_total"] = [1 << 20] * size
        cycle = round((START + 2 * number) * 1000)
        stamp = replace(STAMP, cycle=cycle, time=cycle / 1000 + 0.01)
        yield stamp, replace(shown, tables={**shown.tables, "vm": Table(table.ids, columns)})


def printed(name: str) -> str:
    printer = printers.create(name, View(tuple(FAMILIES)))
    text = b"".join(printer.render(shown, stamp) for stamp, shown in run())
    return (printer.header() + text).decode()


@pytest.mark.parametrize("name", ["json", "csv"])
@pytest.mark.parametrize("fixed", [False, True])
def test_profiles_of_a_recording_are_those_of_the_live_cycles(name: str, fixed: bool) -> None:
    settings = Settings(buffersize=3, fixedbound=fixed)
    live, later = Profiler(settings, FAMILIES), Profiler(settings, FAMILIES)
    for stamp, shown in run():
        live.feed(stamp.node, stamp.cycle / 1000, shown)
    for cycle in cycles(printed(name).splitlines(keepends=True)):
        later.feed(cycle.node, cycle.time, cycle.snapshot)
    assert len(live.profiles) == 3
    for uuid, profile in live.profiles.items():
        assert document(later.profiles[uuid]) == document(profile)
    assert [profile.gaps for profile in live.profiles.values()] == [0, 0, 1]


def test_the_interval_is_that_between_the_cycles_not_that_after_the_first() -> None:
    lines = printed("json").splitlines()
    first = json.loads(lines[0])
    first["cycle"] += 1370
    found, rest = interval(cycles([json.dumps(first), *lines[1:]]))
    assert found == 2.0
    assert len(list(rest)) == CYCLES


def test_a_single_cycle_has_no_interval() -> None:
    assert interval(cycles([]))[0] is None
    assert interval(cycles(printed("json").splitlines()[:1]))[0] is None


def test_a_recording_that_went_on_has_a_second_header() -> None:
    text = printed("csv")
    assert len(list(cycles((text + text).splitlines(keepends=True)))) == 2 * CYCLES


def test_nan_and_infinity_are_unknown() -> None:
    line = json.dumps(
        {"node": "x", "cycle": 2000, "host": {}, "domains": [{"UUID": "u", "name": "v", "cpu_total": float("nan")}]}
    )
    (cycle,) = cycles([line])
    assert cycle.snapshot.tables["vm"].columns["cpu_total"] == [None]
    header = "time,node,cycle,UUID,name,cpu_total\r\n"
    (cycle,) = cycles([header, "2.0,x,2000,u,v,inf\r\n"])
    assert cycle.snapshot.tables["vm"].columns["cpu_total"] == [None]
    (cycle,) = cycles([line.replace("NaN", "1" + "0" * 400)])
    assert cycle.snapshot.tables["vm"].columns["cpu_total"] == [None]


@pytest.mark.parametrize(
    "text",
    ["hello\n", "{\n", '{"node": "x"}\n', "[1]\n", '{"node":"x","cycle":"y","host":{},"domains":[]}\n',
     "time,node,cycle,UUID,name\r\n1,x,2\r\n", "time,node,cycle,UUID,name\r\n1,x,then,u,v\r\n",
     '{"node":"x","cycle":1,"host":{},"domains":[3]}\n', "1,x,2000,u,v\r\n",
     '{"node":"x","cycle":1e999,"host":{},"domains":[]}\n',
     f'{{"node":"x","cycle":1{"0" * 400},"host":{{}},"domains":[]}}\n',
     f"time,node,cycle,UUID,name\r\n1,x,1{'0' * 400},u,v\r\n",
     'time,node,cycle,UUID,name\r\n1,x,2000,u,"v' + "\r\n1,x,2000,u,v" * 20_000],
)  # fmt: skip
def test_what_is_no_recording_is_said_with_its_line(text: str) -> None:
    with pytest.raises(RecordedError, match=r"line \d"):
        list(cycles(text.splitlines(keepends=True)))
