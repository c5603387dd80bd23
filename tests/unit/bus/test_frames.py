"""Frames: what goes out comes back; what is not ours is one typed error; replays, losses, restarts told apart."""

from __future__ import annotations

import contextlib
import math
import struct
import sys
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtop.bus import endpoints, topics
from proxtop.bus.frames import BEFORE, DOMAINS, MAX_BYTES, VERSION, Tracker, decode, encode, head
from proxtop.bus.ids import IdsReader, IdsWriter
from proxtop.bus.wire import FrameError
from proxtop.model import (
    VM,
    Columns,
    Disk,
    DiskConfig,
    Domain,
    Domains,
    Inventory,
    Message,
    Nic,
    NicConfig,
    Payload,
    Sample,
    Snapshot,
    Stamp,
    Statistics,
    Status,
    Table,
    Thread,
)  # fmt: skip

STAMP = Stamp("node-1", 1_700_000_000_000_000_000, 7, 1_700_000_002_000, 1_700_000_002.01, 99.5)
TABLE = Table(["a", "b"], {"x": [1, None], "name": ["web", "nan"], "y": [0.5, 2]}, [1.0, None])
_OWN_REFERENCES = 2
BODIES: list[tuple[str, str, Payload]] = [
    (topics.SOURCE, DOMAINS, Domains("qemu", (
        Domain("u", "web", 1, 101, 2, 1024, (DiskConfig("vda", "/x"),), (NicConfig("tap0", None, False),)),
        Domain("v", "web", nics=None, reason="no permission"),
    ), remote=True)),
    (topics.SOURCE, "block", Statistics("block", TABLE, 1.0, prime=True)),
    (topics.INVENTORY, "", Inventory("qemu", (
        VM("u", "web", 1, 2, None, 2, 1024, ((0, 5), (1, 6)), (Thread(1, "emulator", 1),), (Disk("vda", "/x", "sda"),),
           (Nic("tap0", "m", True, 4),), "/machine.slice", "0-1"),
        VM("v", "gone", None, None, nics=None),
    ), prime=True)),
    (topics.SAMPLE, "cpu", Sample("cpu", {"vm": TABLE, "vcpu": Table([], {})}, 0.0, "why")),
    (topics.SNAPSHOT, "", Snapshot({"vm": TABLE}, 1.5, ("cpu", "io"), "qemu", {"io": "late"}, {"mem": "some"})),
    (topics.STATUS, "cpu", Status("cpu", "running", 12, 2.0, 0.001, 1, 2, None, {"connector": "qemu", "n": 1})),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "part", "body"), BODIES)
def test_what_is_encoded_decodes_to_the_same(kind: str, part: str, body: Payload) -> None:
    assert decode(encode(kind, part, STAMP, body)) == Message(kind, part, STAMP, body)


def test_the_slash_after_the_node_keeps_prefixes_apart() -> None:
    assert not topics.topic("snapshot", "web-01").startswith(topics.topic("snapshot", "web"))


def _changed(change: dict[str, Any], body: dict[str, Any] | None = None) -> list[bytes]:
    topic, payload = encode(topics.SAMPLE, "cpu", STAMP, Sample("cpu", {"vm": TABLE}, 0.0))
    raw = msgpack.unpackb(payload)
    raw.update(change)
    raw["body"].update(body or {})
    return [topic, msgpack.packb(raw)]


def _table(**change: Any) -> dict[str, Any]:
    return {"tables": {"vm": {"ids": IdsWriter().pack(["a"]), "columns": {"x": [1]}, "at": None, **change}}}


def _huge() -> dict[str, Any]:
    ids = IdsWriter().pack([str(number) for number in range(100_000)])
    return {"tables": {"vm": {"ids": ids, "columns": {f"c{number}": 0.0 for number in range(50)}}}}


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"sample/node-1/cpu"],
        [b"sample/node-1/cpu", b"", b""],
        [b"sample/node-1/cpu", b"\xc1"],
        [b"sample/node-1/cpu", b"x" * (MAX_BYTES + 1)],
        [b"sample/node-1/cpu", b"\x91" * 5000 + b"\xc0"],
        [b"sample/node-1/cpu", b"\xdd\xff\xff\xff\xff"],
        [b"nonsense", _changed({})[1]],
        [b"other/node-1/cpu", _changed({})[1]],
        [b"sample//cpu", _changed({})[1]],
        [b"sample/another/cpu", _changed({})[1]],
        [b"\xff/node-1/cpu", _changed({})[1]],
        [b"x" * 600, _changed({})[1]],
        _changed({"v": 99}),
        _changed({"seq": "7"}),
        _changed({"mono": math.nan}),
        _changed({"time": math.inf}),
        _changed({"epoch": True}),
        _changed({}, _table(columns={"x": b"\0\0\0"})),
        _changed({}, _table(columns={"x": b"\0\0\0\0" * 2})),
        _changed({}, _table(columns={"x": struct.pack("<f", math.nan)})),
        _changed({}, _table(columns={"x": struct.pack("<f", math.inf)})),
        _changed({}, _table(at=b"\0\0\0")),
        _changed({}, _table(ids=["a"])),
        _changed({}, _table(ids=msgpack.packb([[None, "a", "a"]]))),
        _changed({}, _table(ids=msgpack.packb([[None, "a/b"], ["a", "b"]]))),
        _changed({}, _table(ids=msgpack.packb([[None, 1]]))),
        _changed({}, _table(ids=msgpack.packb([["a", 1]]))),
        _changed({}, _table(ids=msgpack.packb([["a", b"0123456789abcdef"]]))),
        _changed({}, _table(ids=msgpack.packb([[b"0123", "a"]]))),
        _changed({}, _table(ids=msgpack.packb([[]]))),
        _changed({}, _table(ids=msgpack.packb(["a"]))),
        _changed({}, _table(ids=msgpack.packb({"a": 1}))),
        _changed({}, _table(ids=msgpack.packb([["a" * 16_000, *map(str, range(20_000))]]))),
        _changed({}, _table(ids=b"\xdd\xff\xff\xff\xff")),
        _changed({}, _table(ids=b"")),
        _changed({}, _huge()),
        _changed({}, _table(columns={"x": [1, 2]})),
        _changed({}, _table(columns={"x": math.nan})),
        _changed({}, _table(columns={"x": {"a": 1}})),
        _changed({}, _table(columns={"x": b"a"})),
        _changed({}, _table(at="soon")),
        _changed({}, _table(columns={"x": [[1]]})),
        _changed({}, _table(columns={"x": [math.nan]})),
        _changed({}, _table(columns={"x": [-math.inf]})),
        _changed({}, _table(at=["soon"])),
        _changed({}, _table(at=[1.0, 2.0])),
        _changed({}, {"tables": [1]}),
        _changed({}, {"family": None}),
    ],
)
def test_what_is_no_frame_is_the_one_typed_error(frames: list[bytes]) -> None:
    with pytest.raises(FrameError):
        decode(frames)


def test_unknown_fields_of_a_newer_publisher_are_ignored() -> None:
    message = decode(_changed({"later": [1]}, {"later": {"a": 1}}))
    assert message.body == Sample("cpu", {"vm": TABLE}, 0.0)


def _before(**change: Any) -> list[bytes]:
    """A frame as the version before sent it."""
    return _changed({"v": BEFORE}, _table(**{"ids": ["a", "b/1"], "columns": {"x": [1, None]}, **change}))


def test_the_version_before_is_understood() -> None:
    assert decode(_before()).body == Sample("cpu", {"vm": Table(["a", "b/1"], {"x": [1, None]})}, 0.0)
    assert head(_before())[2] == STAMP


@pytest.mark.parametrize("ids", [["a", "a"], ["a", 1], "ab", None, IdsWriter().pack(["a", "b"]), {"a": 1, "b": 2}])
def test_ids_of_the_version_before_are_held_to_their_shape(ids: Any) -> None:
    with pytest.raises(FrameError):
        decode(_before(ids=ids))


def test_ids_are_read_by_the_version_that_the_frame_names() -> None:
    with pytest.raises(FrameError):
        decode(_changed({"v": VERSION}, _table(ids=["a"])))


@pytest.mark.parametrize(("kind", "part", "body"), BODIES)
def test_the_head_of_a_frame_tells_whose_it_is(kind: str, part: str, body: Payload) -> None:
    assert head(encode(kind, part, STAMP, body)) == (kind, part, STAMP)


def test_the_head_passes_over_what_a_newer_publisher_says_first() -> None:
    topic, payload = _changed({})
    raw = {"later": {"a": [1]}, **msgpack.unpackb(payload)}
    assert head([topic, msgpack.packb(raw)]) == (topics.SAMPLE, "cpu", STAMP)


@pytest.mark.parametrize(
    "frames",
    [
        [], [b"sample/node-1/cpu"], [b"sample/node-1/cpu", b""], [b"sample/node-1/cpu", b"\xc1"],
        [b"sample/node-1/cpu", b"\xdf\xff\xff\xff\xff"], [b"sample/node-1/cpu", b"\x91" * 5000],
        [b"sample/node-1/cpu", b"x" * (MAX_BYTES + 1)], [b"sample/another/cpu", _changed({})[1]],
        [b"nonsense", _changed({})[1]], _changed({"v": 99}), _changed({"seq": "7"}), _changed({"mono": math.nan}),
        [b"sample/node-1/cpu", msgpack.packb({"v": VERSION, "long": "x" * 3000, "node": "node-1"})],
        [b"sample/node-1/cpu", msgpack.packb({"v": VERSION, "body": {}, "node": "node-1"})],
    ],
)  # fmt: skip
def test_what_has_no_head_of_ours_is_the_typed_error(frames: list[bytes]) -> None:
    with pytest.raises(FrameError):
        head(frames)


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_head_or_are_the_typed_error(payload: bytes) -> None:
    with contextlib.suppress(FrameError):
        head([b"sample/node-1/cpu", payload])


def test_a_column_of_names_with_a_number_that_is_not_finite_is_found() -> None:
    with pytest.raises(FrameError):
        decode(_changed({}, _table(ids=IdsWriter().pack(["a", "b"]), columns={"x": ["web", math.nan]})))


def test_a_snapshots_rates_have_seven_digits_in_half_the_bytes_and_counters_all_of_theirs() -> None:
    rates: list[float | int | str | bool | None] = [float(number) + 0.123456789 for number in range(1000, 1100)]
    columns: Columns = {"rate": rates, "some": [None, *rates[1:]], "count": [*range(1 << 40, (1 << 40) + 100)]}
    columns["huge"] = [1e300, *rates[1:]]
    table = Table([str(number) for number in range(100)], columns)
    snapshot = encode(topics.SNAPSHOT, "", STAMP, Snapshot({"vm": table}, 1.0, ("io",), "qemu"))
    sample = encode(topics.SAMPLE, "io", STAMP, Sample("io", {"vm": table}, 0.0))
    shown, counted = decode(snapshot).body, decode(sample).body
    assert isinstance(shown, Snapshot) and isinstance(counted, Sample)
    assert counted.tables["vm"] == table
    assert shown.tables["vm"].columns["rate"] == pytest.approx(rates, rel=6e-8)
    assert {name: shown.tables["vm"].columns[name] for name in ("some", "count", "huge")} == {
        name: columns[name] for name in ("some", "count", "huge")
    }
    assert len(snapshot[1]) < len(sample[1]) - 450


def test_a_column_of_one_value_is_sent_once_and_keeps_its_type() -> None:
    columns: Columns = {"zero": [0] * 3, "mixed": [0, 0.0, 0], "no": [False] * 3, "none": [None] * 3, "one": [1, 0, 0]}
    table = Table(["a", "b", "c"], columns)
    frames = encode(topics.SAMPLE, "cpu", STAMP, Sample("cpu", {"vm": table}, 0.0))
    assert msgpack.unpackb(frames[1])["body"]["tables"]["vm"]["columns"] == {
        "zero": 0, "mixed": [0, 0.0, 0], "no": False, "none": None, "one": [1, 0, 0],
    }  # fmt: skip
    body = decode(frames).body
    assert isinstance(body, Sample)
    found = body.tables["vm"].columns
    assert found == columns
    assert {name: [*map(type, column)] for name, column in found.items()} == {
        name: [*map(type, column)] for name, column in columns.items()
    }


_UUIDS = ["00000000-0000-0000-0000-00000000000a", "0000000A-0000-0000-0000-00000000000a", "00000000-00000000-0000-" * 2]


@given(st.lists(st.text(max_size=6) | st.sampled_from(_UUIDS) | st.builds("{}/{}".format, st.sampled_from(_UUIDS)
    | st.text(max_size=2), st.text(max_size=3)), unique=True))  # fmt: skip
def test_ids_come_as_they_were_sent(ids: list[str]) -> None:
    assert IdsReader().read(IdsWriter().pack(ids)) == ids


def test_ids_that_stay_the_same_are_packed_and_read_once() -> None:
    writer, reader = IdsWriter(), IdsReader()
    block = writer.pack(["a/0", "a/1"])
    found = reader.read(block)
    for _ in range(1000):
        writer.pack(["b"])
        reader.read(writer.pack(["b", "c"]))
        assert writer.pack(["a/0", "a/1"]) is block
        assert reader.read(bytes(bytearray(block))) is found


def test_ids_that_are_gone_are_forgotten() -> None:
    writer, reader = IdsWriter(), IdsReader()
    gone = reader.read(writer.pack(["gone"]))
    for _ in range(1000):
        reader.read(writer.pack(["there"]))
    assert sys.getrefcount(gone) == _OWN_REFERENCES
    many = [reader.read(writer.pack([f"{number}" + "x" * 15_000])) for number in range(2000)]
    assert sum(sys.getrefcount(ids) > _OWN_REFERENCES + 1 for ids in many) < 600  # and the loop's


@given(st.binary(max_size=300), st.binary(max_size=2000))
@settings(max_examples=300)
def test_any_bytes_are_a_message_or_the_typed_error(topic: bytes, payload: bytes) -> None:
    for frames in ([topic, payload], [b"sample/node-1/cpu", payload]):
        with contextlib.suppress(FrameError):
            decode(frames)


_JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.binary(max_size=8)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from(range(len(BODIES))),
    st.dictionaries(
        st.sampled_from(
            [
                "tables",
                "columns",
                "family",
                "vms",
                "ids",
                "domains",
                "table",
                "part",
                "info",
                "span",
                "stale",
                "refresh",
            ]
        ),
        _JSONISH,
    ),
)
@settings(max_examples=300)
def test_any_shape_of_body_is_a_message_or_the_typed_error(place: int, change: dict[str, Any]) -> None:
    kind, part, body = BODIES[place]
    topic, payload = encode(kind, part, STAMP, body)
    raw = msgpack.unpackb(payload)
    raw["body"].update(change)
    with contextlib.suppress(FrameError):
        decode([topic, msgpack.packb(raw)])


def _message(seq: int, epoch: int = 10, mono: float = 1.0, part: str = "cpu") -> Message:
    stamp = replace(STAMP, seq=seq, epoch=epoch, mono=mono)
    return Message(topics.SAMPLE, part, stamp, Sample("cpu", {}, 0.0))


def test_a_gap_is_loss_and_a_repetition_is_a_replay() -> None:
    tracker = Tracker()
    assert [tracker.accept(_message(seq)) for seq in (1, 2, 2, 5, 4)] == [True, True, False, True, False]
    assert (tracker.lost, tracker.replays) == (2, 2)


def test_a_new_epoch_is_a_restart_and_never_loss() -> None:
    tracker = Tracker()
    assert tracker.accept(_message(50, epoch=10))
    assert tracker.accept(_message(9, epoch=11, mono=2.0))
    assert tracker.lost == 0


def test_an_old_publishers_frame_is_a_replay_but_a_clock_set_back_is_a_restart() -> None:
    tracker = Tracker()
    assert tracker.accept(_message(5, epoch=20, mono=100.0))
    assert not tracker.accept(_message(6, epoch=10, mono=50.0))
    assert tracker.accept(_message(1, epoch=15, mono=101.0))


def test_a_host_that_booted_with_its_clock_set_back_is_heard_from_its_second_frame_on() -> None:
    tracker = Tracker()
    assert tracker.accept(_message(500, epoch=20, mono=1_000_000.0))
    booted = [tracker.accept(_message(seq, epoch=10, mono=30.0 + seq)) for seq in (1, 2, 3)]
    assert booted == [False, True, True]
    assert (tracker.lost, tracker.replays) == (0, 1)


def test_what_an_old_publisher_said_last_stays_a_replay_however_often_it_comes() -> None:
    tracker = Tracker()
    assert tracker.accept(_message(5, epoch=20, mono=100.0))
    assert not any(tracker.accept(_message(6, epoch=10, mono=50.0)) for _ in range(3))
    assert tracker.accept(_message(6, epoch=20, mono=101.0))
    assert (tracker.lost, tracker.replays) == (0, 3)


def test_topics_are_counted_apart() -> None:
    tracker = Tracker()
    assert tracker.accept(_message(1)) and tracker.accept(_message(1, part="mem"))
    assert tracker.lost == 0


@pytest.mark.parametrize("uri", ["ipc:///run/x.sock", "tcp://127.0.0.1:5555", "tcp://[::1]:1", "tcp://host:65535"])
def test_addresses_of_a_bus(uri: str) -> None:
    assert endpoints.parse(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "ipc://@abstract",
        "ipc://relative",
        "tcp://host",
        "tcp://:1",
        "tcp://host:0",
        "udp://h:1",
        "",
        "x",
        "tcp://h:port",
        "ipc:///" + "x" * 120,
    ],
)
def test_what_is_no_address_is_refused_by_name(uri: str) -> None:
    with pytest.raises(endpoints.EndpointError, match="--bus"):
        endpoints.parse(uri)
