"""Whole screens from recorded snapshots, at 80x24 and 160x50."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from proxtop import catalog
from proxtop.tui import cells
from tests.tui.drawn import SIZES, Drawn, check
from tests.tui.recorded import altered, recorded

SCREENS: dict[str, tuple[str, ...]] = {
    "all": (),
    "cpu": ("c",),
    "memory": ("m",),
    "disk": ("d",),
    "network": ("n",),
    "io": ("i",),
    "nics": ("p",),
    "disks": ("s",),
    "lvm": ("l",),
    "multipath": ("x",),
    "help": ("?",),
    "fields": ("c", "f", "j", "j"),
    "human": ("u", "m"),
    "vm": ("down", "down", "enter"),
    "contention-none": ("w",),
    "expanded": ("c", "down", "e"),
    "filter": ("/", "i", "o"),
    "nothing-matches": ("/", "z", "z"),
    "paused": ("[",),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    check(Drawn(size).press(*SCREENS[name]), name, monkeypatch)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_a_screen_of_trouble_is_as_it_was(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    stamp, snapshot = recorded()[-1]
    for name, values in (
        ("lab-busy", {"name": "データベース-本番-0001", "cpu_steal": 12.0}),
        ("lab-io", {"disk_lat_avg": 31.5, "ram_used": 79000}),
        ("lab-idle", {"name": "e\u0301tage\u0300re", "cpu_steal": 6.5, "cpu_total": None}),
    ):
        snapshot = altered(snapshot, "vm", name, **values)
    drawn = Drawn(size, [(stamp, snapshot)])
    drawn.now += 7
    drawn.live.link = "connection lost, trying again: ipc:///run/proxtop/subscribe.sock"
    check(drawn, "trouble", monkeypatch)


def test_the_status_bar_is_the_documented_one() -> None:
    assert Drawn().lines[0] == "proxtop | Refresh: 2.0s | View: ALL | VMs: 3 | Press ? help"
    assert Drawn().press("u").lines[0] == "proxtop | Refresh: 2.0s | View: ALL [H] | VMs: 3 | Press ? help"


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (39, 24), (80, 7)])
def test_a_small_terminal_is_told_so(size: tuple[int, int]) -> None:
    drawn = Drawn(size).press("down", "e", "?", "f", "enter")
    assert len(drawn.frame.lines) == size[1]
    assert "too small: 20x5" in Drawn((20, 5)).text


@pytest.mark.parametrize("columns", [40, 57, 80, 131, 200, 300])
@pytest.mark.parametrize("keys", [(), ("?",), ("f",), ("w",), ("enter",), ("c", "down", "e"), ("u", "s")])
def test_no_line_is_longer_than_the_screen(columns: int, keys: tuple[str, ...]) -> None:
    from proxtop.tui.text import width

    frame = Drawn((columns, 24)).press(*keys).frame
    assert max(sum(width(text) for _, text in line) for line in frame.lines) <= columns


def test_columns_do_not_move_with_their_numbers() -> None:
    drawn = Drawn((160, 50))
    head = drawn.lines[drawn.frame.head]
    stamp, snapshot = recorded()[-1]
    for value in (0.0, 99999.9, 12345678901.0, None):
        drawn.feed(stamp, altered(snapshot, "vm", "lab-io", net_transmittedBytes=value, disk_size_capacity=10**16))
        assert drawn.lines[drawn.frame.head] == head
        ends = [end for _, end, _ in drawn.frame.heads]
        row = drawn.lines[drawn.frame.first].ljust(160)
        assert all(row[end] == " " for end in ends[1:-1]), row


def test_a_number_that_is_too_long_is_shortened_and_never_cut() -> None:
    latency = catalog.metric("vm", "disk_lat_avg")
    assert latency is not None
    for value, shown in ((9999.94, "10.0k"), (99_949.0, "99.9k"), (99_950.0, "100k"), (123_456.0, "123k"),
                         (999_600.0, "1M")):  # fmt: skip
        assert cells.cell(latency, value, 5, human=False) == shown.rjust(5)


def test_unknown_is_a_dash_and_never_zero() -> None:
    stamp, snapshot = recorded()[-1]
    drawn = Drawn(cycles=[(stamp, altered(snapshot, "vm", "lab-busy", cpu_total=None, cpu_steal=None))]).press("c")
    row = next(line for line in drawn.lines if "lab-busy" in line)
    assert row.split()[2:4] == ["-", "-"]


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"families": ("cpu",)}, "d", "The fleet does not collect disk."),
        ({"families": ("cpu",)}, "m", "Start proxtop with --mem."),
        ({"tables": {}}, "a", "No VM runs on this host, says libvirt."),
        ({"tables": {}, "reason": "libvirt: no permission"}, "a", "No VM can be seen: libvirt: no permission"),
        ({"tables": {}, "connector": "qemu"}, "a", "There is neither libvirt nor Proxmox VE here"),
        ({}, "l", "This host has no LVM logical volume."),
        ({"stale": {"disk": "no sample in this cycle"}}, "a", "disk: no sample in this cycle"),
        ({"degraded": {"io": "io: no permission to read /proc/PID/io"}}, "i", "io: no permission to read /proc/PID/io"),
        ({"reason": "libvirt: no answer"}, "a", "libvirt: no answer"),
    ],
)
def test_what_is_wrong_is_said_in_words(change: dict[str, object], key: str, says: str) -> None:
    stamp, snapshot = recorded()[-1]
    assert says in Drawn(cycles=[(stamp, replace(snapshot, **change))]).press(key).text  # type: ignore[arg-type]


def test_before_the_first_cycle_it_waits_and_says_for_what() -> None:
    drawn = Drawn(cycles=[])
    assert "Waiting for the first cycle" in drawn.text
    assert "VMs: - " in drawn.lines[0]
    drawn.live.link = "no connection, trying again: tcp://127.0.0.1:1"
    assert "no connection, trying again: tcp://127.0.0.1:1" in drawn.text
    for keys in (("w",), ("enter",), ("f", " "), ("?",), ("e",), (" ", "[", "]")):
        assert drawn.press(*keys, "escape").text


@pytest.mark.parametrize(("interval", "shown"), [(2.0, "2.0"), (0.25, "0.25"), (2.5, "2.5"), (60.0, "60.0")])
def test_the_status_bar_has_the_whole_interval(interval: float, shown: str) -> None:
    assert f" | Refresh: {shown}s | " in Drawn(interval=interval).lines[0]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_narrow_screen_says_too_that_it_is_paused_or_old(columns: int) -> None:
    drawn = Drawn((columns, 24)).press("w", "u", " ")
    assert re.search(r"PAUSED at \d\d:\d\d:\d\d", drawn.lines[0])
    drawn.press(" ").now += 7
    assert "OLD: 7 s" in drawn.lines[0]


def test_old_data_are_grey_and_have_their_age() -> None:
    drawn = Drawn()
    drawn.now += 3.9
    assert "OLD" not in drawn.text
    drawn.now += 3.1
    assert drawn.lines[0].split(" | ")[4] == "OLD: 7 s"
    assert "no data for 7 s" in drawn.text
    frame = drawn.frame
    assert {style for line in frame.lines[frame.first : frame.first + 3] for style, _ in line} == {"dim"}


@pytest.mark.parametrize("view", ["a", "c", "m", "d", "n", "i", "s", "p"])
def test_every_number_on_the_screen_is_the_snapshots(view: str) -> None:
    """All fields at once, on a screen wide enough for them."""
    drawn = Drawn((5000, 24), verbose=True).press(view)
    frame = drawn.frame
    _, snapshot = recorded()[-1]
    shown = {metric.name: metric for metric in frame.columns}
    assert frame.owners
    assert len(frame.heads) == len(shown)
    for line, owner in zip(drawn.lines[frame.first :], frame.owners, strict=False):
        table = snapshot.tables[frame.columns[-1].scope]
        for start, end, name in frame.heads:
            cell = line.ljust(5000)[start:end].strip()
            if name in ("uuid", "name", "device"):
                continue
            column = table.columns.get(name)
            value = None if column is None else column[table.ids.index(owner)]
            if value is None:
                assert cell == "-", name
            else:
                assert isinstance(value, int | float)
                assert float(cell) == pytest.approx(value, abs=0.051 if abs(value) < 1e6 else 0.51), name


@pytest.mark.parametrize("size", [*SIZES, (120, 26)], ids=lambda size: "x".join(map(str, size)))
def test_who_hurts_whom_is_as_it_was(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    stamp, snapshot = recorded()[-1]
    cycles = [(replace(stamp, seq=number), snapshot) for number in range(12)]
    first, second, *_ = snapshot.tables["vcpu"].ids
    worse = altered(snapshot, "vm", "lab-busy", cpu_steal=12.0)
    worse = altered(worse, "vcpu", first, vcpu_steal=24.0, vcpu_cpu=1)
    worse = altered(worse, "vcpu", second, vcpu_total=30.0, vcpu_cpu=1)
    worse = altered(worse, "vm", "lab-io", disk_lat_avg=31.5, cpu_steal=0.0)
    worse = altered(worse, "vm", "lab-idle", psi_some_mem=6.0)
    cycles += [(replace(stamp, seq=20 + number), worse) for number in range(5)]
    drawn = Drawn(size, cycles).press("w", "down", "down")
    check(drawn, "contention", monkeypatch)
    assert drawn.press("enter").state.overlay == "vm"
