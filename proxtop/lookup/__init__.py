"""The join of what a connector knows with what /proc and /sys show: PIDs, threads, taps, disks, cgroups."""

from __future__ import annotations

from proxtop.lookup.lookup import Lookup

__all__ = ["Lookup"]
