"""Network: the host's interfaces, and each VM's NICs by their taps in the same table, with directions swapped.

The table is that of the host's network namespace, PROCFS/1/net/dev: net/dev itself is the reader's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proxtop.catalog.net import FAMILY, RX, TX
from proxtop.collectors.base import NO_PROCFS, Reasons, picked, taken, times, unseen
from proxtop.collectors.interfaces import Interfaces
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files
from proxtop.kernel.net_dev import NetDev, parse_net_dev
from proxtop.model import EMPTY, Columns, Inventory, Sample, Statistics, Table

_COUNTERS = (*(f"rx_{field}" for field in RX), *(f"tx_{field}" for field in TX))
_RECEIVED = [(RX.index(field), TX.index(field) if field in TX else None, f"rx_{field}") for field in RX]
_SENT = [(TX.index(field), RX.index(field) if field in RX else None, f"tx_{field}") for field in TX]
"""(place in the VM's direction, place in the other one where it has this field, column)"""

_NOWHERE = NetDev([], [[] for _ in RX], [[] for _ in TX])


class _Pick(NamedTuple):
    """A NIC with the place of its tap in a table: the host's, or that of the namespace with this PID."""

    key: str
    mac: str | None
    swapped: bool
    netns: int | None
    place: int
    gen: int | None


class _Picks:
    """The NICs that were found last, as long as nothing came, went or was made anew."""

    __slots__ = ("found", "inventory")

    def __init__(self) -> None:
        self.inventory: Inventory | None = None
        self.found: list[_Pick] = []


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """Counters of the host's interfaces and of the VMs' NICs; a NIC whose tap is gone has no row."""
    reasons = Reasons(FAMILY.name)
    if unseen(inventory, files):
        reasons.add(NO_PROCFS)
        part = source.get("interface")
        tables = {"interface": EMPTY, "nic": _remote_nics(inventory, part, reasons)}
        return Sample(FAMILY.name, tables, 0.0 if part is None else part.refresh, reasons.text)
    host = _host(files, reasons)
    others: dict[int, NetDev] = {}
    interfaces = _interfaces(host, files)
    picks = _picks(inventory, host, others, files, reasons)
    return Sample(FAMILY.name, {"interface": interfaces, "nic": _nics(picks, host, others)}, 0.0, reasons.text)


def _host(files: Files, reasons: Reasons) -> NetDev:
    """The table of PID 1; where that is hidden, on the local host only, this process' own."""
    text = None
    for pid in ("1", "self") if files.local else ("1",):
        try:
            text = files.proc(f"{pid}/net/dev")
        except KernelError as error:
            reasons.add(error)
        if text is not None:
            break
    else:
        reasons.add(f"{files.procfs}/1/net/dev: not there")
        return _NOWHERE
    try:
        return parse_net_dev(text)
    except KernelError as error:
        reasons.add(error)
        return _NOWHERE


def _interfaces(host: NetDev, files: Files) -> Table:
    kinds, speeds = files.memory(Interfaces).describe(files, host.names)
    columns: Columns = {"type": kinds, "speed": speeds}
    for name, column in zip(_COUNTERS, (*host.rx, *host.tx), strict=True):
        columns[name] = list(column)
    return Table(host.names, columns)


def _picks(
    inventory: Inventory, host: NetDev, others: dict[int, NetDev], files: Files, reasons: Reasons
) -> list[_Pick]:
    """Adds to `others` the tables of the namespaces that NICs are in."""
    memory, last = files.memory(Interfaces), files.memory(_Picks)
    lasting = memory.lasting(files, host.names)
    if lasting and last.inventory is inventory:
        return last.found
    places = {name: place for place, name in enumerate(host.names)}
    where: dict[int, dict[str, int]] = {}
    picks = []
    for vm in inventory.vms:
        for nic in vm.nics or ():
            if nic.netns is not None and nic.netns not in others:
                found = others[nic.netns] = _namespace(files, nic.netns, reasons)
                where[nic.netns] = {name: place for place, name in enumerate(found.names)}
            place = (places if nic.netns is None else where[nic.netns]).get(nic.name)
            if place is not None:
                gen = memory.index(files, nic.name) if nic.netns is None else None
                picks.append(_Pick(f"{vm.uuid}/{nic.name}", nic.mac, nic.swapped, nic.netns, place, gen))
    memory.adopt(inventory, files)
    last.inventory = None if others else inventory  # what is in other namespaces is looked for each time
    last.found = picks
    return picks


def _namespace(files: Files, pid: int, reasons: Reasons) -> NetDev:
    """The table of another network namespace. Not kept open: that would hold the namespace after its last process."""
    try:
        text = files.once(f"{files.procfs}/{pid}/net/dev")
        return _NOWHERE if text is None else parse_net_dev(text)
    except KernelError as error:
        reasons.add(error)
        return _NOWHERE


def _nics(picks: list[_Pick], host: NetDev, others: Mapping[int, NetDev]) -> Table:
    """The VM receives what its tap transmits. What a tap can't know of the other direction's line (frame errors and
    multicast received; collisions and carrier losses sent) is unknown."""
    columns: Columns = {"gen": [pick.gen for pick in picks], "mac": [pick.mac for pick in picks]}
    if not others and all(pick.swapped for pick in picks):  # as on nearly every host
        places = [pick.place for pick in picks]
        for fields, opposite in ((_RECEIVED, host.tx), (_SENT, host.rx)):
            for _, other, name in fields:
                column = None if other is None else opposite[other]
                columns[name] = [None if column is None else column[place] for place in places]
        return Table([pick.key for pick in picks], columns)
    tables = [host if pick.netns is None else others[pick.netns] for pick in picks]
    both = list(zip(picks, tables, strict=True))
    for position, other, name in _RECEIVED:
        columns[name] = [_counter(pick, table.rx, table.tx, position, other) for pick, table in both]
    for position, other, name in _SENT:
        columns[name] = [_counter(pick, table.tx, table.rx, position, other) for pick, table in both]
    return Table([pick.key for pick in picks], columns)


def _counter(
    pick: _Pick, same: list[list[int]], opposite: list[list[int]], position: int, other: int | None
) -> int | None:
    if not pick.swapped:
        return same[position][pick.place]
    return None if other is None else opposite[other][pick.place]


def _remote_nics(inventory: Inventory, part: Statistics | None, reasons: Reasons) -> Table:
    """What the connector tells of a remote host's NICs, in the VM's directions, each row with its own time."""
    ids, places = picked(part, {vm.uuid for vm in inventory.vms})
    macs = {f"{vm.uuid}/{nic.name}": nic.mac for vm in inventory.vms for nic in vm.nics or ()}
    columns = taken(part, ("gen", "mac", *_COUNTERS), places)
    columns["mac"] = [macs.get(row) or told for row, told in zip(ids, columns["mac"], strict=True)]
    if part is not None:
        reasons.add(part.reason)
    return Table(ids, columns, times(part, places) if part is not None else None)


__all__ = ["FAMILY", "sample"]
