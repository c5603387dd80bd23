"""Every metric and every family of proxtop, once. Everything else asks here for names, units and labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache

from proxtop.catalog import cpu, disk, host, io, mem, net, psi
from proxtop.catalog.schema import SCOPES, Column, Family, Metric, Scope

FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in (cpu, mem, disk, net, io, psi, host)}
"""The families by name, in the order in which their metrics are shown."""

DEFAULT_FAMILIES: tuple[str, ...] = tuple(name for name, family in FAMILIES.items() if family.default)


@cache
def _index() -> dict[tuple[str, str], Metric]:
    return {(metric.scope, metric.name): metric for family in FAMILIES.values() for metric in family.metrics}


def metric(scope: Scope, name: str) -> Metric | None:
    """The metric of that name for rows of that table, or None where the catalog has none."""
    return _index().get((scope, name))


def metrics(scope: Scope, families: Collection[str], *, verbose: bool) -> Iterator[Metric]:
    """The metrics shown for rows of that table, in their lasting order."""
    for name, family in FAMILIES.items():
        if name in families:
            for entry in family.metrics:
                if entry.scope == scope and (verbose or not entry.verbose):
                    yield entry


__all__ = ["DEFAULT_FAMILIES", "FAMILIES", "SCOPES", "Column", "Family", "Metric", "Scope", "metric", "metrics"]
