"""Network: rates per interface, per NIC and per VM; directions are the VM's already."""

from __future__ import annotations

from collections.abc import Sequence

from proxtop.catalog.net import RX, TX
from proxtop.derive.base import OwnTimes, Reading, Tables, deltas, span
from proxtop.derive.groups import Grouping, Groups
from proxtop.model import Columns, Table
from proxtop.rates import Deltas, Numbers, number_column, owner_of, values
from proxtop.totals import host_interfaces

_FIELDS = tuple(
    (f"{way}_{field}", f"{word}{field.capitalize()}")
    for way, word, fields in (("rx", "received", RX), ("tx", "transmitted", TX))
    for field in fields
)
_COUNTERS = tuple(column for column, _ in _FIELDS)


class NetDerivation:
    """The host's interfaces, each virtual NIC, and each VM over all its NICs."""

    def __init__(self) -> None:
        self._remote = OwnTimes(_COUNTERS)
        self._grouping = Grouping()

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host, interface, nic and vm."""
        tables: Tables = {}
        interfaces = deltas("interface", before, after, _COUNTERS)
        if interfaces is not None:
            columns = _named(_rates(interfaces), "net_host_")
            columns["net_host_speed"] = values(number_column(interfaces.table, "speed"))
            columns["net_host_type"] = interfaces.table.columns.get("type", [None] * len(interfaces.table.ids))
            tables["interface"] = Table(interfaces.table.ids, columns)
            tables["host"] = Table(["host"], host_interfaces(tables["interface"]))
        nics = after.table("nic")
        if nics is not None:
            if nics.at is None:
                gains = _rates(Deltas(before.table("nic") if before else None, nics, span(before, after), _COUNTERS))
            else:
                gains, _ = self._remote.follow("nic", before, after, _rates)
            columns = _named(gains, "net_")
            columns["net_mac"] = nics.columns.get("mac", [None] * len(nics.ids))
            tables["nic"] = Table(nics.ids, columns)
            vms = list(dict.fromkeys(map(owner_of, nics.ids)))
            tables["vm"] = _vms(tables["nic"], vms, self._grouping.by_vm(nics.ids, vms))
        return tables


def _rates(gains: Deltas) -> Sequence[Numbers]:
    return [gains.rate(column) for column in _COUNTERS]


def _named(rates: Sequence[Numbers], prefix: str) -> Columns:
    return {prefix + name: values(numbers) for (_, name), numbers in zip(_FIELDS, rates, strict=True)}


def _vms(nics: Table, vms: list[str], groups: Groups) -> Table:
    names = ["net_" + name for _, name in _FIELDS]
    return Table(vms, {name: values(groups.totals(number_column(nics, name))) for name in names})
