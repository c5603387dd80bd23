"""Snapshots to draw: recorded from three real guests under libvirt (fixtures/libvirt.json: one busy, one idle, one that
writes and sends), and as many as wanted made out of them, the same every time."""

from __future__ import annotations

import json
import pathlib
import random
from dataclasses import replace

from proxtop.bus.ids import Ids
from proxtop.bus.wire import from_wire
from proxtop.model import Snapshot, Stamp, Table, Value

HERE = pathlib.Path(__file__).parent

Cycle = tuple[Stamp, Snapshot]


def recorded(name: str = "libvirt") -> list[Cycle]:
    """The recorded cycles, oldest first."""
    entries = json.loads((HERE / "fixtures" / f"{name}.json").read_text())
    for entry in entries:
        for table in entry["snapshot"]["tables"].values():
            table["ids"] = Ids(table["ids"])
    return [(from_wire(Stamp, entry["stamp"]), from_wire(Snapshot, entry["snapshot"])) for entry in entries]


def altered(snapshot: Snapshot, scope: str, row: str, **values: Value) -> Snapshot:
    """The snapshot with other values in one row of a table; `row` is an id, or the name of a VM."""
    table = snapshot.tables[scope]
    place = table.ids.index(row) if row in table.ids else table.columns["name"].index(row)
    columns = {name: list(column) for name, column in table.columns.items()}
    for name, value in values.items():
        columns.setdefault(name, [None] * len(table.ids))[place] = value
    return replace(snapshot, tables={**snapshot.tables, scope: Table(table.ids, columns)})


def many(count: int, cycle: int = 0, seed: int = 1) -> Cycle:
    """A cycle of that many VMs: the recorded ones again and again, with other names and other loads each cycle."""
    stamp, source = recorded()[-1]
    chance = random.Random(seed * 1_000_003 + cycle)
    vms = source.tables["vm"]
    owners = [f"{number:08x}-0000-4000-8000-{number * 7919 % (1 << 48):012x}" for number in range(count)]
    tables = dict(source.tables)
    columns = {
        name: [_moved(column[n % len(column)], chance) for n in range(count)] for name, column in vms.columns.items()
    }
    columns["name"] = [f"{('web', 'db', 'app', 'mail', 'cache')[n % 5]}-{n:03}" for n in range(count)]
    columns["pid"] = [1000 + n for n in range(count)]
    tables["vm"] = Table(owners, columns)
    for scope in ("vcpu", "thread", "disk", "nic"):
        table = source.tables[scope]
        ids: list[str] = []
        rows: list[int] = []
        for n, owner in enumerate(owners):
            like = vms.ids[n % len(vms.ids)]
            for place, key in enumerate(table.ids):
                if key.startswith(like):
                    ids.append(owner + key[len(like) :])
                    rows.append(place)
        tables[scope] = Table(
            ids, {name: [_moved(column[row], chance) for row in rows] for name, column in table.columns.items()}
        )
    moved = replace(stamp, seq=cycle + 1, cycle=stamp.cycle + 2000 * cycle, time=stamp.time + 2 * cycle)
    return moved, replace(source, tables=tables)


def _moved(value: Value, chance: random.Random) -> Value:
    return value * chance.uniform(0.2, 1.8) if isinstance(value, float) and value else value
