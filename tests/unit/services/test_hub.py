"""The hub: which connection speaks for which host."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxtop_agg.config import Config, Peer
from proxtop_agg.hub import Hub
from proxtop_agg.upstream import Host

TREE = Peer("agg1", "tcp://127.0.0.1:1", None, ("pve*",), tree=True)
DIRECT = Peer("pve1", "tcp://127.0.0.1:1", None, ("pve1",))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """One that listens to another aggregator, which speaks for pve1 and pve2."""
    (tmp_path / "workers").mkdir()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    loaded = Config("agg0", str(tmp_path), None, (TREE,), 3.0, 60.0, None, (), insecure=True)
    hub = Hub("", loaded, lambda text: None)
    tree = hub._upstreams["agg1"]
    for node in ("pve1", "pve2"):
        assert hub._claim(node, tree)
        tree.hosts[node] = Host(node)
    yield hub
    hub._signals.add(signal.SIGTERM)
    hub.run()
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_host_that_is_named_itself_is_heard_from_nowhere_else(hub: Hub) -> None:
    hub._follow(replace(hub._config, peers=(TREE, DIRECT)))
    assert sorted((host.node, upstream.peer.name) for upstream, host in hub._hosts()) == [
        ("pve1", "pve1"),
        ("pve2", "agg1"),
    ]
    assert not hub._claim("pve1", hub._upstreams["agg1"])
