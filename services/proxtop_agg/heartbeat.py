"""What the hub tells of each host, and of all of them: heartbeats, made of what the connections know."""

from __future__ import annotations

import os

from proxtop import __version__
from proxtop.bus.topics import CLUSTER, HOST
from proxtop.model import Status, Value
from proxtop_agg.config import Config
from proxtop_agg.upstream import Host, Upstream

FIRST_INTERVAL_S = 2.0
"""The interval of a host that has not told its own yet."""

State = tuple[str, str | None]
"""(running, lost or waiting, where nothing came yet; why)"""


def state(upstream: Upstream, host: Host, now: float, lost: float) -> State:
    """How a host is heard; it is lost after so many cycles without a frame."""
    if host.stamp is None:
        return "waiting", upstream.reason or "connected; no cycle yet"
    if now - host.came > lost * (host.interval or FIRST_INTERVAL_S):
        return "lost", upstream.reason or "connected, but no cycle comes"
    return "running", upstream.reason


def of_host(upstream: Upstream, host: Host, found: State, now: float) -> Status:
    """The heartbeat for a host: since when it is connected, its last cycle and its age, lag and clock (s), counts."""
    offset, lag = host.offset, host.lag
    return Status(
        actor=HOST + host.node,
        state=found[0],
        pid=os.getpid(),
        interval=host.interval or FIRST_INTERVAL_S,
        drops=upstream.foreign + upstream.undecodable,
        lost=host.tracker.lost,
        reason=found[1],
        info={
            "host": host.node,
            "address": upstream.peer.address,
            "through": upstream.peer.name if upstream.peer.tree else None,
            "connected": upstream.connected,
            "cycle": host.stamp.cycle if host.stamp else None,
            "age": round(now - host.came, 3) if host.stamp else None,
            "lag": None if lag is None else round(lag, 4),
            "offset": None if offset is None else round(offset, 4),
            "rtt": None if upstream.peer.tree else upstream.rtt(),
            "foreign": upstream.foreign,
            "undecodable": upstream.undecodable,
            "replays": host.tracker.replays,
            "floods": upstream.floods,
            "version": host.version,
        },
    )


def removed(node: str) -> Status:
    """The last heartbeat for a host that the configuration names no more."""
    return Status(HOST + node, "removed", os.getpid(), FIRST_INTERVAL_S, info={"host": node})


def of_cluster(config: Config, hosts: int, live: int, interval: float) -> Status:
    """The hub's own heartbeat."""
    info: dict[str, Value] = {
        "cluster": True, "hosts": hosts, "live": live, "gone": config.gone, "lost": config.lost, "version": __version__,
    }  # fmt: skip
    return Status(CLUSTER, "running", os.getpid(), interval, info=info)
