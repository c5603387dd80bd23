"""The lines of the hosts, where many are shown on one screen. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping

from proxtop import catalog
from proxtop.model import Value
from proxtop.tui import cells, words
from proxtop.tui.cluster import Cluster, HostLine
from proxtop.tui.table import Line, name_cells
from proxtop.tui.text import fit, width

_STATE_CELLS = 12
_NUMBERS = (("LAG", 7), ("CLOCK", 8), ("LOST", 6), ("VMs", 5), ("%USED", 6), ("AVAIL", 8))
_CLOCK_S = 0.5
"""From which difference of clocks on it is worth a look."""


def panel(cluster: Cluster, columns: int, most: int, cycle: int | None) -> list[Line]:
    """A line for each host, those in trouble first, at most so many; the last one counts those that have none."""
    live = sum(not host.lost for host in cluster.hosts)
    lost = len(cluster.hosts) - live
    title = f"HOSTS  {live} live{f', {lost} lost' if lost else ''}"
    if cycle:
        title += f"   cycle {time.strftime('%H:%M:%S', time.localtime(cycle / 1000))}"
    lines: list[Line] = [[("title", fit(title, columns))], [("part", fit(_heads(columns), columns))]]
    shown = cluster.hosts if len(cluster.hosts) <= most else cluster.hosts[: most - 1]
    lines += [_line(host, columns) for host in shown]
    if left := len(cluster.hosts) - len(shown):
        rest = cluster.hosts[len(shown) :]
        gone = sum(host.lost for host in rest)
        lines.append([("part", fit(f"{left} more hosts{f', {gone} of them lost' if gone else ''}", columns))])
    return lines


def group(host: HostLine, columns: int) -> Line:
    """The line above the VMs of a host, where they are grouped."""
    line = _line(host, columns)
    return [(style if style in ("bad", "warn", "dim") else "group", text) for style, text in line]


def _heads(columns: int) -> str:
    numbers = " ".join(f"{head:>{size}}" for head, size in _NUMBERS)
    return f"{fit('HOST', name_cells(columns))} {fit('STATE', _STATE_CELLS)} {numbers}"


def _line(host: HostLine, columns: int) -> Line:
    name, quiet = fit(host.name, name_cells(columns)), "dim" if host.lost else ""
    state = "live" if not host.lost else "lost" if host.age is None else f"lost {words.seconds(host.age)}"
    if not host.lost and host.behind:
        state = f"{host.behind} cycle{'s' if host.behind > 1 else ''} late"
    late = host.lag is not None and host.lag > host.interval / 2
    skewed = host.offset is not None and abs(host.offset) > _CLOCK_S
    used = _used(host.figures)
    available = catalog.metric("host", "ram_Available")
    memory = host.figures.get("ram_Available")
    texts = (
        ("warn" if late and not host.lost else quiet, _seconds(host.lag)),
        ("warn" if skewed and not host.lost else quiet, _seconds(host.offset, sign=True)),
        ("warn" if host.frames_lost and not host.lost else quiet, str(host.frames_lost)),
        (quiet, "-" if host.vms is None else str(host.vms)),
        (quiet, "-" if used is None else f"{used:.1f}"),
        (quiet, "-" if memory is None or available is None else cells.text(available, memory, human=True)),
    )
    line: Line = [
        ("dim" if host.lost else "name", name),
        ("", " "),
        ("bad" if host.lost else "warn" if host.behind else "", fit(state, _STATE_CELLS)),
    ]
    for (style, text), (_, size) in zip(texts, _NUMBERS, strict=True):
        line += [("", " "), (style, text.rjust(size))]
    if host.reason and (room := columns - sum(width(text) for _, text in line) - 1) > 10:
        line += [("", " "), (quiet, fit(host.reason, room))]
    taken = 0
    for place, (_, text) in enumerate(line):
        taken += width(text)
        if taken > columns:
            return line[:place]
    return line


def _used(figures: Mapping[str, Value]) -> float | None:
    idle, waiting = figures.get("cpu_idle"), figures.get("cpu_iowait")
    if not isinstance(idle, int | float):
        return None
    return max(0.0, 100.0 - idle - (waiting if isinstance(waiting, int | float) else 0.0))


def _seconds(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    mark = "+" if sign and value >= 0 else ""
    if abs(value) < 0.9995:
        return f"{mark}{value * 1000:.0f}ms"
    return f"{mark}{value:.1f}s" if abs(value) < 1000 else f"{mark}{value / 3600:.1f}h"
