"""What a host may say through the aggregator, and what that makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from proxtop.bus import topics
from proxtop.bus.frames import encode
from proxtop.bus.sockets import Context
from proxtop.model import Stamp, Status
from proxtop_agg.config import Peer
from proxtop_agg.upstream import Host, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A connection to the host pve1, where nobody answers."""
    context = Context()
    upstream = Upstream(
        context, Peer("pve1", "tcp://127.0.0.1:1", None, ("pve1",)), None, 0, lambda node, upstream: True
    )
    yield upstream
    upstream.close()
    context.term()


def _beat(actor: str, seq: int) -> list[bytes]:
    stamp = Stamp("pve1", 1, seq, 0, time.time(), time.monotonic())
    status = Status(actor, "removed", 1, 2.0, info={"host": "pve2"})
    return encode(topics.STATUS, "aggregator", stamp, status)


def test_a_heartbeat_that_says_to_be_another_ones_goes_no_further(upstream: Upstream) -> None:
    assert upstream._accept(_beat("aggregator", 1), 1.0) is not None
    for seq, actor in enumerate(("host:pve2", "cluster", "door"), 2):
        assert upstream._accept(_beat(actor, seq), 1.0) is None
    assert upstream.undecodable == 3


@pytest.mark.parametrize("step", [-10.0, 10.0])
def test_after_a_step_of_its_clock_what_was_known_of_it_before_counts_no_more(step: float) -> None:
    host = Host("pve1", replayed=False)
    ahead = 0.0
    for number, rtt in enumerate((0.001, 0.001, 0.002, 0.002)):
        ahead = 0.0 if number < 2 else step
        mono = 100.0 + number
        wall = time.time() + ahead
        host.heard(Stamp("pve1", 1, number + 1, round(wall * 1000), wall, mono), mono, rtt)
    assert host.offset == pytest.approx(step, abs=0.5)
    assert host.lag == pytest.approx(0.0, abs=0.5)
