"""What the catalog is made of: metrics (what is shown), columns (what is sampled) and families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Scope = Literal["host", "vm", "vcpu", "thread", "disk", "nic", "device", "interface"]
"""A row of which table: the host, a VM, a vCPU, a role of a VM's other threads, a VM's disk, a VM's NIC, a block
device of the host, a network interface of the host."""

SCOPES: tuple[Scope, ...] = ("host", "vm", "vcpu", "thread", "disk", "nic", "device", "interface")


@dataclass(frozen=True, slots=True)
class Metric:
    """One value that proxtop shows.

    `unit` is as printed in documentation ("%", "KB", "bytes/s", "ms", "" for a plain number or a name); `kind` is
    "gauge" (at an instant), "rate" (over the cycle) or "info" (a name); `label` is the column head of the TUI;
    `verbose` fields are shown on request only; `source` is where the number is read and `help` what it means.
    """

    name: str
    scope: Scope
    unit: str
    kind: Literal["gauge", "rate", "info"]
    label: str
    source: str
    help: str
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One raw value that a collector samples: a counter or a gauge, at one instant."""

    name: str
    table: Scope
    unit: str
    kind: Literal["counter", "gauge", "info"]
    help: str


@dataclass(frozen=True, slots=True)
class Family:
    """A collector's family: its option on the command line, metrics, columns and needed capabilities."""

    name: str
    option: str
    help: str
    metrics: tuple[Metric, ...]
    columns: tuple[Column, ...] = ()
    needs: tuple[str, ...] = ()
    default: bool = True


def rescoped(metrics: Iterable[Metric], scope: Scope, *, verbose: bool | None = None) -> tuple[Metric, ...]:
    """The same metrics for rows of another table."""
    return tuple(
        replace(metric, scope=scope, verbose=metric.verbose if verbose is None else verbose) for metric in metrics
    )


def counters(table: Scope, unit: str, names: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """Counter columns of one unit from (name, help) pairs."""
    return tuple(Column(name, table, unit, "counter", text) for name, text in names)


def gauges(table: Scope, unit: str, names: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """Gauge columns of one unit from (name, help) pairs."""
    return tuple(Column(name, table, unit, "gauge", text) for name, text in names)
