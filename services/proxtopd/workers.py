"""The workers of a fleet: what each runs."""

from __future__ import annotations

import sys
from collections.abc import Callable

from proxtop.bus import frames
from proxtopd import connector
from proxtopd.memory import settle
from proxtopd.setup import Setup

Work = Callable[[], int]


def first(setup: Setup, answer: Callable[[str | None], None]) -> dict[str, Work]:
    """What to start before anything else is loaded: the connector, as the others wait for the hypervisor. It calls
    `answer` when that answers, or with the reason why not."""
    return {"connector": lambda: connector.run(setup, answer)}


def others(setup: Setup, bound: Callable[[], None]) -> dict[str, Work]:
    """The other workers, by name, and all that they need; the broker first, which calls `bound` once both its ends are
    there."""
    from proxtop.collectors import load
    from proxtopd import aggregator, broker, collector, lookup

    for name in setup.families:
        load(name)
    return {
        "broker": lambda: broker.run(setup, bound),
        "lookup": lambda: lookup.serve("lookup", setup),
        "aggregator": lambda: aggregator.serve("aggregator", setup),
        **{name: lambda name=name: collector.serve(name, setup) for name in setup.families},  # type: ignore[misc]
    }


def prepare() -> None:
    """Does once, before a fork, what every worker would do anew in pages of its own."""
    frames.prepare()
    sys.path_importer_cache.clear()  # the names of all files in site-packages
    settle()
