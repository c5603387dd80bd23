"""Values → text in cells of a lasting width: a column never changes its width with its numbers. Pure."""

from __future__ import annotations

import math

from proxtop.catalog import Metric
from proxtop.model import Value
from proxtop.tui.text import fit

UNKNOWN = "-"

_BYTES = {"bytes": 1, "KB": 1 << 10, "bytes/s": 1, "KB/s": 1 << 10, "MB/s": 1 << 20}
_BINARY = ("B", "KB", "MB", "GB", "TB", "PB", "EB")
_DECIMAL = {"MHz": ("MHz", "GHz", "THz"), "Mbit/s": ("Mbps", "Gbps", "Tbps")}
_WIDTH = {"%": 5, "ms": 7, "ms/s": 7, "1/s": 8, "MB/s": 7, "KB/s": 8, "KB": 9, "bytes": 13, "bytes/s": 10, "MHz": 7,
          "Mbit/s": 7, "": 6}  # fmt: skip
_HUMAN = {"KB": 7, "bytes": 7, "bytes/s": 9, "KB/s": 9, "MB/s": 9, "MHz": 7, "Mbit/s": 8}
_SCALE = ("", "k", "M", "G", "T", "P", "E")


def cells(metric: Metric, *, human: bool) -> int:
    """The cells that the metric's column takes: its widest usual number, and its label with the sort indicator."""
    usual = (_HUMAN if human else _WIDTH).get(metric.unit) or _WIDTH.get(metric.unit, 8)
    return max(usual, len(metric.label) + 1)


def text(metric: Metric, value: Value, *, human: bool) -> str:
    """The value as it stands on screen; unknown is '-'."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return UNKNOWN
    if human:
        if (factor := _BYTES.get(metric.unit)) is not None:
            end = "/s" if metric.unit.endswith("/s") else ""
            return _scaled(float(value) * factor, 1024, _BINARY) + end
        if (units := _DECIMAL.get(metric.unit)) is not None:
            return _scaled(float(value), 1000, units)
    if isinstance(value, int) and metric.kind != "rate":
        return str(value)
    if metric.unit == "MB/s" and value < 100:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 1e6 or metric.unit != "bytes/s" else f"{value:.0f}"


def cell(metric: Metric, value: Value, size: int, *, human: bool) -> str:
    """The same at the right end of `size` cells; a number that is too long there is shortened: 12.3M, never cut."""
    shown = text(metric, value, human=human)
    if len(shown) > size and isinstance(value, int | float):
        shown = _scaled(float(value), 1000, _SCALE)
        if len(shown) > size:
            shown = _scaled(float(value), 1000, _SCALE, digits=0)
    if not shown.isascii():
        return fit(shown, size)
    return shown.rjust(size) if len(shown) <= size else shown[: size - 1] + "~"


def _scaled(number: float, base: int, units: tuple[str, ...], digits: int = 1) -> str:
    place = 0
    while round(abs(number), digits) >= base and place < len(units) - 1:
        number /= base
        place += 1
    if place == 0 and float(number).is_integer():
        return f"{number:.0f}{units[place]}"
    return f"{number:.{digits}f}{units[place]}"
