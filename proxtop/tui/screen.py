"""State and scene and size → a screen: lines of styled text. Pure: the same in, the same out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from proxtop.catalog import Metric
from proxtop.tui import cells, detail, fields, help, hosts, hurts, table, views, words
from proxtop.tui.frame import Frame
from proxtop.tui.scene import Scene
from proxtop.tui.state import State
from proxtop.tui.table import Line
from proxtop.tui.text import fit, width

MIN_WIDTH, MIN_HEIGHT = 40, 8
_PANEL_FROM = 14
_HINTS = "Enter open  e expand  / filter  w who hurts whom  Space pause  f fields  ? help  q quit"
_VM_HINTS = "Esc back  Left Right other VM  Up Down scroll  Space pause  [ ] back and forth  u units"
_FIELD_GAP = 2
_UUID_FROM = 60
_GROUP = -2
"""The part of a line that stands above the VMs of a host."""


@dataclass(frozen=True, slots=True)
class Body:
    """The table: its lines in sight, the row of each, all rows, where it stands; `head` is the line above it, `total`
    counts the rows that there are without a filter, `depth` the lines by which a page can be scrolled."""

    head: Line
    lines: list[Line]
    owners: list[str]
    ids: list[str]
    top: int
    length: int
    heads: tuple[tuple[int, int, str], ...] = ()
    total: int = 0
    depth: int = 0


def render(state: State, scene: Scene, columns: int, rows: int) -> Frame:
    """The screen of that many columns and rows."""
    families = scene.families(state.view)
    shown = _columns(scene, views.shown(state.view, families, state.fields, verbose=state.verbose), columns)
    host = _host_metrics(state, families)
    if columns < MIN_WIDTH or rows < MIN_HEIGHT:
        return _too_small(scene, columns, rows, shown)
    panel = _panel(state, scene, host, columns, rows)
    foot = _foot(state, scene, columns)
    page = rows - 1 - len(panel) - 1 - len(foot)
    body = _kept(state, scene, shown, columns, page)
    lines = [_status(state, scene, columns, body), *panel, body.head, *body.lines[:page]]
    lines += [[]] * (rows - len(foot) - len(lines))
    lines += foot
    columns_of = (
        () if state.view == "contention" else _columns(scene, fields.entries(state.view, families, shown), columns)
    )
    chosen = columns_of + views.host_fields(state.view, families)
    frame = Frame(
        lines=lines, scene=scene, width=columns, ids=body.ids, owners=body.owners, first=2 + len(panel),
        heads=body.heads, head=1 + len(panel), top=body.top, page=page, length=body.length, columns=shown,
        fields=chosen, host=host, depth=help.depth(columns, rows - 2) if state.overlay == "help" else body.depth,
    )  # fmt: skip
    if state.overlay == "help":
        _lay(frame, help.box(state.cursor, columns, rows - 2), 1)
    elif state.overlay == "fields":
        _lay(frame, fields.box(state, chosen, shown, host, rows - 2, min(columns, 100)), 1)
    return frame


def _too_small(scene: Scene, columns: int, rows: int, shown: tuple[Metric, ...]) -> Frame:
    say = [f"too small: {columns}x{rows}", f"{MIN_WIDTH}x{MIN_HEIGHT} at least"]
    lines: list[Line] = [[("", fit(text, columns))] for text in say[:rows]]
    lines += [[]] * (rows - len(lines))
    return Frame(lines, scene, columns, [], [], rows, (), 0, 0, 1, 0, shown)


def _columns(scene: Scene, metrics: tuple[Metric, ...], columns: int) -> tuple[Metric, ...]:
    """The column of hosts only where there are several on the screen; there, on a narrow one, none of UUIDs. That of a
    profiler's scores only where one runs."""
    if scene.snapshot is None or views.ANOMALY.name not in scene.snapshot.tables["vm"].columns:
        metrics = tuple(metric for metric in metrics if metric is not views.ANOMALY)
    if scene.cluster is None:
        return tuple(metric for metric in metrics if metric is not views.NODE)
    return metrics if columns >= _UUID_FROM else tuple(metric for metric in metrics if metric is not views.UUID)


def _host_metrics(state: State, families: tuple[str, ...]) -> tuple[Metric, ...]:
    names = state.host.get(state.view)
    if names is None:
        names = views.first_host(state.view, families)
    return tuple(metric for metric in views.host_fields(state.view, families) if metric.name in names)


def _status(state: State, scene: Scene, columns: int, body: Body) -> Line:
    """The status bar."""
    view = views.VIEWS[state.view]
    what = "VMs" if view.scope == "vm" else "Devices"
    total = "-" if scene.snapshot is None else str(body.total)
    if state.filter and scene.snapshot is not None:
        total = f"{len(body.ids)} of {total}"
    interval = f"{state.interval:.1f}"
    if abs(float(interval) - state.interval) > 1e-6:
        interval = f"{state.interval:g}"
    parts = ["proxtop", f"Refresh: {interval}s", f"View: {view.title}{' [H]' if state.human else ''}",
             f"{what}: {total}"]  # fmt: skip
    if scene.cluster is not None:
        lost = len(scene.cluster.lost)
        parts.append(f"Hosts: {len(scene.nodes)}{f' ({lost} lost)' if lost else ''}")
    elif len(scene.nodes) > 1 and scene.stamp is not None:
        parts.append(f"Host: {scene.stamp.node} ({scene.nodes.index(scene.stamp.node) + 1}/{len(scene.nodes)}, Tab)")
    if scene.behind is not None and scene.stamp is not None:
        clock = time.strftime("%H:%M:%S", time.localtime(scene.stamp.cycle / 1000))
        parts.append(f"PAUSED at {clock} (-{words.seconds(scene.behind)})")
    elif scene.age is not None:
        parts.append(f"OLD: {words.seconds(scene.age)}")
    if (scene.behind is not None or scene.age is not None) and width(" | ".join(parts)) > columns:
        parts.insert(1, parts.pop())  # that what is shown is not of now is never cut off
    parts.append("Press ? help")
    return [("status", fit(" | ".join(parts), columns))]


def _panel(state: State, scene: Scene, host: tuple[Metric, ...], columns: int, rows: int) -> list[Line]:
    """The host's figures: name and value in places that depend on the names and the width only."""
    if rows < _PANEL_FROM or not (host or scene.cluster) or state.overlay == "vm":
        return []
    most = max(2, rows // 8)
    if scene.cluster is not None:
        return hosts.panel(scene.cluster, columns, 2 * most, scene.stamp.cycle if scene.stamp else None)
    snapshot = scene.snapshot
    values = snapshot.tables["host"].columns if snapshot is not None and "host" in snapshot.tables else {}
    title = "HOST METRICS"
    lines: list[Line] = [[("title", title)]]
    used = columns
    for metric in host:
        column = values.get(metric.name)
        value = column[0] if column else None
        size = 16 if metric.kind == "info" else cells.cells(metric, human=state.human)
        taken = len(metric.name) + 2 + size
        if used + _FIELD_GAP + taken > columns:
            if len(lines) > most:
                break
            lines.append([])
            used = 0
        elif used:
            lines[-1].append(("", " " * _FIELD_GAP))
            used += _FIELD_GAP
        text = cells.text(metric, value, human=state.human)
        style = "dim" if value is None else scene.levels.style(metric.name, value)
        if scene.age is not None:
            style = "dim"
        shown = text if width(text) <= size else cells.cell(metric, value, size, human=state.human)
        lines[-1] += [("", f"{metric.name}: "), (style, shown), ("", " " * max(0, size - width(shown)))]
        used += taken
    return lines


def _detail(state: State, scene: Scene, columns: int, page: int) -> Body:
    """The page of one VM, scrolled by the cursor."""
    lines = detail.page(state, scene, columns)
    top = max(0, min(state.cursor, len(lines) - 1 - page))
    more = len(lines) - 1 - page - top
    head = lines[0] if more <= 0 else [("title", fit(lines[0][0][1], columns - 12)), ("part", f"{more:4} below v")]
    shown = [cut(line, 0, columns) for line in lines[1 + top :][:page]]
    found = table.rows(scene.snapshot, state, scene.only)
    depth = max(0, len(lines) - 1 - page)
    return Body(cut(head, 0, columns), shown, [], found.ids, 0, len(found.ids), total=found.total, depth=depth)


def _contention(state: State, scene: Scene, columns: int, page: int) -> Body:
    """Who hurts whom; only the lines in sight are worked out."""
    head = hurts.header(columns)
    total = table.rows(scene.snapshot, replace(state, filter=""), scene.only).total
    if scene.snapshot is None or not total:
        return Body(head, _words(words.empty(state, scene, 0), columns), [], [], 0, 0)
    found = hurts.find(scene, state)
    if not found.waits:
        return Body(head, _words(hurts.nobody(scene), columns), [], [], 0, 0, total=total)
    ids = list(dict.fromkeys(wait.vm for wait in found.waits))
    top = max(0, min(state.top, len(found.waits) - page))
    chosen = [place for place, wait in enumerate(found.waits) if wait.vm == state.selected]
    if chosen and not any(top <= place < top + page for place in chosen):
        top = chosen[0] if chosen[0] < top else chosen[0] - page + 1
    lines, owners = [], []
    for wait in found.waits[top : top + page]:
        line = cut(hurts.row(found, wait, scene, columns), 0, columns)
        lines.append(_selected(line, columns) if wait.vm == state.selected else line)
        owners.append(wait.vm)
    return Body(head, lines, owners, ids, top, len(found.waits), total=total)


def _kept(state: State, scene: Scene, shown: tuple[Metric, ...], columns: int, page: int) -> Body:
    """The body as it was drawn last, where only the age of the data has changed since."""
    if scene.stamp is None:
        return _body(state, scene, shown, columns, page)
    cluster = scene.cluster
    hosts_of = None if cluster is None else cluster if state.grouped else cluster.lost
    key = (scene.stamp, scene.age is None, columns, page, id(scene.snapshot), hosts_of)
    if scene.memo.get("state") is not state or scene.memo.get("drawn") != key:
        scene.memo.update(state=state, drawn=key, body=_body(state, scene, shown, columns, page))
    body: Body = scene.memo["body"]
    return body


def _body(state: State, scene: Scene, shown: tuple[Metric, ...], columns: int, page: int) -> Body:
    if state.overlay == "vm":
        return _detail(state, scene, columns, page)
    if state.view == "contention":
        return _contention(state, scene, columns, page)
    found = table.rows(scene.snapshot, state, scene.only)
    plan = table.layout(shown, columns, state.left, human=state.human)
    heads = tuple((x, x + size, metric.name) for metric, x, size in plan.columns)
    head = _head(table.header(plan, state), plan, columns)
    if not found.order or scene.snapshot is None or words.uncollected(state, scene):
        return Body(head, _words(words.empty(state, scene, found.total), columns), [], [], 0, 0, heads, found.total)
    virtual = _lines(state, scene, found)
    top = _top(state, found, virtual, page)
    lines: list[Line] = []
    owners: list[str] = []
    extra: dict[str, list[Line]] = {}
    nodes = found.table.columns.get("node") if scene.cluster is not None else None
    lost = scene.cluster.lost if scene.cluster is not None else frozenset()
    for place, part in virtual[top : top + page]:
        owner = found.table.ids[place]
        if part == _GROUP and nodes is not None and scene.cluster is not None:
            lines.append(hosts.group(scene.cluster.named(str(nodes[place])), columns))
            owners.append("")
            continue
        if part < 0:
            mark = "-" if owner in state.expanded else " "
            line = table.row(found, place, plan, scene.levels, human=state.human, mark=mark)
            if owner == state.selected:
                line = _selected(line, columns)
        else:
            if owner not in extra:
                scope = views.VIEWS[state.view].part
                extra[owner] = table.part_rows(scene.snapshot, scope, owner, plan, scene.levels, human=state.human)
            line = extra[owner][part]
        if scene.age is not None or (nodes is not None and nodes[place] in lost):
            line = [("selected" if style == "selected" else "dim", text) for style, text in line]
        lines.append(line)
        owners.append(owner)
    return Body(head, lines, owners, found.ids, top, len(virtual), heads, found.total)


def _lines(state: State, scene: Scene, found: table.Rows) -> list[tuple[int, int]]:
    """The table's lines: (place of the row, -1), then (place, n) for each of its parts where it is expanded; before the
    first row of each host its own line, where VMs are grouped."""
    ids = found.table.ids
    expanded = state.expanded.intersection(found.ids) if views.VIEWS[state.view].scope == "vm" else frozenset()
    nodes = found.table.columns.get("node") if state.grouped and scene.cluster is not None else None
    if scene.snapshot is None or not (expanded or nodes):
        return [(place, -1) for place in found.order]
    scope = views.VIEWS[state.view].part
    counts = {row: len(table.parts(scene.snapshot, scope, row)) for row in expanded}
    lines = []
    above: object = None
    for place in found.order:
        if nodes is not None and nodes[place] != above:
            above = nodes[place]
            lines.append((place, _GROUP))
        lines.append((place, -1))
        lines += [(place, part) for part in range(counts.get(ids[place], 0))]
    return lines


def _top(state: State, found: table.Rows, virtual: list[tuple[int, int]], page: int) -> int:
    """The first visible line: as scrolled, but never past the end, and the selected row stays in sight."""
    top = max(0, min(state.top, len(virtual) - page))
    if state.selected is None:
        return top
    ids = found.table.ids
    for line, (place, part) in enumerate(virtual):
        if part == -1 and ids[place] == state.selected:
            return line if line < top else max(top, line - page + 1)
    return top


def _head(line: Line, plan: table.Layout, columns: int) -> Line:
    before, after = plan.more
    note = f"{'<' + str(before) if before else ''}{' ' if before and after else ''}{str(after) + '>' if after else ''}"
    used = sum(len(text) for _, text in line)
    room = columns - used
    if room < 0:
        return [*line[:-1]] if line else line
    return [*line, ("head", note.rjust(room) if len(note) <= room else " " * room)]


def _selected(line: Line, columns: int) -> Line:
    """The row with the selection over it; warnings keep their own look."""
    marked = [(style if style in ("warn", "crit") else "selected", text) for style, text in line]
    used = sum(width(text) for _, text in line)
    return [*marked, ("selected", " " * (columns - used))] if used < columns else marked


def _words(text: list[str], columns: int) -> list[Line]:
    return [
        [],
        *([("", " "), ("title" if not number else "", fit(line, columns - 1))] for number, line in enumerate(text)),
    ]


def _foot(state: State, scene: Scene, columns: int) -> list[Line]:
    """The line of problems, where there are any, and the line of hints, of a note or of what is being typed."""
    lines: list[Line] = []
    found = words.problems(scene, state.view)
    if found and scene.snapshot is not None:
        bad = bool(scene.link) or scene.age is not None
        lines.append([("bad" if bad else "note", fit(" " + "; ".join(found), columns))])
    if state.typing:
        lines.append([("key", "/"), ("", fit(state.filter + "_", columns - 1))])
    elif state.note:
        lines.append([("note", fit(" " + state.note, columns))])
    elif state.overlay == "vm":
        lines.append([("dim", fit(_VM_HINTS, columns))])
    else:
        text = f"filter: {state.filter} (Esc clears)  {_HINTS}" if state.filter else _HINTS
        lines.append([("dim", fit(text, columns))])
    return lines


def cut(line: Line, start: int, end: int) -> Line:
    """The cells from `start` to before `end` of a line, padded where it is shorter; a wide character that is cut in
    two becomes blanks."""
    found: Line = []
    x = 0
    for style, text in line:
        size = width(text)
        if x + size <= start or x >= end:
            x += size
            continue
        if start <= x and x + size <= end:
            found.append((style, text))
            x += size
            continue
        kept = []
        for char in text:
            step = width(char)
            if x >= start and x + step <= end:
                kept.append(char)
            elif x < end and x + step > start:
                kept.append(" " * (min(x + step, end) - max(x, start)))
            x += step
        found.append((style, "".join(kept)))
    got = sum(width(text) for _, text in found)
    if got < end - start:
        found.append(("", " " * (end - start - got)))
    return found


def _lay(frame: Frame, box: list[Line], top: int) -> None:
    """Lays a box over the middle of the screen, from that line on; on a narrow screen over all of it."""
    size = max((sum(width(text) for _, text in line) for line in box), default=0)
    left = (frame.width - size) // 2 - 1
    for number, line in enumerate(box[: len(frame.lines) - 1 - top]):
        whole = cut(line, 0, size)
        if left < 4:
            frame.lines[top + number] = cut(whole, 0, frame.width)
            continue
        under = frame.lines[top + number]
        frame.lines[top + number] = [
            *cut(under, 0, left), ("", " "), *whole, ("", " "), *cut(under, left + size + 2, frame.width)
        ]  # fmt: skip
