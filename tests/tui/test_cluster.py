"""Many hosts on one screen: whose row is whose, what is lost and how old it is, where a VM is while it migrates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxtop.model import Snapshot, Stamp, Status, Table
from proxtop.tui.cluster import settle
from tests.tui.drawn import SIZES, Drawn, check
from tests.tui.recorded import recorded

START = 1_700_000_000.0


def snapshot(vms: Mapping[str, float], **host: Any) -> Snapshot:
    """Recorded figures under these names, each with its %USED; UUIDs are the names'."""
    _, source = recorded()[-1]
    vm = source.tables["vm"]
    columns = {name: [column[0]] * len(vms) for name, column in vm.columns.items()}
    columns["name"], columns["cpu_total"] = list(vms), list(vms.values())
    tables = {**source.tables, "vm": Table([f"{name}-uuid" for name in vms], columns)}
    for scope in ("vcpu", "thread", "disk", "nic"):
        tables[scope] = Table([f"{name}-uuid/0" for name in vms], {"vcpu_total": list(vms.values())})
    figures = {name: list(column) for name, column in source.tables["host"].columns.items()}
    figures.update({name: [value] for name, value in host.items()})
    return replace(source, tables={**tables, "host": Table(["x"], figures)})


class Cluster(Drawn):
    """A screen with hosts on it. Each turn is a cycle of two seconds in which the hosts that are named report."""

    def __init__(self, size: tuple[int, int] = (100, 30), **state: Any) -> None:
        super().__init__(size, cycles=[], **state)
        self.now = 1000.0
        self.cycle = round(START * 1000)
        self.seq = 0
        self.live.hear(Status("cluster", "running", 1, 2.0, info={"gone": 30.0}), self.now)

    def turn(self, **hosts: Mapping[str, float]) -> Cluster:
        self.seq += 1
        self.now += 2.0
        self.cycle += 2000
        for node, vms in hosts.items():
            stamp = Stamp(node, 1, self.seq, self.cycle, self.cycle / 1000, self.now)
            self.live.add(stamp, snapshot(vms), self.now)
        return self

    def hear(self, node: str, state: str = "running", reason: str | None = None, **info: Any) -> Cluster:
        status = Status(f"host:{node}", state, 1, 2.0, reason=reason, lost=info.pop("lost", 0), info=info)
        self.live.hear(status, self.now)
        return self

    def rows(self) -> list[tuple[str, str]]:
        """(name, host) of each VM in sight, from the top."""
        frame = self.frame
        shown = self.lines[frame.first : frame.first + len(frame.owners)]
        return [tuple(line.split()[1:3]) for owner, line in zip(frame.owners, shown, strict=True) if owner]  # type: ignore[misc]

    def host(self, name: str) -> str:
        """The line of a host."""
        return next(line for line in self.lines[1 : self.frame.head] if line.startswith(name))


def three() -> Cluster:
    return Cluster().turn(pve1={"web": 10.0, "db": 30.0}, pve2={"mail": 20.0}, pve3={"app": 40.0})


def test_all_vms_stand_in_one_table_sorted_across_the_hosts() -> None:
    assert three().rows() == [("app", "pve3"), ("db", "pve1"), ("mail", "pve2"), ("web", "pve1")]


def test_a_single_host_has_no_column_of_hosts() -> None:
    drawn = Cluster().turn(pve1={"web": 10.0})
    assert "HOST " not in drawn.lines[drawn.frame.head]
    assert "HOSTS" not in drawn.text


def test_t_groups_the_vms_by_host_and_back() -> None:
    drawn = three().press("t")
    assert drawn.rows() == [("db", "pve1"), ("web", "pve1"), ("mail", "pve2"), ("app", "pve3")]
    lines = drawn.lines[drawn.frame.first :]
    assert [line.split()[0] for line in lines if "live" in line] == ["pve1", "pve2", "pve3"]
    assert drawn.press("down", "down", "down").state.selected == "mail-uuid"
    assert three().press("t", "t").rows() == three().rows()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("host:pve1", {"web", "db"}), ("host:pve*", {"web", "db", "mail", "app"}), ("host:*3", {"app"}),
        ("host:pve1 w", {"web"}), ("w host:PVE1", {"web"}), ("host:", {"web", "db", "mail", "app"}), ("host:x*", set()),
        ("host:ve2 host:*3", {"mail", "app"}),
    ],
)  # fmt: skip
def test_the_filter_knows_hosts(text: str, names: set[str]) -> None:
    drawn = three().press("/", *text, "enter")
    assert {name for name, _ in drawn.rows()} == names


def test_a_lost_host_is_grey_with_its_age_and_its_vms_go_after_a_while() -> None:
    drawn = three()
    for _ in range(4):
        drawn.turn(pve1={"web": 10.0, "db": 30.0}, pve3={"app": 40.0})
    assert "lost 8 s" in drawn.host("pve2")
    assert "live" in drawn.host("pve1")
    assert "Hosts: 3 (1 lost)" in drawn.lines[0]
    assert ("mail", "pve2") in drawn.rows()
    grey = {text for style, text in drawn.spans("dim") if text in ("mail", "web", "app")}
    assert grey == {"mail"}
    assert "OLD" not in drawn.lines[0]
    for _ in range(12):
        drawn.turn(pve1={"web": 10.0, "db": 30.0}, pve3={"app": 40.0})
    assert ("mail", "pve2") not in drawn.rows()
    assert "lost" in drawn.host("pve2")


def test_a_host_is_lost_as_soon_as_the_aggregator_says_so_and_why() -> None:
    drawn = three().hear("pve2", "lost", "connection lost, trying again", age=7.0)
    assert "lost 0 s" in drawn.host("pve2")
    assert "pve2 is lost: connection lost, trying again" in drawn.lines[-2]


def test_a_host_that_never_came_is_shown_as_lost_without_figures() -> None:
    drawn = three().hear("pve9", "waiting", "does not let this aggregator's key in")
    assert "lost" in drawn.host("pve9")
    assert "Hosts: 4 (1 lost)" in drawn.lines[0]
    assert "key in" in drawn.text


def test_a_host_that_was_removed_goes_at_once() -> None:
    drawn = three().hear("pve2", "removed")
    assert "pve2" not in drawn.text


def test_lag_clock_and_losses_are_told_and_marked() -> None:
    drawn = three().hear("pve1", lag=0.123, offset=-0.002).hear("pve2", lag=1.8, offset=3.0, lost=7)
    assert drawn.host("pve1").split()[2:5] == ["123ms", "-2ms", "0"]
    assert drawn.host("pve2").split()[2:5] == ["1.8s", "+3.0s", "7"]
    assert [text for _, text in drawn.spans("warn") if text in ("1.8s", "+3.0s", "7")] == ["1.8s", "+3.0s", "7"]


def test_a_host_whose_cycle_is_behind_the_others_says_so() -> None:
    drawn = three().turn(pve1={"web": 1.0}, pve2={"mail": 1.0})
    assert "1 cycle late" in drawn.host("pve3")


def test_a_host_of_longer_cycles_is_late_only_when_one_is_missing() -> None:
    drawn = Cluster()
    drawn.live.interval = None
    for turn in range(15):
        drawn.turn(fast={"web": 1.0}, **{"slow": {"db": 1.0}} if turn in (0, 5) else {})
        if turn >= 5:  # its interval is known
            assert ("1 cycle late" in drawn.host("slow")) == (turn >= 10), turn


def test_a_vm_that_migrates_keeps_its_row_and_its_selection() -> None:
    drawn = three().press("/", "w", "e", "b", "enter", "down")
    assert drawn.state.selected == "web-uuid"
    drawn.turn(pve1={"web": 10.0, "db": 1.0}, pve2={"web": 0.0, "mail": 2.0}, pve3={})
    assert drawn.rows() == [("web", "pve1")]
    assert "web is on pve1 and pve2" in drawn.text
    drawn.turn(pve1={"db": 1.0}, pve2={"web": 12.0, "mail": 2.0}, pve3={})
    assert drawn.rows() == [("web", "pve2")]
    assert drawn.state.selected == "web-uuid"
    assert "web is on" not in drawn.text
    assert [text for style, text in drawn.spans("selected") if "web" in text]


def test_the_page_of_a_vm_goes_with_it_to_another_host() -> None:
    drawn = three().press("/", "w", "e", "b", "enter", "enter")
    assert "Host: pve1 (1/3, Tab)" in drawn.lines[0]
    drawn.turn(pve1={"db": 1.0}, pve2={"web": 12.0, "mail": 2.0}, pve3={})
    assert drawn.lines[1].startswith("web  web-uuid")
    assert "Host: pve2 (2/3, Tab)" in drawn.lines[0]
    drawn.turn(pve1={"db": 1.0}, pve2={"mail": 2.0}, pve3={})
    assert "This VM (web-uuid) is gone." in drawn.lines[1]


def test_nobody_takes_a_vm_away_by_naming_it_and_a_lost_host_gives_it_up() -> None:
    homes: dict[str, str] = {}
    one, both = [("pve2", snapshot({"web": 1.0}))], [("pve1", snapshot({"web": 1.0})), ("pve2", snapshot({"web": 1.0}))]
    settle(homes, one, frozenset())
    assert settle(homes, both, frozenset()) == {"web-uuid": ["pve1", "pve2"]}
    assert homes == {"web-uuid": "pve2"}
    assert settle(homes, both, frozenset({"pve2"})) == {}
    assert homes == {"web-uuid": "pve1"}
    settle(homes, [], frozenset())
    assert homes == {}


def test_a_vm_is_opened_and_expanded_with_the_parts_of_its_own_host() -> None:
    drawn = three().press("c", "/", "m", "a", "i", "l", "enter", "down", "e")
    assert any("vCPU 0" in line for line in drawn.lines)
    drawn = three().press("/", "m", "a", "i", "l", "enter", "enter")
    assert "mail" in drawn.text
    assert "Host: pve2 (2/3, Tab)" in drawn.lines[0]
    assert "Hosts: 3" in drawn.press("escape").lines[0]


def test_views_of_devices_and_contention_are_those_of_one_host() -> None:
    drawn = three().press("w")
    assert "Host: pve1 (1/3, Tab)" in drawn.lines[0]
    assert "Host: pve2 (2/3, Tab)" in drawn.press("tab").lines[0]
    assert "Host: pve3 (3/3, Tab)" in drawn.press("tab").lines[0]
    assert "PHYSICAL DISKS" in drawn.press("s").lines[0]
    assert "Hosts: 3" in three().press("w", "a").lines[0]


def test_a_pause_shows_all_hosts_as_they_were() -> None:
    drawn = three().turn(pve1={"late": 1.0}, pve2={"mail": 1.0}, pve3={})
    assert drawn.press("[").rows() == [("app", "pve3"), ("db", "pve1"), ("mail", "pve2"), ("web", "pve1")]
    assert "PAUSED" in drawn.lines[0]
    assert {name for name, _ in drawn.press("]").rows()} == {"late", "mail"}


def test_when_nobody_comes_any_more_all_is_old() -> None:
    drawn = three()
    drawn.now += 9
    assert "OLD: 9 s" in drawn.lines[0]
    assert all("lost 9 s" in drawn.host(node) for node in ("pve1", "pve2", "pve3"))


def test_hundreds_of_hosts_leave_room_for_vms_and_those_in_trouble_come_first() -> None:
    drawn = Cluster()
    drawn.turn(**{f"n{number:03}": {f"vm{number}": float(number)} for number in range(300)})
    drawn.turn(**{f"n{number:03}": {f"vm{number}": float(number)} for number in range(300) if number != 250})
    drawn.turn(**{f"n{number:03}": {f"vm{number}": float(number)} for number in range(300) if number != 250})
    panel = drawn.lines[1 : drawn.frame.head]
    assert panel[0].startswith("HOSTS  299 live, 1 lost")
    assert panel[2].startswith("n250")
    assert panel[-1].startswith("294 more hosts") or "more hosts" in panel[-1]
    assert len(panel) < 12 and drawn.rows()[0] == ("vm299", "n299")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", ["cluster", "cluster-grouped"])
def test_a_cluster_looks_as_it_did(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    drawn = Cluster(size).turn(pve1={"web": 10.0, "db": 30.0}, pve2={"mail": 20.0}, pve3={"app": 40.0})
    for _ in range(3):
        drawn.turn(pve1={"web": 10.0, "db": 30.0}, pve2={"mail": 20.0})
    drawn.hear("pve1", lag=0.085, offset=0.001, lost=0).hear("pve2", lag=1.4, offset=-0.9, lost=3)
    drawn.hear("pve3", "lost", "connection lost, trying again", age=6.0)
    if name == "cluster-grouped":
        drawn.press("t")
    check(drawn, name, monkeypatch)
