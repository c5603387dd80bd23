"""The field selector: which columns the view shows, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxtop.catalog import Metric
from proxtop.tui import views
from proxtop.tui.frame import Frame
from proxtop.tui.state import State
from proxtop.tui.table import Line
from proxtop.tui.text import fit


def entries(view: str, families: tuple[str, ...], shown: Sequence[Metric]) -> tuple[Metric, ...]:
    """The columns that the view can have: as the catalog has them, those that are shown in the order in which they
    are."""
    names = {metric.name for metric in shown}
    moved = iter(shown)
    return tuple(next(moved) if m.name in names else m for m in views.columns(view, families))


def toggle(state: State, frame: Frame) -> State:
    """Shows or hides the field under the cursor; the last column stays."""
    if not frame.fields:
        return state
    place = min(state.cursor, len(frame.fields) - 1)
    metric = frame.fields[place]
    columns = len(frame.fields) - len(_panel(frame))
    if place >= columns:
        names = {m.name for m in frame.host} ^ {metric.name}
        chosen = tuple(m.name for m in _panel(frame) if m.name in names)
        return replace(state, host={**state.host, state.view: chosen})
    if not {m.name for m in frame.columns} ^ {metric.name}:
        return replace(state, note="the last column stays")
    before = _chosen(state, frame)
    names = {m.name for m in before} ^ {metric.name}
    families = frame.scene.families(state.view)
    chosen = tuple(m.name for m in entries(state.view, families, before) if m.name in names)
    return replace(state, fields={**state.fields, state.view: chosen})


def _chosen(state: State, frame: Frame) -> tuple[Metric, ...]:
    """The columns of the view, those too which only other data or a wider screen let be seen: hosts, scores."""
    return views.shown(state.view, frame.scene.families(state.view), state.fields, verbose=state.verbose)


def shift(state: State, frame: Frame, step: int) -> State:
    """Moves the column under the cursor past its neighbour."""
    names = [metric.name for metric in frame.columns]
    place = min(state.cursor, len(frame.fields) - 1)
    metric = frame.fields[place] if frame.fields else None
    if metric is None or metric.scope == "host" or metric.name not in names:
        return replace(state, note="only a column that is shown can be moved")
    now = names.index(metric.name)
    to = max(0, min(len(names) - 1, now + step))
    if to == now:
        return state
    other = names[to]
    swapped = {metric.name: other, other: metric.name}
    chosen = tuple(swapped.get(m.name, m.name) for m in _chosen(state, frame))
    at = [m.name for m in frame.fields]
    return replace(state, fields={**state.fields, state.view: chosen}, cursor=at.index(other))


def _panel(frame: Frame) -> tuple[Metric, ...]:
    return tuple(metric for metric in frame.fields if metric.scope == "host")


def box(state: State, found: Sequence[Metric], frame_columns: Sequence[Metric], host: Sequence[Metric], height: int,
        width: int) -> list[Line]:  # fmt: skip
    """The selector's lines, at most `height` of them and `width` cells wide."""
    shown = {("c", m.name) for m in frame_columns} | {("h", m.name) for m in host}
    room = max(1, height - 2)
    cursor = min(state.cursor, max(0, len(found) - 1))
    top = max(0, min(cursor - room // 2, len(found) - room))
    title = f" Fields of {views.VIEWS[state.view].title} ({cursor + 1}/{len(found)}) "
    lines: list[Line] = [[("head", fit(title, width))]]
    for place in range(top, min(len(found), top + room)):
        metric = found[place]
        mark = "[x]" if ("h" if metric.scope == "host" else "c", metric.name) in shown else "[ ]"
        where = "host panel: " if metric.scope == "host" else ""
        text = f" {mark} {fit(metric.label, 10)} {fit(metric.name, 26)} {where}{metric.help}"
        lines.append([("selected" if place == cursor else "", fit(text, width))])
    lines.append([("head", fit(" Space show/hide   < > move   f Esc close", width))])
    return lines
