"""`proxtop-agg status`: how each host is heard, from the heartbeats on the aggregator's own bus."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import zmq
from zmq.backend import zmq_poll

from proxtop.bus import endpoints, topics
from proxtop.bus.sockets import Context, Subscriber
from proxtop.bus.topics import CLUSTER, HOST
from proxtop.model import Status, Value

_FIELDS = (
    "connected",
    "cycle",
    "age",
    "lag",
    "offset",
    "rtt",
    "foreign",
    "undecodable",
    "replays",
    "version",
    "address",
)
_PATIENCE_S = 6.0


def read(directory: str, name: str, patience: float = _PATIENCE_S) -> dict[str, Status]:
    """The heartbeats by part: the hub's, the door's and one for each host. Empty where nobody answers in time."""
    context = Context()
    prefix = topics.topic(topics.STATUS, name)
    subscriber = Subscriber(context, endpoints.subscribe(directory), [prefix])
    found: dict[str, Status] = {}
    deadline = time.monotonic() + patience
    try:
        while (left := deadline - time.monotonic()) > 0 and not _whole(found):
            zmq_poll([(subscriber.socket, zmq.POLLIN)], int(left * 1000) + 1)
            for message in subscriber.drain():
                if isinstance(message.body, Status):
                    found[message.part] = message.body
        return found
    finally:
        subscriber.close()
        context.term()


def _whole(found: Mapping[str, Status]) -> bool:
    cluster = found.get(CLUSTER)
    return cluster is not None and sum(part.startswith(HOST) for part in found) >= int(cluster.info["hosts"] or 0)


def as_json(found: Mapping[str, Status]) -> str:
    """All of it, as one object."""
    hosts = {
        part.removeprefix(HOST): {
            "state": status.state, "reason": status.reason, "lost": status.lost, "interval": status.interval,
            **{field: status.info.get(field) for field in _FIELDS},
        }
        for part, status in sorted(found.items())
        if part.startswith(HOST) and status.state != "removed"
    }  # fmt: skip
    door = found.get("door")
    return json.dumps({
        "version": found[CLUSTER].info.get("version"),
        "hosts": hosts,
        "door": None if door is None else {"state": door.state, "reason": door.reason, **door.info},
    })  # fmt: skip


_HEADS = ("HOST", "STATE", "CONNECTED", "CYCLE", "AGE", "LAG", "OFFSET", "LOST", "DROPPED", "VERSION", "WHY")


def as_table(found: Mapping[str, Status]) -> str:
    """A line for each host; times in s, the offset is that of its clock to ours."""
    rows = [_HEADS]
    for part, status in sorted(found.items()):
        if part.startswith(HOST) and status.state != "removed":
            info = status.info
            rows.append((
                part.removeprefix(HOST), status.state, _clock(info.get("connected")), _clock(_ms(info.get("cycle"))),
                _number(info.get("age"), 1), _number(info.get("lag"), 3), _number(info.get("offset"), 3),
                str(status.lost), str(status.drops), str(info.get("version") or "-"), status.reason or "",
            ))  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    if (door := found.get("door")) is not None:
        info = door.info
        counts = (
            f"let in {info.get('admitted')}, refused {info.get('refused')}" if info.get("trusted") is not None else ""
        )
        lines.append(f"door {info.get('address')}: {door.reason or door.state}{f'; {counts}' if counts else ''}")
    return "\n".join(lines)


def _ms(value: Value) -> Value:
    return value / 1000 if isinstance(value, int) and value else None


def _clock(value: Value) -> str:
    """A wall-clock time of today, or a date."""
    if not isinstance(value, int | float):
        return "-"
    today = time.strftime("%F", time.localtime())
    return time.strftime("%T" if time.strftime("%F", time.localtime(value)) == today else "%F", time.localtime(value))


def _number(value: Value, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"
