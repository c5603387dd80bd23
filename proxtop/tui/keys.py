"""Keys: one table of what each does, which is also what the help overlay says. Pure: state and frame → state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxtop.tui import fields, views
from proxtop.tui.frame import Frame
from proxtop.tui.state import Sort, State
from proxtop.tui.table import reach

Action = Callable[[State, Frame], State]

INTERVALS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
"""The refresh intervals that + and - go through, in seconds."""
MULTIPLES = (1, 2, 3, 4, 5, 10, 15, 20, 30, 60)
"""The same on a fleet that others use too: multiples of its interval, which only they may change."""


@dataclass(frozen=True, slots=True)
class Key:
    """What some keys do: their names as the terminal tells them, and as the help shows them."""

    names: tuple[str, ...]
    label: str
    help: str
    action: Action


def press(name: str, state: State, frame: Frame) -> State:
    """The state after a key. Letters do the same in upper and lower case, unless the table has both."""
    state = replace(state, note="") if state.note else state
    if state.typing:
        return _type(name, state, frame)
    table = TABLES[state.overlay]
    key = table.get(name) or (table.get(name.lower()) if len(name) == 1 else None)
    if key is None and state.overlay in ("fields", "help") and name in _ALWAYS:
        key = TABLES[""].get(name) or TABLES[""][name.lower()]
    return key.action(state, frame) if key is not None else state


def _quit(state: State, frame: Frame) -> State:
    return replace(state, quit=True)


def _view(name: str) -> Action:
    def act(state: State, frame: Frame) -> State:
        if state.view == name:
            return replace(state, overlay="") if state.overlay else state
        same = views.VIEWS[state.view].scope == views.VIEWS[name].scope
        return replace(state, view=name, top=0, left=0, selected=state.selected if same else None, overlay="")

    return act


def _overlay(name: str) -> Action:
    def act(state: State, frame: Frame) -> State:
        return replace(state, overlay="" if state.overlay == name else name, cursor=0)  # type: ignore[arg-type]

    return act


def _human(state: State, frame: Frame) -> State:
    return replace(state, human=not state.human)


def _sorted(state: State, frame: Frame, column: str, descending: bool) -> State:
    left = reach(frame.columns, frame.width, state.left, column, human=state.human)
    return replace(state, sorts={**state.sorts, state.view: Sort(column, descending)}, left=left)


def _sort_by(step: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        names = [metric.name for metric in frame.columns]
        if not names or state.view == "contention":
            return state
        sort = state.sort
        place = names.index(sort.column) + step if sort.column in names else 0
        return _sorted(state, frame, names[place % len(names)], sort.descending)

    return act


def _reverse(state: State, frame: Frame) -> State:
    sort = state.sort
    return replace(state, sorts={**state.sorts, state.view: Sort(sort.column, not sort.descending)})


def sort_clicked(state: State, frame: Frame, column: str) -> State:
    """A click on a head: sorts by it, the largest number or the first name on top; again: the other way round."""
    sort = state.sort
    return _sorted(state, frame, column, not sort.descending if sort.column == column else column not in views.NAMES)


def _interval(step: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        base = frame.scene.base
        ladder = INTERVALS if base is None else tuple(base * factor for factor in MULTIPLES)
        now = state.interval
        if step > 0:
            wanted = next((value for value in ladder if value > now + 1e-6), now)
        else:
            wanted = next((value for value in reversed(ladder) if value < now - 1e-6), now)
        if wanted == now:
            why = "" if base is None else f"; the fleet's own is {base:g} s"
            return replace(state, note=f"{now:g} s is the {'longest' if step > 0 else 'shortest'} interval{why}")
        return replace(state, interval=wanted)

    return act


def _move(step: int, *, pages: bool = False) -> Action:
    def act(state: State, frame: Frame) -> State:
        if not frame.ids:
            return state
        size = step * max(1, frame.page - 1) if pages else step
        if state.selected in frame.ids:
            place = frame.ids.index(state.selected) + size
        else:
            owners = [owner for owner in frame.owners if owner]
            place = frame.ids.index(owners[0]) if owners and owners[0] in frame.ids else 0
            place = place + size if pages else place
        return replace(state, selected=frame.ids[max(0, min(len(frame.ids) - 1, place))], top=frame.top)

    return act


def _edge(place: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        return replace(state, selected=frame.ids[place], top=frame.top) if frame.ids else state

    return act


def clicked(state: State, frame: Frame, x: int, y: int) -> State:
    """A click: on a head it sorts, on a row it selects, on the selected row it opens the VM."""
    if y == frame.head:
        column = next((name for start, end, name in frame.heads if start <= x < end), None)
        return state if column is None else sort_clicked(state, frame, column)
    line = y - frame.first
    if 0 <= line < len(frame.owners) and (owner := frame.owners[line]):
        return _open(state, frame) if owner == state.selected else replace(state, selected=owner, top=frame.top)
    return state


def scrolled(state: State, frame: Frame, lines: int) -> State:
    """The wheel: the table moves, a selection that would leave the screen goes with it."""
    top = max(0, min(frame.length - frame.page, frame.top + lines))
    state = replace(state, top=top)
    if state.selected is None or top == frame.top:
        return state
    if state.expanded or state.grouped or state.view == "contention":  # a line is not a row
        return _taken_along(state, frame, top - frame.top)
    where = frame.ids.index(state.selected) if state.selected in frame.ids else 0
    if not top <= where < top + frame.page:
        where = max(top, min(top + frame.page - 1, where))
        return replace(state, selected=frame.ids[where])
    return state


def _taken_along(state: State, frame: Frame, moved: int) -> State:
    """The selection on a row that stays in sight, where the lines move up by so many."""
    owners = frame.owners
    every = state.view == "contention"
    rows = [line for line, owner in enumerate(owners) if owner and (every or not line or owner != owners[line - 1])]
    seen = [line for line in rows if moved <= line < moved + frame.page]
    if not seen or any(owners[line] == state.selected for line in seen):
        return state
    return replace(state, selected=owners[seen[0] if moved > 0 else seen[-1]])


def _columns(step: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        count = sum(metric.name not in views.NAMES for metric in frame.columns)
        return replace(state, left=max(0, min(count - 1, state.left + step)))

    return act


def _open(state: State, frame: Frame) -> State:
    if views.VIEWS[state.view].scope != "vm" or not frame.ids:
        return state
    chosen = state.selected if state.selected in frame.ids else frame.ids[0]
    return replace(state, selected=chosen, overlay="vm", cursor=0)


def _expand(state: State, frame: Frame) -> State:
    if views.VIEWS[state.view].scope != "vm" or state.view == "contention" or not frame.ids:
        return state
    chosen = state.selected if state.selected in frame.ids else frame.ids[0]
    return replace(state, selected=chosen, expanded=state.expanded ^ {chosen}, top=frame.top)


def _back(state: State, frame: Frame) -> State:
    if state.overlay:
        return replace(state, overlay="", cursor=0)
    if state.filter:
        return replace(state, filter="", top=0)
    return replace(state, selected=None)


def _filter(state: State, frame: Frame) -> State:
    return replace(state, typing=True, overlay="", top=0)


def _type(name: str, state: State, frame: Frame) -> State:
    """A key while the filter is being typed."""
    if name in ("c-c", "<sigint>"):
        return replace(state, quit=True)
    if name == "enter":
        return replace(state, typing=False)
    if name == "escape":
        return replace(state, typing=False, filter="", top=0)
    if name == "backspace":
        return replace(state, filter=state.filter[:-1], typing=bool(state.filter), top=0)
    if name in ("up", "down", "pageup", "pagedown"):
        return TABLES[""][name].action(state, frame)
    if len(name) == 1 and name.isprintable():
        return replace(state, filter=state.filter + name, top=0)
    return state


def _pause(state: State, frame: Frame) -> State:
    if state.paused is not None:
        return replace(state, paused=None)
    return replace(state, paused=frame.scene.history.step(None, 0))


def _step(steps: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        history = frame.scene.history
        to = history.step(state.paused, steps)
        if to is None:
            return state
        if to == state.paused or (state.paused is None and steps > 0):
            edge = "this is the newest cycle" if steps > 0 else "there is nothing older"
            return replace(state, note=edge)
        return replace(state, paused=to)

    return act


def _save(state: State, frame: Frame) -> State:
    return replace(state, saves=state.saves + 1)


def _node(state: State, frame: Frame) -> State:
    nodes = frame.scene.nodes
    if len(nodes) < 2:
        return replace(state, note="there is one host on this bus")
    ring = (None, *nodes)
    now = state.node if state.node in nodes else None
    if now is None and frame.scene.cluster is None and frame.scene.stamp is not None:
        now = frame.scene.stamp.node  # a view of one host: the one that is on the screen already
    return replace(state, node=ring[(ring.index(now) + 1) % len(ring)], selected=None, top=0, paused=None)


def _group(state: State, frame: Frame) -> State:
    if len(frame.scene.nodes) < 2:
        return replace(state, note="there is one host on this bus")
    return replace(state, grouped=not state.grouped, top=0)


def _cursor(step: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        return replace(state, cursor=max(0, min(_last(state, frame), state.cursor + step)))

    return act


def _last(state: State, frame: Frame) -> int:
    return max(0, len(frame.fields) - 1 if state.overlay == "fields" else frame.depth)


def _toggle(state: State, frame: Frame) -> State:
    return fields.toggle(state, frame)


def _shift(step: int) -> Action:
    return lambda state, frame: fields.shift(state, frame, step)


def _vm(step: int) -> Action:
    def act(state: State, frame: Frame) -> State:
        return replace(_move(step)(state, frame), cursor=0)

    return act


MAIN: tuple[Key, ...] = (
    Key(("q", "c-c", "<sigint>"), "q Ctrl+C", "quit", _quit),
    Key(("h", "?"), "h ?", "this help, or back", _overlay("help")),
    Key(("f",), "f", "fields: show, hide, move", _overlay("fields")),
    Key(("u",), "u", "units: KB, MB, GB or plain", _human),
    *(
        Key((key,), key, views.VIEWS[name].help, _view(name))
        for key, name in (
            ("a", "all"), ("c", "cpu"), ("m", "mem"), ("d", "disk"), ("n", "net"), ("i", "io"), ("p", "nics"),
            ("s", "disks"), ("l", "lvm"), ("x", "multipath"), ("w", "contention"),
        )
    ),
    Key(("<",), "<", "sort by the column before", _sort_by(-1)),
    Key((">",), ">", "sort by the next column", _sort_by(1)),
    Key(("r",), "r", "reverse: ^ up, v down", _reverse),
    Key(("+", "="), "+", "longer refresh interval", _interval(1)),
    Key(("-",), "-", "shorter refresh interval", _interval(-1)),
    Key(("/",), "/", "filter: name, host:name*", _filter),
    Key(("up",), "Up", "select the row above", _move(-1)),
    Key(("down",), "Down", "select the row below", _move(1)),
    Key(("pageup",), "PgUp", "a page up", _move(-1, pages=True)),
    Key(("pagedown",), "PgDn", "a page down", _move(1, pages=True)),
    Key(("home",), "Home", "the first row", _edge(0)),
    Key(("end",), "End", "the last row", _edge(-1)),
    Key(("left",), "Left", "columns further left", _columns(-1)),
    Key(("right",), "Right", "columns further right", _columns(1)),
    Key(("enter",), "Enter", "open the VM", _open),
    Key(("e",), "e", "expand: vCPUs, disks, NICs", _expand),
    Key(("escape",), "Esc", "back; no filter, selection", _back),
    Key((" ",), "Space", "pause, and go on", _pause),
    Key(("[",), "[", "one cycle back", _step(-1)),
    Key(("]",), "]", "one cycle forth", _step(1)),
    Key(("{",), "{", "ten cycles back", _step(-10)),
    Key(("}",), "}", "ten cycles forth", _step(10)),
    Key(("tab",), "Tab", "the next host, or all of them", _node),
    Key(("t",), "t", "group VMs by host", _group),
    Key(("W",), "W", "write the settings file", _save),
)  # fmt: skip

FIELDS: tuple[Key, ...] = (
    Key(("up", "k"), "Up k", "the field above", _cursor(-1)),
    Key(("down", "j"), "Down j", "the field below", _cursor(1)),
    Key(("pageup",), "PgUp", "ten up", _cursor(-10)),
    Key(("pagedown",), "PgDn", "ten down", _cursor(10)),
    Key(("home",), "Home", "the first", _cursor(-9999)),
    Key(("end",), "End", "the last", _cursor(9999)),
    Key((" ", "enter"), "Space Enter", "show or hide", _toggle),
    Key(("<",), "<", "move the column to the left", _shift(-1)),
    Key((">",), ">", "move the column to the right", _shift(1)),
    Key(("f", "escape"), "f Esc", "close", _back),
    Key(("q", "c-c", "<sigint>"), "q", "quit", _quit),
    Key(("h", "?"), "?", "help", _overlay("help")),
)

HELP: tuple[Key, ...] = (
    Key(("h", "?", "escape", "enter"), "h ? Esc", "back", _back),
    Key(("up", "k"), "Up", "scroll up", _cursor(-1)),
    Key(("down", "j"), "Down", "scroll down", _cursor(1)),
    Key(("f",), "f", "fields", _overlay("fields")),
    Key(("q", "c-c", "<sigint>"), "q", "quit", _quit),
)

VM: tuple[Key, ...] = (
    Key(("escape", "enter", "backspace"), "Esc", "back to the table", _back),
    Key(("up", "k"), "Up", "scroll up", _cursor(-1)),
    Key(("down", "j"), "Down", "scroll down", _cursor(1)),
    Key(("pageup",), "PgUp", "a page up", _cursor(-10)),
    Key(("pagedown",), "PgDn", "a page down", _cursor(10)),
    Key(("home",), "Home", "the top", _cursor(-9999)),
    Key(("left",), "Left", "the VM before", _vm(-1)),
    Key(("right",), "Right", "the next VM", _vm(1)),
    *(key for key in MAIN if key.label in ("q Ctrl+C", "h ?", "u", "+", "-", "Space", "[", "]", "{", "}", "W", "w")),
)

_ALWAYS = ("u", "U", "+", "=", "-", "[", "]", "{", "}", "W", "r", "R")
"""Keys that do the same while an overlay is open."""


def _table(keys: tuple[Key, ...]) -> dict[str, Key]:
    return {name: key for key in keys for name in key.names}


TABLES: dict[str, dict[str, Key]] = {
    "": _table(MAIN), "help": _table(HELP), "fields": _table(FIELDS), "vm": _table(VM),
}  # fmt: skip
"""What each key does, by overlay."""
