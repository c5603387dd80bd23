"""A bad network: hosts in network namespaces, each with real guests and a real proxtopd, on cables that are cut, slow
or lossy. What ends is told, what comes back is taken up, and the others stay on time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from proxtop.bus import endpoints, keys
from proxtop.model import Message, Snapshot
from tests.agg.site import AGGREGATOR, INTERVAL_S, Site, require
from tests.faults.rig import PROXTOP, children, eventually
from tests.tui.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HOSTS = {"pve1": ("busy-db", "web-01"), "pve2": ("web-02",), "pve3": ("busy-ci",)}
HALF_OPEN_S = 15
_LATE_S = 2.0
"""How long a frame may be under way on a machine that runs all of this at once."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require()
    with Site(HOSTS) as site:
        site.up()
        yield site


class Watch:
    """What comes of each host while something happens to one, taken by a thread of its own: asking the aggregator for
    its status takes seconds on a busy machine, and what comes meanwhile is not late for that."""

    def __init__(self, site: Site) -> None:
        self.came: dict[str, list[tuple[float, Message]]] = {node: [] for node in site.hosts}
        self.started = time.monotonic()
        self._reader = site.reader()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def _take(self) -> None:
        while not self._over.is_set():
            seen = len(self._reader.messages)
            for message in self._reader.take(100)[seen:]:
                if isinstance(message.body, Snapshot):
                    self.came[message.stamp.node].append((time.monotonic(), message))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def until(self, what: str, condition: Callable[[], Any], timeout: float = 60) -> float:
        """Seconds until it was so."""
        begin = time.monotonic()
        eventually(what, condition, timeout)
        return time.monotonic() - begin

    def more(self, node: str, count: int) -> list[int]:
        """Waits for that many of a host's snapshots from now on: the sequence numbers of what came since."""
        first = len(self.came[node])
        self.until(f"{count} snapshots of {node}", lambda: len(self.came[node]) >= first + count)
        return [message.stamp.seq for _, message in self.came[node][first:]]

    def on_time(self, *nodes: str) -> None:
        """Everything that each of them published came, none long after: however slow the hosts themselves are here."""
        for node in nodes:
            self.more(node, 1)
            own = [(came, message.stamp) for came, message in self.came[node] if message.stamp.mono > self.started]
            assert _whole([stamp.seq for _, stamp in own])
            late = [round(came - stamp.mono, 3) for came, stamp in own]
            assert max(late) < _LATE_S, (node, late)


def _whole(numbers: list[int]) -> bool:
    """Whether none is missing between the first and the last, and none came twice."""
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.fixture
def watch(site: Site) -> Iterator[Watch]:
    with Watch(site) as watch:
        yield watch


def _host(site: Site, node: str) -> dict[str, Any]:
    found: dict[str, Any] = site.status().get(node, {})
    return found


def test_guests_of_every_host_are_seen_through_both_doors(site: Site) -> None:
    (site.folder / "agg.pub").write_text(f"agg1 {site.own.public.decode()}\n")
    command = ["ip", "netns", "exec", AGGREGATOR, str(PROXTOP), "--bus=tcp://127.0.0.1:7655", "--runs=12", "-p", "json"]
    command += [f"--key={site.folder}/viewer.key", f"--server-key={site.folder}/agg.pub", "--cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    last = {line["node"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert last.keys() == HOSTS.keys()
    for node, guests in HOSTS.items():
        found = {row["name"]: row["cpu_total"] for row in last[node]["domains"]}
        assert found.keys() == set(guests)
        assert all(found[name] > 1 for name in guests if name.startswith("busy"))
        assert last[node]["cycle"] % (INTERVAL_S * 1000) == 0


def test_a_cable_that_is_cut_is_noticed_and_the_others_stay_on_time(site: Site, watch: Watch) -> None:
    host = site.hosts["pve2"]
    watch.until("pve2", lambda: watch.came["pve2"])
    host.cable.tell("cut")
    began = time.monotonic()
    watch.until("pve2 is lost", lambda: _host(site, "pve2").get("state") == "lost", 10)
    watch.until("the connection is given up", lambda: "trying again" in (_host(site, "pve2")["reason"] or ""), 40)
    assert time.monotonic() - began < HALF_OPEN_S + 1
    watch.on_time("pve1", "pve3")
    lost = _host(site, "pve2")
    assert lost["age"] > 5
    host.cable.tell("mend")
    back = watch.until("pve2 again", lambda: _host(site, "pve2").get("state") == "running", 20)
    assert back < 10
    assert _host(site, "pve2")["lost"] > lost["lost"]
    watch.on_time("pve1", "pve3")


def test_a_slow_and_lossy_line_delays_its_host_and_nobody_else(site: Site, watch: Watch) -> None:
    cable, before = site.hosts["pve3"].cable, _host(site, "pve3")["lost"]
    cable.tell("delay 200")
    cable.tell("loss 5")
    watch.until("a late cycle", lambda: (_host(site, "pve3")["lag"] or 0) > 0.15)
    came = watch.more("pve3", 12)
    late = _host(site, "pve3")
    cable.tell("delay 0")
    cable.tell("loss 0")
    assert late["state"] == "running"
    assert 0.15 < late["lag"] < 5
    assert abs(late["offset"]) < 0.25
    assert late["lost"] == before
    assert _whole(came)
    watch.on_time("pve1", "pve2")


def test_a_host_that_is_started_anew_is_taken_up_again_and_nothing_counts_as_lost(site: Site, watch: Watch) -> None:
    host, before = site.hosts["pve1"], _host(site, "pve1")["lost"]
    host.tell("stop")
    watch.until("pve1 is lost", lambda: _host(site, "pve1").get("state") == "lost", 20)
    host.tell("start")
    watch.until("pve1 again", lambda: _host(site, "pve1").get("state") == "running", 40)
    watch.until(
        "its guests", lambda: watch.came["pve1"] and set(HOSTS["pve1"]) <= _names(watch.came["pve1"][-1][1]), 40
    )
    assert _host(site, "pve1")["lost"] == before
    watch.on_time("pve2", "pve3")


def _names(message: Message) -> set[Any]:
    assert isinstance(message.body, Snapshot)
    return set(message.body.tables["vm"].columns["name"])


def test_an_aggregator_that_is_killed_has_every_host_back_soon(site: Site, watch: Watch) -> None:
    watch.until("all hosts", lambda: all(watch.came.values()))
    workers = children(site.agg.pid)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    counts = {node: len(found) for node, found in watch.came.items()}
    took = watch.until("all hosts again", lambda: all(len(watch.came[node]) > count for node, count in counts.items()))
    assert took < 10


def test_a_host_that_lets_the_aggregator_in_no_more_is_out_at_once_and_back_when_it_does(
    site: Site, watch: Watch
) -> None:
    host = site.hosts["pve2"]
    watch.until("pve2", lambda: watch.came["pve2"])
    keys.revoke(str(host.trusted), "agg1")
    watch.until("pve2 is out", lambda: "does not let" in (_host(site, "pve2")["reason"] or ""), 15)
    watch.more("pve1", 1)
    count = len(watch.came["pve2"])
    watch.more("pve1", 4)
    assert len(watch.came["pve2"]) == count
    keys.trust(str(host.trusted), "agg1", site.own.public)
    watch.until("pve2 again", lambda: len(watch.came["pve2"]) > count, 20)
    watch.on_time("pve1", "pve3")


def test_a_guest_that_migrates_keeps_its_row_on_the_screen(site: Site) -> None:
    name, source, target = "busy-db", site.hosts["pve1"], site.hosts["pve2"]
    identity, way = source.guests[name], f"unix:{site.folder}/way"

    def rows(screen: str) -> list[str]:
        return [line for line in screen.splitlines() if f" {name} " in f" {line} " and " is on " not in line]

    seen: list[str] = []

    def look(terminal: Terminal) -> list[str]:
        found = rows(terminal.screen())
        assert len(found) == 1, terminal.screen()
        if not seen or seen[-1] != found[0]:
            seen.append(found[0])
        return found

    with Terminal("--bus", endpoints.subscribe(str(site.directory)), size=(120, 30)) as terminal:
        terminal.wait(lambda screen: any("pve1" in row for row in rows(screen)))
        target.tell(f"expect {name} {identity} {way}")
        eventually("both", lambda: (look(terminal), f"{name} is on pve1 and pve2" in terminal.screen())[1])
        source.tell(f"migrate {name} {way}")
        look(terminal)
        source.tell(f"end {name}")
        eventually("the other host's row", lambda: "pve2" in look(terminal)[0])

        def busy() -> bool:
            figures = [field for field in look(terminal)[0].split() if field.replace(".", "", 1).isdigit()]
            return any(float(figure) > 1 for figure in figures)

        eventually("its load there", busy)
        terminal.keys("q")
    assert any("pve1" in row for row in seen) and "pve2" in seen[-1]
