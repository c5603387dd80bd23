"""One module per family: `sample(inventory, source, files) → Sample`, counters and gauges at one instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxtop.collectors import cpu, disk, host, io, mem, net, psi
from proxtop.kernel.files import Files
from proxtop.model import Inventory, Sample, Statistics

Collector = Callable[[Inventory, Mapping[str, Statistics], Files], Sample]

COLLECTORS: dict[str, Collector] = {
    module.FAMILY.name: module.sample for module in (cpu, mem, disk, net, io, psi, host)
}
"""The collectors by family."""

__all__ = ["COLLECTORS", "Collector"]
