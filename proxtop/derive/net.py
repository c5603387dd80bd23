"""Network: rates per interface, per NIC and per VM; directions are the VM's already."""

from __future__ import annotations

from proxtop.catalog.net import RX, TX
from proxtop.derive.base import Reading, Tables, deltas
from proxtop.model import Columns, Table
from proxtop.rates import Deltas, Numbers, number_column, owner_of, total, values
from proxtop.totals import host_interfaces

_FIELDS = tuple(
    (f"{way}_{field}", f"{word}{field.capitalize()}")
    for way, word, fields in (("rx", "received", RX), ("tx", "transmitted", TX))
    for field in fields
)
_COUNTERS = tuple(column for column, _ in _FIELDS)


class NetDerivation:
    """The host's interfaces, each virtual NIC, and each VM over all its NICs."""

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host, interface, nic and vm."""
        tables: Tables = {}
        interfaces = deltas("interface", before, after, _COUNTERS)
        if interfaces is not None:
            columns = _rates(interfaces, "net_host_")
            columns["net_host_speed"] = values(number_column(interfaces.table, "speed"))
            columns["net_host_type"] = interfaces.table.columns.get("type", [None] * len(interfaces.table.ids))
            tables["interface"] = Table(interfaces.table.ids, columns)
            tables["host"] = Table(["host"], host_interfaces(tables["interface"]))
        nics = _nics(before, after)
        if nics is not None:
            columns = _rates(nics, "net_")
            columns["net_mac"] = nics.table.columns.get("mac", [None] * len(nics.table.ids))
            tables["nic"] = Table(nics.table.ids, columns)
            tables["vm"] = _vms(tables["nic"])
        return tables


def _nics(before: Reading | None, after: Reading) -> Deltas | None:
    table = after.table("nic")
    if table is None or table.at is None:
        return deltas("nic", before, after, _COUNTERS)
    earlier = before.table("nic") if before else None
    times = dict(zip(earlier.ids, earlier.at, strict=True)) if earlier is not None and earlier.at is not None else {}
    seconds = [
        None if at is None or (old := times.get(row)) is None else at - old
        for row, at in zip(table.ids, table.at, strict=True)
    ]
    return Deltas(earlier, table, seconds, _COUNTERS)


def _rates(gains: Deltas, prefix: str) -> Columns:
    return {prefix + name: values(gains.rate(column)) for column, name in _FIELDS}


def _vms(nics: Table) -> Table:
    places: dict[str, list[int]] = {}
    for place, row in enumerate(nics.ids):
        places.setdefault(owner_of(row), []).append(place)
    columns: Columns = {}
    for _, name in _FIELDS:
        numbers: Numbers = number_column(nics, "net_" + name)
        columns["net_" + name] = values([total([numbers[place] for place in own]) for own in places.values()])
    return Table(list(places), columns)
