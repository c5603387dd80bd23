"""The aggregator: many hosts in, one bus out; a host speaks for itself alone, and what ends comes back."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import zmq

from proxtop.bus import endpoints, keys, topics
from proxtop.bus.frames import encode
from proxtop.bus.sockets import Context, bounded, send
from proxtop.model import Message, Profiles, Sample, Snapshot, Stamp, Status
from tests.agg import rawzmtp
from tests.agg.rig import Bus, Cluster, Net, Process, free_port, is_snapshot, snapshot
from tests.faults.rig import PROXTOP, alive, children, eventually
from tests.tui.terminal import Terminal


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """Two hosts for the tests that leave them as they were."""
    with Net() as net:
        yield Cluster(net, "pve1", "pve2")


@pytest.fixture
def cluster(net: Net) -> Cluster:
    """Two hosts for one test."""
    return Cluster(net, "pve1", "pve2")


def of(node: str, condition: Callable[[Message], Any] = is_snapshot) -> Callable[[Message], Any]:
    return lambda message: message.stamp.node == node and condition(message)


def host(node: str, state: str | None = None, **info: Any) -> Callable[[Message], Any]:
    """A heartbeat for that host: in that state, with at least these counts."""

    def fits(message: Message) -> bool:
        body = message.body
        return (
            isinstance(body, Status)
            and message.part == f"host:{node}"
            and state in (None, body.state)
            and all(float(body.info.get(name) or 0) >= least for name, least in info.items())
        )

    return fits


def waiting_for(node: str, words: str) -> Callable[[Message], Any]:
    """A heartbeat for that host with these words in its reason."""
    return lambda message: host(node)(message) and words in (message.body.reason or "")  # type: ignore[union-attr]


def test_every_host_comes_through_under_its_own_name_as_it_was_sent(cluster: Cluster) -> None:
    reader = cluster.reader()
    for node in cluster.buses:
        message = reader.until(node, of(node), cluster.publish)
        assert isinstance(message.body, Snapshot)
        assert message.body == snapshot("web", node=node)
        status = reader.until(f"the heartbeat of {node}", host(node, "running"), cluster.publish).body
        assert isinstance(status, Status)
        assert status.info["address"] == cluster.addresses[node]
        assert abs(float(status.info["offset"] or 9)) < 0.5
        assert status.lost == 0
    assert cluster.agg.stop() == 0
    assert cluster.agg.errors == []


def test_a_late_reader_gets_the_last_cycle_of_every_host_at_once(shared: Cluster) -> None:
    first = shared.reader()
    for node in shared.buses:
        first.until(node, of(node), shared.publish)
    late = shared.reader()
    for node in shared.buses:
        eventually(node, lambda node=node: any(map(of(node), late.take())))  # type: ignore[misc]


def test_a_host_that_falls_silent_is_lost_and_no_last_value_and_comes_back(cluster: Cluster) -> None:
    reader = cluster.reader()
    reader.until("pve1", host("pve1", "running"), cluster.publish)
    cluster.doors["pve1"].close()
    lost = reader.until("the loss", host("pve1", "lost"), lambda: cluster.publish("pve2")).body
    assert isinstance(lost, Status)
    assert lost.info["connected"] is None
    assert "trying again" in (lost.reason or "")
    assert json.loads(cluster.run("status", "--json").stdout)["hosts"]["pve1"]["state"] == "lost"

    def only_the_others() -> bool:
        late = cluster.reader()
        late.until("pve2", of("pve2"), lambda: cluster.publish("pve2"))
        return not any(map(of("pve1"), late.take()))

    eventually("pve1 is no last value any more", only_the_others)
    cluster.doors["pve1"], _ = cluster.net.door(cluster.buses["pve1"], address=cluster.addresses["pve1"])
    assert reader.until("pve1 again", host("pve1", "running"), cluster.publish)


def _claim(bus: Bus, node: str, seq: int, kind: str = topics.SNAPSHOT, **stamp: Any) -> None:
    """A frame under another host's name."""
    told = Stamp(node, 1, seq, 0, time.time(), time.monotonic())
    body = snapshot("forged", node=node)
    send(bus.publisher.socket, encode(kind, "", replace(told, **stamp), body))


def test_a_host_that_speaks_for_another_is_not_heard_and_is_counted(shared: Cluster) -> None:
    reader = shared.reader()
    reader.until("pve2", host("pve2", "running"), shared.publish)
    number = 0

    def forge() -> None:
        nonlocal number
        number += 1
        _claim(shared.buses["pve1"], "pve2", number)
        shared.publish("pve2")

    reader.until("the count", host("pve1", foreign=5), forge)
    reader.until("pve2 all the same", of("pve2"), forge)
    assert not [
        message
        for message in reader.messages
        if isinstance(message.body, Snapshot) and "forged" in message.body.tables["vm"].columns["name"]
    ]


def test_old_frames_that_are_sent_again_are_dropped_and_counted(shared: Cluster) -> None:
    reader = shared.reader()
    reader.until("pve1", host("pve1", "running"), shared.publish)
    bus = shared.buses["pve1"]
    old = {"seq": 1, "epoch": bus.publisher.epoch}

    def replay() -> None:
        _claim(bus, "pve1", **old)  # type: ignore[arg-type]
        _claim(bus, "pve1", 10_000, epoch=5, mono=0.5)

    reader.until("the count", host("pve1", replays=10), replay)
    assert not [
        m for m in reader.messages if isinstance(m.body, Snapshot) and "forged" in m.body.tables["vm"].columns["name"]
    ]


def test_garbage_of_one_host_harms_no_other(shared: Cluster) -> None:
    reader = shared.reader()
    reader.until("pve2", of("pve2"), shared.publish)

    def garbage() -> None:
        for payload in (b"", b"\xc1", b"\x91" * 5000, b"\xdf\xff\xff\xff\xff", os.urandom(3000)):
            send(shared.buses["pve1"].publisher.socket, [b"snapshot/pve1/", payload])
        shared.publish("pve2")

    reader.until("the count", host("pve1", undecodable=20), garbage)
    reader.until("pve2", of("pve2"), garbage)
    assert shared.agg.errors == []


@pytest.mark.slow
def test_a_flood_is_cut_off_and_the_others_stay_on_time(cluster: Cluster) -> None:
    reader = cluster.reader()
    reader.until("pve2", of("pve2"), cluster.publish)
    socket = cluster.buses["pve1"].publisher.socket

    def flood() -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(300):
                send(socket, [b"snapshot/pve1/", b"\xc1"])
        cluster.publish("pve2")

    status = reader.until("the cut", host("pve1", floods=1), flood).body
    assert isinstance(status, Status)
    assert "more frames than can be meant" in (status.reason or "")
    for _ in range(3):
        begin = time.monotonic()
        reader.until("pve2", of("pve2"), flood)
        assert time.monotonic() - begin < 2


def test_hosts_with_each_others_keys_are_not_heard(net: Net) -> None:
    cluster = Cluster(net, "pve1", "pve2", "pve3")
    reader = cluster.reader()
    for node in cluster.buses:
        reader.until(node, of(node), cluster.publish)
    swapped = {"pve1": cluster.keys["pve2"].public, "pve2": cluster.keys["pve1"].public}
    cluster.configure(**swapped)
    assert cluster.run("reload").returncode == 0
    for node in swapped:
        told = reader.until("no handshake", waiting_for(node, "key"), cluster.publish).body
        assert isinstance(told, Status) and told.state == "waiting"
    reader.take()
    reader.messages.clear()
    reader.until("pve3", of("pve3"), cluster.publish)
    assert not any(of("pve1")(m) or of("pve2")(m) for m in reader.take())


@pytest.mark.slow
def test_a_revoked_aggregator_hears_nothing_until_it_is_trusted_again(cluster: Cluster) -> None:
    reader = cluster.reader()
    reader.until("pve1", of("pve1"), cluster.publish)
    keys.revoke(str(cluster.net.trusted), "agg1")
    os.kill(cluster.doors["pve1"].pid, signal.SIGHUP)
    told = reader.until("the loss", host("pve1", "lost"), cluster.publish).body
    assert isinstance(told, Status)
    eventually(
        "why",
        lambda: "does not let this" in json.loads(cluster.run("status", "--json").stdout)["hosts"]["pve1"]["reason"],
    )
    keys.trust(str(cluster.net.trusted), "agg1", cluster.own.public)
    os.kill(cluster.doors["pve1"].pid, signal.SIGHUP)
    reader.until("pve1 again", of("pve1"), cluster.publish)


def test_hosts_are_added_and_removed_by_a_reload_and_the_rest_goes_on(cluster: Cluster) -> None:
    reader = cluster.reader()
    reader.until("pve1", of("pve1"), cluster.publish)
    hub = next(pid for pid, name in children(cluster.agg.pid).items())
    cluster.add("pve4")
    cluster.configure("pve2", "pve4")
    assert cluster.run("reload").returncode == 0
    reader.until("pve4", of("pve4"), cluster.publish)
    assert any(map(host("pve1", "removed"), reader.messages))
    reader.messages.clear()
    reader.until("pve2", of("pve2"), cluster.publish)
    assert not any(map(of("pve1"), reader.take()))
    assert hub in children(cluster.agg.pid)
    assert set(json.loads(cluster.run("status", "--json").stdout)["hosts"]) == {"pve2", "pve4"}


def test_a_configuration_that_breaks_is_told_and_the_one_before_stays(shared: Cluster) -> None:
    reader = shared.reader()
    reader.until("pve1", of("pve1"), shared.publish)
    whole = shared.path.read_text()
    shared.path.write_text(whole + "nonsense = 1\n")
    checked = shared.run("check")
    assert checked.returncode == 2
    assert checked.stderr.count("\n") == 1
    assert "nonsense" in checked.stderr
    os.kill(shared.agg.pid, signal.SIGHUP)
    assert "stays" in shared.agg.said("nonsense")
    shared.path.write_text(whole)
    reader.until("pve1", of("pve1"), shared.publish)


def test_samples_are_fetched_while_somebody_wants_them(shared: Cluster) -> None:
    def publish() -> None:
        for bus in shared.buses.values():
            bus.publish(topics.SAMPLE, "cpu", Sample("cpu", {}, 1.0))
        shared.publish()

    plain = shared.reader(b"snapshot/")
    plain.until("pve1", of("pve1"), publish)
    wanting = shared.reader(b"sample/pve2/")
    wanting.until("a sample", lambda message: message.kind == topics.SAMPLE, publish)
    assert {message.kind for message in plain.messages} == {topics.SNAPSHOT}
    assert {message.stamp.node for message in wanting.messages} == {"pve2"}


def test_one_profiler_knows_the_vms_of_all_hosts(net: Net) -> None:
    state = net.folder / "state"
    words = f'["--buffersize=1", "--states=2", "--state-dir={state}"]'
    cluster = Cluster(net, "pve1", "pve2", profiler=f"[profiler]\ninterval = 0.5\noptions = {words}")
    reader = cluster.reader(b"profile/", b"snapshot/")

    def publish() -> None:
        cycle = time.time_ns() // 500_000_000 * 500
        for node, bus in cluster.buses.items():
            bus.publish(body=snapshot(f"vm-of-{node}", node=node), cycle=cycle)

    for node in cluster.buses:

        def scored(message: Message, node: str = node) -> bool:
            body = message.body
            return isinstance(body, Profiles) and message.stamp.node == node and _steps(body) >= 2

        found = reader.until(f"scores of {node}", scored, publish).body
        assert isinstance(found, Profiles)
        assert found.step == 0.5
        assert found.tables["vm"].columns["name"] == [f"vm-of-{node}"]
    assert cluster.agg.stop() == 0
    assert {path.name for path in state.glob("*.json")} == {"vm-of-pve1-uuid.json", "vm-of-pve2-uuid.json"}


def _steps(body: Profiles) -> int:
    """The most that is known of a VM."""
    return max(int(count or 0) for count in body.tables["vm"].columns["profile_steps"])


@pytest.mark.slow
def test_the_hub_that_is_killed_comes_back_for_all_its_readers(cluster: Cluster) -> None:
    reader = cluster.reader()
    reader.until("pve1", of("pve1"), cluster.publish)
    for pid in children(cluster.agg.pid):
        os.kill(pid, signal.SIGKILL)
    cluster.agg.said("it is started again")
    reader.messages.clear()
    for node in cluster.buses:
        reader.until(node, of(node), cluster.publish)


def test_a_second_aggregator_on_the_same_bus_says_who_holds_it(shared: Cluster) -> None:
    shared.reader().until("pve1", of("pve1"), shared.publish)
    second = shared.run("run")
    assert second.returncode == 2
    assert f"process {shared.agg.pid}" in second.stderr
    shared.reader().until("pve1", of("pve1"), shared.publish)


@pytest.mark.slow
def test_workers_end_with_their_parent_however_it_ends(cluster: Cluster) -> None:
    cluster.reader().until("pve1", of("pve1"), cluster.publish)
    workers = list(children(cluster.agg.pid))
    assert workers
    cluster.agg.close()
    eventually("the end of the workers", lambda: not any(map(alive, workers)))


@pytest.mark.slow
def test_an_aggregator_of_aggregators_and_a_host_that_none_of_them_may_tell_of(net: Net) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    own = net.pair("agg0", trusted=True)
    readers = str(net.folder / "readers")
    keys.trust(readers, "agg0", own.public)
    inner = Cluster(net, "pve1", "pve2", door=f'[door]\naddress = "{address}"\ntrusted = "{readers}"')
    directory = net.folder / "agg0"
    path = net.folder / "agg0.toml"
    told = [
        ("hypervisors", "node", "pve2", inner.addresses["pve2"], inner.keys["pve2"]),
        ("aggregators", "name", "agg1", address, inner.own),
    ]
    path.write_text(
        f'name = "agg0"\ndirectory = "{directory}"\nkey = "{net.folder}/agg0.key"\n'
        + "".join(f'[[{kind}]]\n{name} = "{node}"\naddress = "{where}"\nkey = "{pair.public.decode()}"\n'
                  for kind, name, node, where, pair in told)
    )  # fmt: skip
    outer = Process([str(PROXTOP.with_name("proxtop-agg")), "run", f"--config={path}"])
    net.callback(outer.close)
    reader = net.reader(endpoints.subscribe(str(directory)), None, (b"snapshot/", b"status/"))
    for node, through in (("pve1", "agg1"), ("pve2", None)):
        assert reader.until(node, of(node), inner.publish)
        told = reader.until(f"{node}'s heartbeat", host(node, "running"), inner.publish).body
        assert isinstance(told, Status)
        assert told.info["through"] == through
    wanting = net.reader(endpoints.subscribe(str(directory)), None, (b"sample/pve1/",))
    wanting.until(
        "a sample through both",
        lambda message: message.kind == topics.SAMPLE,
        lambda: inner.buses["pve1"].publish(topics.SAMPLE, "cpu", Sample("cpu", {}, 1.0)),
    )
    keys.revoke(readers, "agg0")
    reader.until("the loss", host("pve1", "lost"), inner.publish)
    assert reader.until("the other one all the same", of("pve2"), inner.publish)


def test_lost_and_late_hosts_stand_in_the_table(shared: Cluster) -> None:
    reader = shared.reader()
    reader.until("pve1", host("pve1", "running"), shared.publish)
    reader.until("the loss", host("pve2", "lost"), lambda: shared.publish("pve1"))
    table = shared.run("status").stdout.splitlines()
    assert table[0].split()[:3] == ["HOST", "STATE", "CONNECTED"]
    assert [line.split()[:2] for line in table[1:]] == [["pve1", "running"], ["pve2", "lost"]]
    assert "no cycle comes" in table[2]


@pytest.mark.slow
def test_a_host_whose_message_never_ends_is_cut_off_before_it_takes_the_memory(net: Net) -> None:
    """Such a host speaks ZMTP by hand: libzmq would keep what is not whole to itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        cluster = Cluster(net, "pve2")
        reader = cluster.reader()
        reader.until("pve2", of("pve2"), cluster.publish)
        text = f'[[hypervisors]]\nnode = "bad"\naddress = "tcp://127.0.0.1:{listener.getsockname()[1]}"\n'
        cluster.path.write_text(cluster.path.read_text() + text)
        assert cluster.run("reload").returncode == 0
        peer, _ = listener.accept()
        (hub,) = children(cluster.agg.pid)
        most = sent = 0
        with peer, contextlib.suppress(ConnectionError):
            rawzmtp.shake(peer, b"XPUB")
            many = rawzmtp.part(b"x" * 250, more=True) * 4000
            while sent < 1 << 30:
                peer.sendall(many)
                sent += len(many)
                most = max(most, _resident(hub))
                cluster.publish()
        assert sent > 32 << 20
        told = reader.until("the cut", host("bad", floods=1), cluster.publish).body
        assert isinstance(told, Status)
        assert "a message without an end" in (told.reason or "")
        assert most < 600 << 20
        assert reader.until("pve2 all the same", of("pve2"), cluster.publish)
        assert cluster.agg.errors == []


def _resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_readers_that_stop_reading_slow_nobody_and_cost_little(shared: Cluster) -> None:
    endpoint = endpoints.subscribe(str(shared.directory))
    reader = shared.reader()
    reader.until("pve1", of("pve1"), shared.publish)
    (hub,) = children(shared.agg.pid)
    names = [f"vm{number}" for number in range(2000)]
    context = Context()
    stopped = []
    for _ in range(3):
        socket_ = bounded(context.socket(zmq.SUB))
        socket_.set(zmq.SUBSCRIBE, b"")
        socket_.connect(endpoint)
        stopped.append(socket_)
    before, most = _resident(hub), 0
    for number in range(600):
        last = snapshot(*names, node="pve1", value=float(number))
        shared.buses["pve1"].publish(body=last)
        if number % 50 == 0:
            reader.until("a cycle all the same", of("pve1"), lambda: None)
            most = max(most, _resident(hub))
    shared.buses["pve1"].publish(body=snapshot("end", node="pve1"))
    begin = time.monotonic()
    reader.until("the end", lambda m: of("pve1")(m) and m.body.tables["vm"].columns["name"] == ["end"])
    assert time.monotonic() - begin < 5
    assert most - before < 150 << 20
    for socket_ in stopped:
        socket_.close(0)
    context.term()


def test_the_screen_of_a_terminal_shows_the_cluster(shared: Cluster) -> None:
    with Terminal("--bus", endpoints.subscribe(str(shared.directory)), size=(120, 24)) as terminal:

        def shown(*words: str) -> bool:
            shared.publish()
            text = terminal.screen()
            return all(word in text for word in words)

        eventually("both hosts", lambda: shown("HOSTS  2 live", "pve1", "pve2", "Hosts: 2"))
        terminal.keys("Tab")
        eventually("one of them", lambda: shown("Host: pve1 (1/2, Tab)"))


def test_a_printer_prints_every_host_whatever_its_monotonic_clock_says(shared: Cluster) -> None:
    shared.reader().until("the cluster", host("pve2", "running"), shared.publish)
    command = [str(PROXTOP), "--bus", endpoints.subscribe(str(shared.directory)), "-p", "json", "--runs=6", "--cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as printing:
        eventually("six lines", lambda: (shared.publish(), printing.poll())[1] is not None)
        out, err = printing.communicate()
    assert (printing.returncode, err) == (0, "")
    assert {json.loads(line)["node"] for line in out.splitlines()} == {"pve1", "pve2"}
    only = subprocess.Popen([*command, "--node=pve2"], stdout=subprocess.PIPE, text=True)
    eventually("its lines", lambda: (shared.publish(), only.poll())[1] is not None)
    assert {json.loads(line)["node"] for line in only.communicate()[0].splitlines()} == {"pve2"}
