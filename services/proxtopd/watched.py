"""The status of a fleet as whoever may watch its bus sees it: from proxtopd's frame and the workers' heartbeats."""

from __future__ import annotations

import time
from typing import Any

import zmq
from zmq.backend import zmq_poll

from proxtop import attach
from proxtop.bus import endpoints, topics
from proxtop.bus.sockets import Context, Subscriber
from proxtop.control import ControlError
from proxtop.model import Stamp, Status
from proxtopd.report import FLEET, rows

_BEATS_S = 0.2
"""How long heartbeats are waited for once proxtopd's own frame is there: the broker replays them at once."""


def status(directory: str, node: str, patience: float) -> dict[str, Any]:
    """All there is to say; ControlError where nothing can be heard."""
    endpoint = endpoints.subscribe(directory)
    if (why := attach.reachable(endpoint)) is not None:
        raise ControlError(f"{directory}: {why}")
    context = Context()
    subscriber = Subscriber(context, endpoint, [topics.topic(topics.STATUS, node)])
    beats: dict[str, tuple[Stamp, Status]] = {}
    deadline = time.monotonic() + patience
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not zmq_poll([(subscriber.socket, zmq.POLLIN)], int(left * 1000) + 1):
                continue
            for message in subscriber.drain():
                if isinstance(message.body, Status):
                    if message.part == FLEET and FLEET not in beats:
                        deadline = min(deadline, time.monotonic() + _BEATS_S)
                    beats[message.part] = message.stamp, message.body
    finally:
        subscriber.close()
        context.term()
    if FLEET not in beats:
        raise ControlError(f"{directory}: nothing is heard of a proxtopd for node {node} within {patience:g} s")
    fleet = beats[FLEET][1]
    return {
        "node": node,
        "bus": directory,
        "interval": fleet.info.get("interval"),
        "pid": fleet.pid,
        "reason": fleet.reason,
        "workers": rows(fleet.info, beats),
    }
