"""Keys: state and screen in, state out."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import pytest

from proxtop.model import Table
from proxtop.tui import keys
from proxtop.tui.live import Live
from proxtop.tui.state import Sort, State
from proxtop.tui.theme import THRESHOLDS, Levels
from proxtop.view import View
from tests.tui.drawn import Drawn
from tests.tui.recorded import altered, many, recorded

VIEWS = {
    "a": "all", "c": "cpu", "m": "mem", "d": "disk", "n": "net", "i": "io", "p": "nics", "s": "disks", "l": "lvm",
    "x": "multipath", "w": "contention",
}  # fmt: skip


def column(drawn: Drawn, number: int) -> list[str]:
    """The cells of a column of the table."""
    return [line.split()[number] for line in drawn.lines[drawn.frame.first :][: len(drawn.frame.owners)]]


@pytest.mark.parametrize(("key", "view"), VIEWS.items())
def test_a_letter_chooses_the_view_in_upper_and_lower_case(key: str, view: str) -> None:
    assert Drawn().press(key).state.view == view
    if key != "w":  # W writes the settings
        assert Drawn().press(key.upper()).state.view == view


@pytest.mark.parametrize("key", ["q", "Q", "c-c"])
@pytest.mark.parametrize("before", [(), ("?",), ("f",), ("enter",), ("w",)])
def test_quit_works_wherever_one_is(key: str, before: tuple[str, ...]) -> None:
    assert Drawn().press(*before, key).state.quit


@pytest.mark.parametrize("key", ["h", "H", "?"])
def test_help_opens_and_closes(key: str) -> None:
    drawn = Drawn().press(key)
    assert drawn.state.overlay == "help"
    assert "quit" in drawn.text
    assert drawn.press(key).state.overlay == ""


@pytest.mark.parametrize("overlay", ["?", "f"])
def test_a_letter_does_in_an_overlay_in_upper_case_what_it_does_in_lower_case(overlay: str) -> None:
    assert Drawn().press(overlay, "U").state.human
    assert Drawn().press(overlay, "R").state.sort == Sort("cpu_total", False)


def test_w_leads_from_a_vm_to_who_hurts_whom_from_wherever_it_was_opened() -> None:
    stamp, snapshot = recorded()[-1]
    cycles = [(stamp, altered(snapshot, "vm", "lab-io", cpu_steal=50.0))]
    for before in ("a", "w"):
        drawn = Drawn(cycles=cycles).press(before, "enter", "w")
        assert (drawn.state.view, drawn.state.overlay) == ("contention", "")


def test_the_help_names_every_key_that_works() -> None:
    text = Drawn((160, 50)).press("?").text
    for key in keys.MAIN:
        assert key.help in text
        assert key.label in text


def test_numbers_sort_as_numbers() -> None:
    stamp, snapshot = recorded()[-1]
    for name, value in (("lab-busy", 20.0), ("lab-idle", 100.0), ("lab-io", None)):
        snapshot = altered(snapshot, "vm", name, cpu_total=value)
    drawn = Drawn(cycles=[(stamp, snapshot)]).press("c")
    assert column(drawn, 1) == ["lab-idle", "lab-busy", "lab-io"]
    assert column(drawn.press("r"), 1) == ["lab-busy", "lab-idle", "lab-io"], "the unknown stays last"


def test_the_sort_moves_through_the_columns_and_shows_its_direction() -> None:
    drawn = Drawn().press("c")
    head = drawn.frame.head
    assert "%USEDv" in drawn.lines[head]
    assert "%RDYv" in drawn.press(">").lines[head]
    assert "%RDY^" in drawn.press("r").lines[head]
    assert "%USED^" in drawn.press("<").lines[head]
    assert drawn.state.sort == Sort("cpu_total", False)


def test_a_sort_column_out_of_sight_comes_into_sight() -> None:
    drawn = Drawn()
    for _ in range(len(drawn.frame.columns)):
        drawn.press(">")
        assert drawn.state.sort.column in {name for _, _, name in drawn.frame.heads}


def test_every_view_keeps_its_own_sort() -> None:
    drawn = Drawn().press("c", ">", "m", "r", "c")
    assert drawn.state.sort == Sort("cpu_steal", True)
    assert drawn.press("m").state.sort.descending is False


def test_units_are_toggled_at_once() -> None:
    drawn = Drawn().press("m")
    assert "81920" in drawn.text
    assert "80.0MB" in drawn.press("u").text
    assert "81920" in drawn.press("U").text


def test_the_interval_goes_up_and_down_within_its_bounds() -> None:
    drawn = Drawn().press("+")
    assert drawn.state.interval == 3.0
    assert drawn.press("-", "-").state.interval == 1.0
    for _ in range(20):
        drawn.press("-")
    assert (drawn.state.interval, drawn.state.note) == (0.5, "0.5 s is the shortest interval")


def test_on_a_shared_fleet_the_interval_is_a_multiple_of_the_fleets() -> None:
    drawn = Drawn()
    drawn.live.base = 2.0
    assert drawn.press("+", "+").state.interval == 6.0
    assert drawn.press("-", "-", "-").state.note == "2 s is the shortest interval; the fleet's own is 2 s"


def test_the_field_selector_shows_and_hides_columns_of_the_view() -> None:
    drawn = Drawn().press("c", "f")
    names = [metric.name for metric in drawn.frame.fields if metric.scope == "vm"]
    assert "cpu_other_total" in names
    assert "ram_used" not in names
    assert "%SYS" not in drawn.press("f").lines[drawn.frame.head]
    drawn.press("f", *["j"] * names.index("cpu_other_total"), " ", "escape")
    assert "%SYS" in drawn.lines[drawn.frame.head]
    drawn.press("F", *["down"] * names.index("cpu_other_total"), "enter", "f")
    assert "%SYS" not in drawn.lines[drawn.frame.head]


@pytest.mark.parametrize("key", [" ", ">"])
def test_what_is_changed_on_one_host_leaves_the_column_of_hosts_for_many(key: str) -> None:
    stamp, snapshot = recorded()[-1]
    drawn = Drawn(cycles=[(stamp, snapshot)]).press("c", "f", *["j"] * 4, key, "f")
    before = [metric.name for metric in drawn.frame.columns]
    assert "node" not in before
    drawn.feed(replace(stamp, node="pve2"), snapshot)
    after = [metric.name for metric in drawn.frame.columns]
    assert "node" in after
    assert [name for name in after if name != "node"] == before


def test_a_column_can_be_moved() -> None:
    drawn = Drawn().press("c", "f", *["j"] * 4, ">", "f")
    assert [metric.name for metric in drawn.frame.columns] == ["uuid", "name", "cpu_steal", "cpu_total", "cpu_cores"]


def test_the_last_column_stays() -> None:
    drawn = Drawn().press("c", "f")
    for _ in range(12):
        drawn.press(" ", "down")
    drawn.press(*["up"] * 40)
    for _ in range(12):
        if drawn.frame.fields[drawn.state.cursor] in drawn.frame.columns:
            drawn.press(" ")
        drawn.press("down")
    assert len(drawn.frame.columns) == 1


def test_the_filter_narrows_as_one_types_and_escape_clears_it() -> None:
    drawn = Drawn().press("/", "I")
    assert column(drawn, 1) == ["lab-io", "lab-idle"]
    assert column(drawn.press("o"), 1) == ["lab-io"]
    assert drawn.press("q").state.filter == "Ioq", "a letter is a letter here"
    assert drawn.press("backspace", "enter").state.typing is False
    assert drawn.press("escape").state.filter == ""


def test_the_selection_stays_on_its_vm_while_rows_move() -> None:
    drawn = Drawn(cycles=[many(500, 0)]).press("down", "down", "down")
    chosen = drawn.state.selected
    assert chosen == drawn.frame.ids[2]
    for cycle in range(1, 6):
        drawn.feed(*many(500, cycle))
        assert drawn.state.selected == chosen
        assert chosen in drawn.frame.owners, "and in sight"


@pytest.mark.parametrize(
    ("names", "place"),
    [(("down",), 0), (("down", "down"), 1), (("end",), 499), (("end", "home"), 0), (("home", "pagedown", "pageup"), 0)],
)
def test_arrows_and_pages_move_the_selection(names: tuple[str, ...], place: int) -> None:
    drawn = Drawn(cycles=[many(500)]).press(*names)
    assert drawn.state.selected == drawn.frame.ids[place]
    assert drawn.state.selected in drawn.frame.owners


def test_expanding_puts_the_parts_of_the_view_below_the_row() -> None:
    drawn = Drawn().press("c", "down", "e")
    at = drawn.frame.first
    assert [line.split()[:2] for line in drawn.lines[at + 1 : at + 3]] == [["vCPU", "0"], ["vCPU", "1"]]
    assert drawn.press("n").lines[at + 1].split()[0].startswith("vnet")
    assert drawn.press("d").text.count("  vda ") == 1
    assert "vCPU" not in drawn.press("c", "e").text


def test_a_click_sorts_selects_and_opens_and_the_wheel_scrolls() -> None:
    drawn = Drawn(cycles=[many(500)]).press("c")
    frame = drawn.frame
    start = next(head[0] for head in frame.heads if head[2] == "cpu_steal")
    drawn.state = keys.clicked(drawn.state, frame, start, frame.head)
    assert drawn.state.sort == Sort("cpu_steal", True)
    drawn.state = keys.clicked(drawn.state, drawn.frame, start, frame.head)
    assert drawn.state.sort == Sort("cpu_steal", False)
    drawn.state = keys.clicked(drawn.state, drawn.frame, 3, frame.first + 4)
    assert drawn.state.selected == drawn.frame.ids[4]
    drawn.state = keys.scrolled(drawn.state, drawn.frame, 3)
    assert drawn.frame.top == 3
    drawn.state = keys.clicked(drawn.state, drawn.frame, 3, frame.first + 1)
    assert drawn.state.overlay == "vm"


def test_the_wheel_takes_the_selection_along_where_a_vm_has_several_lines() -> None:
    stamp, snapshot = recorded()[-1]
    for name in ("lab-busy", "lab-idle", "lab-io"):
        snapshot = altered(snapshot, "vm", name, cpu_steal=50.0, psi_some_mem=50.0, psi_some_io=50.0)
    drawn = Drawn((80, 8), [(stamp, snapshot)]).press("w", "down")
    for top in (3, 4, 4):
        drawn.state = keys.scrolled(drawn.state, drawn.frame, 3)
        assert drawn.frame.top == top
        assert drawn.state.selected in drawn.frame.owners


def test_the_wheel_goes_past_a_vm_that_is_expanded() -> None:
    drawn = Drawn(cycles=[many(100)]).press("c", "e")
    for number in range(1, 9):
        drawn.state = keys.scrolled(drawn.state, drawn.frame, 3)
        assert drawn.frame.top == 3 * number
    for number in range(7, -1, -1):
        drawn.state = keys.scrolled(drawn.state, drawn.frame, -3)
        assert drawn.frame.top == 3 * number


def test_pausing_stops_the_screen_and_not_the_data() -> None:
    drawn = Drawn((160, 50), cycles=[many(3, 0), many(3, 1)]).press("c", " ")
    before = drawn.lines[1:]
    drawn.feed(*many(3, 2))
    assert drawn.lines[1:] == before
    assert "PAUSED at" in drawn.lines[0]
    assert "(-2 s)" in drawn.lines[0]
    drawn.press("[")
    assert "(-4 s)" in drawn.lines[0]
    assert drawn.press("[").state.note == "there is nothing older"
    drawn.press("}", "{", "}", "]")
    assert "(-0 s)" in drawn.lines[0]
    assert "PAUSED" not in drawn.press(" ").lines[0]
    assert drawn.lines[1:] != before


def test_a_paused_screen_has_the_clock_of_its_cycle_however_late_that_came() -> None:
    cycles = [many(3, 0), many(3, 1)]
    late = replace(cycles[0][0], time=cycles[1][0].time)
    drawn = Drawn((160, 50), cycles=[(late, cycles[0][1]), cycles[1]]).press(" ")
    clock = drawn.lines[0].partition("PAUSED at ")[2][:8]
    assert drawn.press("[").lines[0].partition("PAUSED at ")[2][:8] < clock


def test_a_key_without_a_meaning_changes_nothing() -> None:
    assert Drawn().press("z", "c-x", "f5", "s-tab").state == State()


def test_tab_goes_to_the_next_host() -> None:
    stamp, snapshot = recorded()[-1]
    drawn = Drawn(cycles=[(stamp, snapshot), (replace(stamp, node="pve2"), snapshot)])
    assert "Hosts: 2" in drawn.lines[0]
    assert "Host: pve1 (1/2, Tab)" in drawn.press("tab").lines[0]
    assert "Host: pve2 (2/2, Tab)" in drawn.press("tab").lines[0]
    assert "Hosts: 2" in drawn.press("tab").lines[0]


def test_the_documentation_has_the_table_that_the_keys_work_by() -> None:
    text = (pathlib.Path(__file__).parents[2] / "docs" / "tui.md").read_text()
    for key in keys.MAIN:
        labels = " ".join(f"`{label}`" for label in key.label.split())
        assert f"| {labels} | {key.help} |" in text


def test_the_documentation_has_the_thresholds_that_count() -> None:
    text = (pathlib.Path(__file__).parents[2] / "docs" / "tui.md").read_text()
    for name, (warning, alarm) in THRESHOLDS.items():
        assert f"| `{name}` | {warning:g} | {alarm:g} |" in text


def test_who_hurts_whom_counts_nothing_of_before_a_gap() -> None:
    stamp, snapshot = recorded()[-1]
    vms = snapshot.tables["vm"]
    before = replace(snapshot, tables={**snapshot.tables, "vm": Table(vms.ids, {**vms.columns, "ram_rss": [1, 1, 1]})})
    waits = altered(snapshot, "vm", "lab-io", psi_some_mem=50.0)
    for name, rss in (("lab-io", 5), ("lab-busy", 30), ("lab-idle", 10)):
        waits = altered(waits, "vm", name, ram_rss=rss)
    later = replace(stamp, seq=stamp.seq + 1, cycle=stamp.cycle + 300_000)
    soon = replace(later, cycle=stamp.cycle + 2000)
    for after, shares in ((later, "lab-busy 75%  lab-idle 25%"), (soon, "lab-busy 69%  lab-idle 21%")):
        drawn = Drawn(cycles=[(stamp, before), (after, waits)]).press("w")
        assert shares in next(line for line in drawn.lines if "memory" in line)


def test_a_page_scrolls_no_further_than_it_goes() -> None:
    drawn = Drawn().press("enter", *["down"] * 100)
    assert "below v" not in drawn.text
    assert drawn.press("up").text.count("  1 below v") == 1
    assert "below v" in drawn.press("home").text


def test_only_the_vms_that_were_named_are_there() -> None:
    drawn = Drawn()
    drawn.live.only = ("*-io",)
    assert drawn.lines[0].split(" | ")[3] == "VMs: 1"
    assert column(drawn, 1) == ["lab-io"]


def test_the_host_figures_are_those_of_the_named_devices() -> None:
    stamp, snapshot = recorded()[-1]
    drawn = Drawn(cycles=[]).press("p")
    drawn.live.view = View(verbose=True, netdev=("vnet2",))
    drawn.feed(stamp, snapshot)
    assert "net_host_receivedBytes: 0.0" not in drawn.text
    assert "net_host_receivedBytes: 99" in drawn.text


def test_the_interval_of_an_unknown_bus_is_read_off_its_cycles() -> None:
    stamp, snapshot = recorded()[-1]
    live = Live((), Levels(), "")
    for number in range(3):
        live.add(replace(stamp, cycle=stamp.cycle + 10_000 * number, seq=number), snapshot, 10.0 * number)
    assert live.scene(State(), 39.9).age is None
    assert live.scene(State(), 40.0).age == 20.0


def test_each_host_has_its_own_age() -> None:
    stamp, snapshot = recorded()[-1]
    live = Live((), Levels(), "", interval=2.0)
    live.add(stamp, snapshot, 0.0)
    live.add(replace(stamp, node="pve2"), snapshot, 9.0)
    assert live.scene(State(node="pve1"), 10.0).age == 10.0
    together = live.scene(State(), 10.0)
    assert together.age is None and together.cluster is not None and together.cluster.lost == {"pve1"}
    assert live.scene(State(node="pve2"), 10.0).age is None
