"""Frames: two parts, [topic, payload]; the payload is one msgpack map. The only module that knows the wire.

Limits hold before anything is believed: size, depth (msgpack's own bound and the shape), lengths. msgpack before 1.2.4
lets one megabyte take gigabytes; pyproject.toml asks for a later one.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from proxtop.bus import wire
from proxtop.bus.ids import IdsError, IdsReader, IdsWriter, listed
from proxtop.bus.topics import INVENTORY, PROFILE, SAMPLE, SNAPSHOT, SOURCE, STATUS, TopicError, parse_topic, topic
from proxtop.bus.wire import FrameError, from_wire, read_ids, to_wire
from proxtop.model import Domains, Inventory, Message, Payload, Profiles, Sample, Snapshot, Stamp, Statistics, Status

VERSION = 2
"""The schema of what is sent. A field that is added needs no new one: who does not know it ignores it, who misses it
takes its default. A change that can't be read that way does, and the version before is read for as long as hosts may
send it: while they are upgraded one by one, nobody's frames are lost."""

BEFORE = 1
"""The version before: ids are lists of strings."""

MAX_BYTES = 8 << 20
_HEAD_BYTES = 2048
_HEAD_FIELDS = 64
_MAX_ROWS = 200_000
_MAX_KEYS = 4096
_MAX_TEXT = 16_384

DOMAINS = "domains"
"""The part of `source` that carries the VMs' configuration; the others carry statistics."""


def _body_type(kind: str, part: str) -> type:
    if kind == SOURCE:
        return Domains if part == DOMAINS else Statistics
    return {INVENTORY: Inventory, SAMPLE: Sample, SNAPSHOT: Snapshot, PROFILE: Profiles, STATUS: Status}[kind]


def _tables(body_type: type, body: Any) -> Iterable[Any]:
    """The tables in a body that may be one of that type."""
    if body.__class__ is not dict:
        raise FrameError("no body")
    if body_type is Statistics:
        return (body.get("table"),)
    if body_type in (Sample, Snapshot, Profiles):
        tables = body.get("tables")
        if tables.__class__ is not dict:
            raise FrameError("no tables")
        return typing.cast(Iterable[Any], tables.values())
    return ()


def prepare() -> None:
    """Builds every codec; done once before a fork, the workers share them."""
    for kind in (Stamp, Domains, Statistics, Inventory, Sample, Snapshot, Profiles, Status):
        wire.prepare(kind)
    stamp = Stamp("x", 0, 0, 0, 0.0, 0.0)
    decode(encode(STATUS, "x", stamp, Status("x", "", 0, 0.0)))


def encode(kind: str, part: str, stamp: Stamp, body: Payload, ids: IdsWriter | None = None) -> list[bytes]:
    """[topic, payload] of a message. Who sends many keeps `ids`. A snapshot's rates travel in single precision: the
    instants between which they were counted are known to fewer digits; counters are exact."""
    ids = ids or IdsWriter()
    shown = to_wire(body, ids, single=body.__class__ is Snapshot)
    fields: dict[str, Any] = {"v": VERSION, **to_wire(stamp, ids), "body": shown}
    return [topic(kind, stamp.node, part), msgpack.packb(fields)]


def decode(frames: list[bytes], ids: IdsReader | None = None) -> Message:
    """The message in a frame; FrameError for whatever is not one. No other exception leaves. Who reads many keeps
    `ids`."""
    if len(frames) != 2:
        raise FrameError("not two parts")
    payload = frames[1]
    if len(payload) > MAX_BYTES:
        raise FrameError("too large")
    try:
        kind, node, part = parse_topic(frames[0])
        raw = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            timestamp=0,
            max_str_len=_MAX_TEXT,
            max_bin_len=MAX_BYTES,
            max_ext_len=0,
            max_array_len=_MAX_ROWS,
            max_map_len=_MAX_KEYS,
        )
        version = raw.get("v") if raw.__class__ is dict else None
        if version not in (VERSION, BEFORE):
            raise FrameError("an unknown version")
        stamp: Stamp = from_wire(Stamp, raw)
        if stamp.node != node:
            raise FrameError("topic and payload name different nodes")
        body, body_type = raw.get("body"), _body_type(kind, part)
        read_ids(_tables(body_type, body), listed if version == BEFORE else (ids or IdsReader()).read)
        return Message(kind, part, stamp, from_wire(body_type, body))
    except FrameError:
        raise
    except (TopicError, IdsError) as error:
        raise FrameError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - msgpack's errors are many, and none may pass the edge of the wire
        raise FrameError(f"undecodable: {type(error).__name__}") from None


def head(frames: list[bytes]) -> tuple[str, str, Stamp]:
    """(kind, part, stamp) of a frame that is only handed on: its body is neither read nor believed. FrameError for what
    is no frame of ours up to there."""
    if len(frames) != 2 or len(frames[1]) > MAX_BYTES:
        raise FrameError("not two parts, or too large")
    try:
        kind, node, part = parse_topic(frames[0])
        reader = msgpack.Unpacker(
            raw=False,
            timestamp=0,
            max_str_len=_MAX_TEXT,
            max_bin_len=64,
            max_ext_len=0,
            max_array_len=64,
            max_map_len=64,
        )
        reader.feed(frames[1][:_HEAD_BYTES])
        fields: dict[str, Any] = {}
        for _ in range(min(reader.read_map_header(), _HEAD_FIELDS)):
            name = reader.unpack()
            if name == "body":
                break
            fields[name] = reader.unpack()
        if fields.get("v") not in (VERSION, BEFORE):
            raise FrameError("an unknown version")
        stamp: Stamp = from_wire(Stamp, fields)
    except FrameError:
        raise
    except TopicError as error:
        raise FrameError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - as in decode
        raise FrameError(f"undecodable: {type(error).__name__}") from None
    if stamp.node != node:
        raise FrameError("topic and payload name different nodes")
    return kind, part, stamp


@dataclass(slots=True)
class Tracker:
    """Tells new frames from replays, and counts what was lost, per publisher and topic.

    Same epoch and a sequence not above the last: a replay. A gap: loss. Another epoch: a restart, never loss; unless
    both it and its monotonic time lie before the last ones, which is an old publisher's replay (a wall clock that was
    set back gives a restarted publisher an earlier epoch, but not an earlier monotonic time). An old publisher says
    nothing new: one that goes on is that of a host that was booted with its clock set back.
    """

    replays: int = 0
    lost: int = 0
    _last: dict[tuple[str, str, str], Stamp] = field(default_factory=dict)
    _doubted: dict[tuple[str, str, str], Stamp] = field(default_factory=dict)

    def accept(self, message: Message) -> bool:
        """Whether the message is new."""
        return self.fresh(message.kind, message.part, message.stamp)

    def fresh(self, kind: str, part: str, stamp: Stamp) -> bool:
        """The same of a frame whose body was not read."""
        key = (kind, stamp.node, part)
        last = self._last.get(key)
        if last is not None:
            same = stamp.epoch == last.epoch
            if stamp.seq <= last.seq if same else (stamp.epoch < last.epoch and stamp.mono <= last.mono):
                if same or not self._goes_on(key, stamp):
                    self.replays += 1
                    return False
            elif same:
                self.lost += stamp.seq - last.seq - 1
        self._last[key] = stamp
        return True

    def _goes_on(self, key: tuple[str, str, str], stamp: Stamp) -> bool:
        """Whether a publisher that was taken for an old one has said more since."""
        before = self._doubted.pop(key, None)
        if before is not None and before.epoch == stamp.epoch and stamp.seq > before.seq and stamp.mono > before.mono:
            return True
        self._doubted[key] = stamp
        return False

    def knows(self, kind: str, part: str, node: str) -> bool:
        """Whether anything came on that topic before."""
        return (kind, node, part) in self._last

    def __len__(self) -> int:
        """The topics that are known."""
        return len(self._last)
