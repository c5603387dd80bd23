"""`python -m proxtop.catalog` writes docs/metrics.md to stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from proxtop.catalog import FAMILIES, SCOPES, Family, Metric, Scope

_TITLES: dict[Scope, str] = {
    "host": "Host",
    "vm": "VM",
    "vcpu": "vCPU",
    "thread": "Other threads of a VM, by role",
    "disk": "Disk of a VM",
    "nic": "NIC of a VM",
    "device": "Block device of the host",
    "interface": "Network interface of the host",
}

_INTRO = """\
# Metrics

Generated from the catalog by `python -m proxtop.catalog > docs/metrics.md`; don't edit.

These are the names of JSON, text and CSV, and on the bus. A name marked *verbose* is shown with `--verbose` only, and so
are all tables but host and VM (in JSON as arrays). *Label* is the head of the column on screen. A value that is unknown
is null in JSON, empty in CSV and `-` in text, never 0. KB is 1,024 bytes, MB 1,048,576. A rate is the mean over the
cycle, a gauge the value at its end.

In Prometheus' exposition a name is `proxtop_SCOPE_NAME_UNIT` in base units: `cpu_total` of a VM is
`proxtop_vm_cpu_total_ratio`, `ram_used` is `proxtop_vm_ram_used_bytes`.
"""


def markdown() -> str:
    """The text of docs/metrics.md."""
    return _INTRO + "".join(part for family in FAMILIES.values() for part in _family(family))


def _family(family: Family) -> Iterator[str]:
    default = "on by default" if family.default else "off by default"
    yield f"\n## {family.name}: {family.help}\n\nOption `{family.option}`, {default}."
    if family.needs:
        yield f" Needs {' and '.join(f'CAP_{need}' for need in family.needs)}."
    yield "\n"
    for scope in SCOPES:
        metrics = [metric for metric in family.metrics if metric.scope == scope]
        if metrics:
            yield f"\n### {_TITLES[scope]}\n\n| Name | Label | Unit | Kind | Source | Meaning |\n|---|---|---|---|---|---|\n"
            yield from map(_row, metrics)


def _row(metric: Metric) -> str:
    kind = f"{metric.kind}, verbose" if metric.verbose else metric.kind
    cells = (f"`{metric.name}`", metric.label, metric.unit, kind, metric.source, metric.help)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
