"""One module per family: `sample(inventory, source, files) → Sample`, counters and gauges at one instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from proxtop.kernel.files import Files
from proxtop.model import Inventory, Sample, Statistics

Collector = Callable[[Inventory, Mapping[str, Statistics], Files], Sample]


def load(family: str) -> Collector:
    """The collector of that family; the others stay out of a process that does not need them."""
    sample: Collector = import_module(f"proxtop.collectors.{family}").sample
    return sample


__all__ = ["Collector", "load"]
