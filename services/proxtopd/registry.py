"""The workers of a supervised fleet, one row each.

To add one: write a module with `serve(name, setup) -> int` (it runs until SIGTERM and beats, as everything on
`Actor` does), and add its row to KINDS. `when` names the key of the configuration that turns it on; `keys` are those
that it sees in `setup.options`, and whose change has a reload replace it; a new key is a row of configuration.KEYS.
What it may do that others may not stands in `capabilities`, and in the table of docs/security.md, which a test holds
against the running processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proxtop.catalog import FAMILIES
from proxtopd.configuration import DOOR, DOOR_KEYS, PRINTER, PROFILER, Configuration

IO_CAPABILITIES = ("sys_ptrace", "dac_read_search")
"""What /proc/PID/io of another user's process asks for; either alone is not enough."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of worker. `module` is imported in the worker's own process only; `families` says that it is told which
    are collected; `rooted` that it runs as root (without capabilities) where the connector is Proxmox VE's."""

    name: str
    module: str
    when: str = ""
    keys: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    families: bool = False
    rooted: bool = False


KINDS = (
    Kind("broker", "proxtopd.broker"),
    Kind("connector", "proxtopd.connector", rooted=True),
    Kind("lookup", "proxtopd.lookup"),
    Kind("aggregator", "proxtopd.aggregator", families=True),
    *(Kind(name, "proxtopd.collector", capabilities=IO_CAPABILITIES if name == "io" else ()) for name in FAMILIES),
    Kind("profiler", "proxtopd.profiler", when=PROFILER, keys=(PROFILER,)),
    Kind("printer", "proxtopd.printer", when=PRINTER),
    Kind("door", "proxtopd.door", when=DOOR, keys=(DOOR, *DOOR_KEYS)),
)


@dataclass(frozen=True, slots=True)
class Post:
    """A worker that this fleet shall have: its name, its kind, and what it sees of the configuration."""

    name: str
    kind: Kind
    options: dict[str, str]


def posts(configuration: Configuration) -> Iterator[Post]:
    """The workers that the configuration asks for, the broker first."""
    for kind in KINDS:
        if kind.when == PRINTER:
            for name, value in configuration.printers.items():
                yield Post(name, kind, {PRINTER: value})
        elif kind.when and not configuration[kind.when]:
            continue
        elif kind.name not in FAMILIES or kind.name in configuration.families:
            yield Post(kind.name, kind, {key: configuration[key] for key in kind.keys})
