"""The thread that asks a connector: what a start is, and for how long."""

from __future__ import annotations

import queue
import select
import time
from collections.abc import Iterable, Iterator

import pytest

from proxtop.model import EMPTY, Domain, Domains, Statistics
from proxtopd.connector import Reader
from proxtopd.setup import Setup

INTERVAL_S = 0.2


class Fake:
    """A hypervisor with one VM on which nothing ever happens."""

    name = "qemu"

    def __init__(self) -> None:
        self.domains = Domains("qemu", (Domain("uuid", "vm"),))

    def open(self) -> None:
        pass

    def discover(self) -> Domains:
        return self.domains

    def statistics(self, *, prime: bool = False) -> Iterable[Statistics]:
        return [Statistics("block", EMPTY, 1.0, prime=prime)]

    def wait(self, timeout: float, wake: int) -> bool:
        select.select([wake], [], [], timeout)
        return False

    def close(self) -> None:
        pass


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader(Fake(), Setup(directory="/nowhere", node="node", interval=INTERVAL_S, families=("cpu",)))
    reader.start()
    yield reader
    reader.stop()


def test_nothing_is_told_before_there_is_somebody_to_tell(reader: Reader) -> None:
    with pytest.raises(queue.Empty):
        reader.results.get(timeout=0.1)
    began = time.time() * 1000
    reader.go()
    cycle, domains = reader.results.get(timeout=5)
    assert isinstance(domains, Domains) and domains.prime
    assert cycle >= int(began)


def test_until_the_first_cycle_it_is_a_start_for_those_who_come_late(reader: Reader) -> None:
    reader.go()
    told: list[tuple[int, Domains]] = []
    first = None
    while first is None:
        cycle, result = reader.results.get(timeout=5)
        if isinstance(result, Domains):
            told.append((cycle, result))
        elif isinstance(result, Statistics) and result.part == "block" and not result.prime:
            first = cycle
    assert len(told) >= 2 and all(domains == told[0][1] and domains.prime for _, domains in told)
    assert {cycle for cycle, _ in told} == {told[0][0]}
    while True:
        cycle, result = reader.results.get(timeout=5)
        if isinstance(result, Domains):
            assert (cycle, result.prime) == (first, False)
            break
