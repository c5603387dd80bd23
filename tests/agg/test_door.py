"""The door: who has a key reads the local bus over the network; who lost it, or asks for too much, is out."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest
import zmq

from proxtop.bus import keys, topics
from proxtop.bus.curve import Joining
from proxtop.bus.sockets import Context, bounded, networked
from proxtop.model import Inventory, Sample, Status
from proxtopd.door import DoorOptions
from tests.agg import rawzmtp
from tests.agg.rig import Bus, Net, Process, Reader, free_port, is_snapshot, is_status, pair, snapshot
from tests.faults.rig import eventually

NOTHING_S = 0.5


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


class House:
    """A host with a bus, a door and one that is let in."""

    def __init__(self, net: Net, **options: object) -> None:
        self.net = net
        self.own = net.pair("pve1")
        self.friend = net.pair("agg1", trusted=True)
        self.bus: Bus = net.bus()
        self.door: Process
        self.door, self.address = net.door(self.bus, **options)

    def reader(self, *prefixes: bytes) -> Reader:
        joining = Joining(self.friend, self.own.public)
        return self.net.reader(self.address, joining, prefixes or (b"snapshot/",))

    def gets(self, reader: Reader) -> bool:
        """Whether snapshots of now reach this reader."""
        return bool(reader.until("a snapshot", is_snapshot, self.bus.publish))

    def gets_nothing(self, reader: Reader) -> bool:
        reader.take()
        reader.messages.clear()
        end = time.monotonic() + NOTHING_S
        while time.monotonic() < end:
            self.bus.publish()
            reader.take()
        return not reader.messages

    def reload(self) -> None:
        os.kill(self.door.pid, signal.SIGHUP)


@pytest.fixture
def house(net: Net) -> House:
    return House(net)


def test_a_trusted_key_reads_the_bus_and_a_late_one_the_last_values(house: House) -> None:
    assert house.gets(house.reader())
    house.bus.publish(body=snapshot("last"))
    late = house.reader()
    message = late.until("the last snapshot", is_snapshot)
    assert message.body.tables["vm"].columns["name"] == ["last"]  # type: ignore[union-attr]
    assert house.door.stop() == 0
    assert house.door.errors == []


def test_no_key_a_strange_key_and_another_doors_key_get_nothing(house: House) -> None:
    assert house.gets(house.reader())
    strange = [None, Joining(pair("agg1"), house.own.public), Joining(house.friend, pair("pve2").public)]
    readers = [house.net.reader(house.address, secure) for secure in strange]
    assert all(house.gets_nothing(reader) for reader in readers)
    status = house.reader(b"status/").until(
        "the count of refusals", lambda m: isinstance(m.body, Status) and m.body.info.get("refused", 0)
    )
    assert isinstance(status.body, Status)
    assert status.body.info["admitted"] >= 1  # type: ignore[operator]


def test_a_revoked_key_is_out_at_the_reload_with_its_live_session_and_others_come_back(house: House) -> None:
    other = house.net.pair("agg2", trusted=True)
    house.reload()
    stays = house.net.reader(house.address, Joining(other, house.own.public))
    goes = house.reader()
    assert house.gets(goes) and house.gets(stays)
    assert keys.revoke(str(house.net.trusted), "agg1") == 1
    house.reload()
    assert "agg1" in house.door.said("opened anew")
    assert house.gets(stays)
    assert house.gets_nothing(goes)
    assert house.gets_nothing(house.reader())


def test_a_key_that_is_added_is_let_in_without_ending_any_session(house: House) -> None:
    first = house.reader()
    assert house.gets(first)
    other = house.net.pair("agg2")
    second = house.net.reader(house.address, Joining(other, house.own.public))
    assert house.gets_nothing(second)
    keys.trust(str(house.net.trusted), "agg2", other.public)
    house.reload()
    assert house.gets(house.net.reader(house.address, Joining(other, house.own.public)))
    assert house.gets(first)
    assert house.door.errors == []


def test_a_list_that_breaks_shuts_the_door_for_all_until_it_is_whole(house: House) -> None:
    reader = house.reader()
    assert house.gets(reader)
    whole = house.net.trusted.read_text()
    house.net.trusted.write_text(whole + "agg3 nonsense\n")
    house.reload()
    assert str(house.net.trusted) in house.door.said("shut for everyone")
    assert house.gets_nothing(reader)
    house.net.trusted.write_text(whole)
    assert house.gets(reader)


def test_a_key_file_that_others_may_read_keeps_the_door_shut(net: Net) -> None:
    house = House(net)
    house.door.stop()
    (net.folder / "pve1.key").chmod(0o644)
    house.door, house.address = net.door(house.bus)
    assert "chmod 600" in house.door.said("shut for everyone")
    assert house.gets_nothing(house.reader())


def test_kinds_that_nobody_asked_for_stay_inside_and_sources_always_do(house: House) -> None:
    everything = house.reader(b"")
    inventory = house.reader(b"inventory/pve1/")
    seen = set()

    def publish() -> None:
        house.bus.publish(topics.INVENTORY, "", Inventory("qemu", ()))
        house.bus.publish(topics.SAMPLE, "cpu", Sample("cpu", {}, 0.0))
        house.bus.publish(topics.SOURCE, "block", Sample("cpu", {}, 0.0))
        house.bus.publish()

    inventory.until("an inventory", lambda message: message.kind == topics.INVENTORY, publish)
    everything.until("a sample", lambda message: message.kind == topics.SAMPLE, publish)
    everything.until("a snapshot", is_snapshot, publish)
    for reader in (everything, inventory):
        seen |= {message.kind for message in reader.take()}
    assert seen - {topics.STATUS} == {topics.INVENTORY, topics.SAMPLE, topics.SNAPSHOT}


def test_a_cycle_that_nobody_renewed_is_no_last_value(house: House) -> None:
    first = house.reader()
    house.bus.publish()
    for _ in range(3):
        assert house.gets(first)
    late: list[Reader] = []

    def old() -> bool:
        late.append(house.reader(b"snapshot/", b"status/"))
        late[-1].until("a heartbeat", is_status("door"))
        return not any(map(is_snapshot, late[-1].messages))

    eventually("the last snapshot is too old", old)
    assert house.gets(late[-1])


def test_more_subscriptions_than_anybody_needs_throw_their_key_out_and_no_other(house: House) -> None:
    other = house.net.pair("agg2", trusted=True)
    house.reload()
    stays = house.net.reader(house.address, Joining(other, house.own.public))
    assert house.gets(stays)
    before = house.door.resident()
    context = Context()
    greedy = networked(bounded(context.socket(zmq.SUB)))
    greedy.set(zmq.SNDHWM, 0)
    Joining(house.friend, house.own.public).apply(greedy)
    greedy.connect(house.address)
    for number in range(100_000):
        greedy.set(zmq.SUBSCRIBE, b"snapshot/%d/" % number)
    assert "agg1 subscribes to more than" in house.door.said("thrown out")
    assert house.gets(stays)
    assert house.gets_nothing(house.reader())
    assert house.door.resident() - before < 100 << 20
    assert house.gets(stays)
    greedy.close(0)
    context.term()
    house.reload()
    assert house.gets(house.reader())


def test_a_message_without_end_is_cut_off_before_it_takes_the_memory(net: Net) -> None:
    bus = net.bus()
    door, address = net.door(bus, key=None, trusted=None)
    reader = net.reader(address)
    assert reader.until("a snapshot", is_snapshot, bus.publish)
    host, port = address.removeprefix("tcp://").split(":")
    most = sent = 0
    with socket.create_connection((host, int(port))) as flood:
        rawzmtp.shake(flood, b"SUB")
        many = rawzmtp.part(b"x" * 250, more=True) * 4000
        with contextlib.suppress(ConnectionError):
            while sent < 4 << 30:
                flood.sendall(many)
                sent += len(many)
                most = max(most, door.resident())
    assert "thrown out" in door.said("sends more")
    assert most < 700 << 20
    assert reader.until("a snapshot", is_snapshot, bus.publish)
    eventually("the memory is given back", lambda: door.resident() < 150 << 20)


def test_bytes_that_are_no_zeromq_and_silent_connections_harm_nobody(house: House) -> None:
    reader = house.reader()
    assert house.gets(reader)
    host, port = house.address.removeprefix("tcp://").split(":")
    strangers = []
    for greeting in (
        b"",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff" * 4096,
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE" + b"\0" * 500,
    ) * 50:
        stranger = socket.create_connection((host, int(port)), timeout=5)
        stranger.sendall(greeting)
        strangers.append(stranger)
    assert house.gets(house.reader())
    assert house.gets(reader)
    for stranger in strangers:
        stranger.close()


def test_without_keys_it_stays_on_this_machine_unless_told_so_and_says_so(net: Net) -> None:
    bus = net.bus()
    door, address = net.door(bus, key=None, trusted=None, insecure=True)
    assert "insecure" in door.said("anybody who reaches it reads this bus")
    reader = net.reader(address)
    assert reader.until("a snapshot", is_snapshot, bus.publish)


def test_a_door_to_the_network_without_keys_does_not_open(net: Net) -> None:
    bus = net.bus()
    door, _ = net.door(bus, key=None, trusted=None, address=f"tcp://0.0.0.0:{free_port()}")
    assert "without keys" in door.said("door")
    assert door.popen.wait(10) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "tcp://0.0.0.0:7000"}, "without keys"), ({"address": "ipc:///x"}, "tcp://host:port"),
        ({"address": "tcp://0.0.0.0:7000", "key": "k"}, "go together"),
        ({"address": "tcp://0.0.0.0:7000", "key": "/nowhere", "trusted": "/nowhere"}, "/nowhere"),
    ],
)  # fmt: skip
def test_options_that_leave_the_door_open_or_are_wrong_are_told(options: dict[str, str], words: str) -> None:
    assert words in (DoorOptions("/x", "pve1", 1.0, **options).checked() or "")


@pytest.mark.slow
def test_a_port_that_another_has_is_waited_for(net: Net) -> None:
    house = House(net)
    house.door.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port := free_port()))
        taken.listen()
        house.door, _ = net.door(house.bus, address=f"tcp://127.0.0.1:{port}")
        house.door.said("can't listen")
    house.address = f"tcp://127.0.0.1:{port}"
    assert house.gets(house.reader())


def test_the_door_outlives_the_broker(house: House) -> None:
    reader = house.reader()
    assert house.gets(reader)
    house.bus.restart()
    assert house.gets(reader)
