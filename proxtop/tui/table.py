"""A view of a snapshot: its rows in their order, and its columns in theirs. Only what is visible becomes text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from proxtop.catalog import Metric
from proxtop.model import EMPTY, Snapshot, Table, Value
from proxtop.tui import cells, views
from proxtop.tui.state import State
from proxtop.tui.text import fit
from proxtop.tui.theme import Levels

Fragment = tuple[str, str]
Line = list[Fragment]

_UUID_SHORT, _UUID_FULL, _WIDE = 8, 36, 200
_NODE_LEAST, _NODE_MOST = 8, 20
_NAME_LEAST, _NAME_MOST = 14, 40
_PART_OF = {"vcpu": "vCPU ", "disk": "", "nic": "", "thread": ""}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a view: `order` are places in the table's columns, `ids` the ids in that order, `total` all rows
    of the view whatever the filter."""

    table: Table
    order: list[int]
    ids: list[str]
    total: int
    names: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where columns are: (metric, first cell, cells) of those that fit, the identity ones first; `more` are those that
    do not fit to the left and to the right, `fixed` how many identity columns there are."""

    columns: tuple[tuple[Metric, int, int], ...]
    more: tuple[int, int]
    fixed: int


def rows(snapshot: Snapshot | None, state: State, only: Sequence[str] = ()) -> Rows:
    """The view's rows, filtered by name and sorted: numbers as numbers, unknown ones last, equals by name. `only` are
    globs of names or UUIDs; other VMs are not there."""
    view = views.VIEWS[state.view]
    table = snapshot.tables.get(view.scope, EMPTY) if snapshot is not None else EMPTY
    order = list(range(len(table.ids)))
    if view.kind:
        kind = "disk_device_type" if view.scope == "device" else "net_host_type"
        types = table.columns.get(kind, [])
        order = [place for place, value in enumerate(types) if value == view.kind]
    names = _names(table, view)
    if only and view.scope == "vm":
        order = [place for place in order if named(only, str(names[place]), table.ids[place])]
    total = len(order)
    if state.filter:
        hosts, wanted = split_filter(state.filter)
        order = [place for place in order if wanted in str(names[place]).casefold()]
        nodes = table.columns.get("node")
        if hosts and nodes is not None:
            order = [place for place in order if any(fnmatchcase(str(nodes[place]).casefold(), g) for g in hosts)]
    order = _sorted(table, order, names, state)
    if state.grouped and (nodes := table.columns.get("node")) is not None:
        order.sort(key=lambda place: str(nodes[place]))
    return Rows(table, order, [table.ids[place] for place in order], total, names)


def split_filter(text: str) -> tuple[tuple[str, ...], str]:
    """(globs of hosts, part of a name), both in lower case: 'host:web* db' means the VMs with db in their name on the
    hosts that begin with web. A host without a * is a part of its name."""
    hosts, rest = [], []
    for word in text.casefold().split():
        host = word.removeprefix("host:")
        if host == word:
            rest.append(word)
        elif host:
            hosts.append(host if set(host) & set("*?[") else f"*{host}*")
    return tuple(hosts), " ".join(rest)


def named(only: Sequence[str], name: str, key: str) -> bool:
    """Whether one of the globs matches the VM's name or UUID; none at all match every VM."""
    return not only or any(fnmatchcase(name, glob) or fnmatchcase(key, glob) for glob in only)


def _names(table: Table, view: views.View) -> Sequence[Value]:
    column = "name" if view.scope == "vm" else "disk_device_name" if view.scope == "device" else ""
    return table.columns.get(column) or table.ids


def _sorted(table: Table, order: list[int], names: Sequence[Value], state: State) -> list[int]:
    order = sorted(order, key=lambda place: (str(names[place]), table.ids[place]))
    sort = state.sort
    if sort.column in views.NAMES:
        if sort.column in ("uuid", "device"):
            order.sort(key=lambda place: table.ids[place])
        elif sort.column == "node" and (nodes := table.columns.get("node")) is not None:
            order.sort(key=lambda place: str(nodes[place]))
        return order[::-1] if sort.descending else order
    column = table.columns.get(sort.column)
    if column is None:
        return order
    known: list[tuple[float, int]] = []
    unknown: list[int] = []
    for place in order:
        value = column[place]
        if isinstance(value, int | float):
            known.append((value, place))
        else:
            unknown.append(place)
    known.sort(key=lambda pair: pair[0], reverse=sort.descending)
    return [place for _, place in known] + unknown


def name_cells(width: int) -> int:
    """The cells of the column of names on a screen of that width: of the width alone, so that it never jumps."""
    return max(_NAME_LEAST, min(_NAME_MOST, width // 6))


def column_cells(metric: Metric, width: int, *, human: bool) -> int:
    """The cells of a column."""
    if metric.name == "uuid":
        return _UUID_FULL if width >= _WIDE else _UUID_SHORT
    if metric.name == "node":
        return max(_NODE_LEAST, min(_NODE_MOST, width // 10))
    if metric.name in views.NAMES:
        return name_cells(width)
    return cells.cells(metric, human=human)


def layout(shown: Sequence[Metric], width: int, left: int, *, human: bool) -> Layout:
    """Which columns fit beside each other, from the scrolled one `left` on; those of text always stay."""
    fixed = [metric for metric in shown if metric.name in views.NAMES]
    rest = [metric for metric in shown if metric.name not in views.NAMES]
    left = max(0, min(left, len(rest) - 1))
    placed: list[tuple[Metric, int, int]] = []
    x = 0
    for metric in fixed:
        size = column_cells(metric, width, human=human)
        placed.append((metric, x, size))
        x += size + 1
    for metric in rest[left:]:
        size = column_cells(metric, width, human=human)
        if x + size >= width and len(placed) > len(fixed):
            break
        placed.append((metric, x, size))
        x += size + 1
    return Layout(tuple(placed), (left, len(rest) - left - (len(placed) - len(fixed))), len(fixed))


def reach(shown: Sequence[Metric], width: int, left: int, column: str, *, human: bool) -> int:
    """The `left` nearest to this one at which that column is visible."""
    rest = [metric.name for metric in shown if metric.name not in views.NAMES]
    if column not in rest:
        return left
    place = rest.index(column)
    left = min(left, place)
    while left < place and column not in {m.name for m, _, _ in layout(shown, width, left, human=human).columns}:
        left += 1
    return left


def header(plan: Layout, state: State) -> Line:
    """The heads of the columns; the one that sorts carries ^ (ascending) or v (descending)."""
    line: Line = []
    sort = state.sort
    for metric, _, size in plan.columns:
        sorts = metric.name == sort.column
        label = metric.label + (("v" if sort.descending else "^") if sorts else "")
        text = fit(label, size) if metric.name in views.NAMES else label.rjust(size)
        line += [("sorted" if sorts else "head", text), ("head", " ")]
    return line


def row(found: Rows, place: int, plan: Layout, levels: Levels, *, human: bool, mark: str = " ") -> Line:
    """One row of the table; `place` is the row's place in the columns, `mark` stands behind an expanded one's name."""
    line: Line = []
    columns = found.table.columns
    for metric, _, size in plan.columns:
        name = metric.name
        if name in views.NAMES:
            value: Value = found.names[place]
            if name in ("uuid", "device"):
                value = found.table.ids[place]
            elif name == "node":
                value = columns[name][place]
            style = "name" if name == "name" else ""
            if name == "uuid" and size < _UUID_FULL:
                value = str(value)[:size]
            line += [(style, fit(str(value), size)), ("", mark if name == "name" else " ")]
            continue
        column = columns.get(name)
        value = column[place] if column is not None else None
        style = ""
        if value is None or value == 0:
            style = "dim"
        elif levels.limits(name) is not None:
            whole = columns.get("ram_total") if name == "ram_used" else None
            style = levels.style(name, value, whole[place] if whole else None)
        line += [(style, cells.cell(metric, value, size, human=human)), ("", " ")]
    return line


def parts(snapshot: Snapshot, scope: str, owner: str) -> list[tuple[str, Mapping[str, Value]]]:
    """The parts of a VM in that table: (name of the part, its values by column), in their order."""
    table = snapshot.tables.get(scope, EMPTY)
    start = owner + "/"
    found: list[tuple[str, Mapping[str, Value]]] = []
    for place, key in enumerate(table.ids):
        if key.startswith(start):
            found.append((key[len(start) :], {name: column[place] for name, column in table.columns.items()}))
    return found


_VCPU_FOR = {"cpu_total": "vcpu_total", "cpu_steal": "vcpu_steal"}


def part_rows(snapshot: Snapshot, scope: str, owner: str, plan: Layout, levels: Levels, *, human: bool) -> list[Line]:
    """The parts of a VM in the columns of the table above: what a part does not have stays empty."""
    lines = []
    for number, (part, values) in enumerate(parts(snapshot, scope, owner)):
        line: Line = []
        for metric, _, size in plan.columns:
            name = _VCPU_FOR.get(metric.name, metric.name) if scope == "vcpu" else metric.name
            if metric.name == "name" or (metric.name == "device" and not number):
                line += [("part", fit(f"  {_PART_OF.get(scope, '')}{part}", size)), ("", " ")]
            elif name in values:
                value = values[name]
                style = "dim" if value is None or value == 0 else levels.style(name, value)
                line += [(style, cells.cell(metric, value, size, human=human)), ("", " ")]
            else:
                line.append(("", " " * (size + 1)))
        lines.append(line)
    return lines
