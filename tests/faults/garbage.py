"""Frames that are none, or that lie: what a local writer could send."""

from __future__ import annotations

import os
import time
from typing import Any

import msgpack

from proxtop.bus import frames, topics


def _rogue(kind: str, node: str, part: str, payload: Any) -> list[bytes]:
    return [topics.topic(kind, node, part), payload if isinstance(payload, bytes) else msgpack.packb(payload)]


def _nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x90"


def _fields(node: str, **more: Any) -> dict[str, Any]:
    now = {"v": frames.VERSION, "node": node, "epoch": time.time_ns(), "seq": 1, "cycle": 0, "time": time.time()}
    return now | {"mono": time.monotonic(), "body": {}} | more


def _table(node: str, ids: object, columns: object) -> dict[str, Any]:
    table = {"ids": msgpack.packb(ids), "columns": columns}
    return _fields(node, body={"family": "cpu", "tables": {"vm": table}, "refresh": 0.0})


def garbage(node: str) -> list[list[bytes]]:
    """One of each kind, all in the name of that node."""
    kinds = [("inventory", ""), ("source", "domains"), ("source", "block"), ("sample", "cpu"), ("snapshot", "")]
    made: list[list[bytes]] = []
    for kind, part in [*kinds, ("status", "aggregator")]:
        for payload in (
            b"", b"\xc1", b"\xff" * 1000, _nested(900), _nested(100_000), b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff", os.urandom(5000), [], 7, "x", {}, {"v": 99}, _fields(node),
            _fields(node, body=None), _fields(node, body=[[]] * 1000), _fields("another"), _fields(node, seq="1"),
            _fields(node, time=float("nan")), _fields(node, mono=float("inf")), _table(node, [[None, "a", "a"]], {}),
            _table(node, [[None, "a"]], {"x": []}), _table(node, [[None, "a"]], {"x": b"a"}),
            _table(node, ["a"], {}), _table(node, 7, {}), _table(node, [["x" * 16_000, *map(str, range(20_000))]], {}),
            _table(node, [[None, *map(str, range(100_000))]], {str(column): 0 for column in range(50)}),
            _fields(node, body={"connector": 1, "vms": [{"uuid": []}]}),
        ):  # fmt: skip
            made.append(_rogue(kind, node, part, payload))
    made += [[b"no topic", b"x"], [b"", b""], [b"x"], [b"a", b"b", b"c"], [b"t" * 100_000, b"x"], [b"\xff/\xff/", b"x"]]
    made += [[f"sample/{node}/cpu".encode(), b"\0" * (frames.MAX_BYTES + 1)], [b"snapshot//", b"\x80"]]
    made += [_rogue("sample", "another", "cpu", _fields("another"))]
    return made
