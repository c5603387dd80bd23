"""Topics: `<kind>/<node>/[<part>]`; the slash after the node keeps `snapshot/web/` from catching `web-01`."""

from __future__ import annotations

SOURCE = "source"
INVENTORY = "inventory"
SAMPLE = "sample"
SNAPSHOT = "snapshot"
PROFILE = "profile"
STATUS = "status"

CLUSTER = "cluster"
"""The part of an aggregator's own heartbeat; its info says how many hosts there are."""

HOST = "host:"
"""What the parts of the heartbeats begin with that an aggregator gives for each host; the node's name follows."""

KINDS = frozenset({SOURCE, INVENTORY, SAMPLE, SNAPSHOT, PROFILE, STATUS})

MAX_TOPIC_BYTES = 512


class TopicError(ValueError):
    """Bytes that are no topic."""


def topic(kind: str, node: str, part: str = "") -> bytes:
    """The topic of a frame, also the prefix that subscribes to it."""
    return f"{kind}/{node}/{part}".encode()


def parse_topic(raw: bytes) -> tuple[str, str, str]:
    """(kind, node, part) of a topic; TopicError for anything else."""
    if len(raw) > MAX_TOPIC_BYTES:
        raise TopicError("topic too long")
    try:
        kind, node, part = raw.decode().split("/")
    except ValueError:
        raise TopicError("not <kind>/<node>/<part>") from None
    if kind not in KINDS or not node:
        raise TopicError("unknown kind or no node")
    return kind, node, part
