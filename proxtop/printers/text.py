"""Tab-separated text: the fields of the host and of the VMs once, then per cycle a row of the host and one per VM."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from proxtop.catalog import Metric
from proxtop.model import Sample, Stamp, Value
from proxtop.printers.base import Printer
from proxtop.view import Selection

UNKNOWN = "-"

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\\": r"\\"}
_DECIMALS = {"MB/s": 4}

_BYTES = {"bytes": 1, "KB": 1 << 10, "bytes/s": 1, "KB/s": 1 << 10, "MB/s": 1 << 20}
_BINARY = ("B", "KB", "MB", "GB", "TB", "PB", "EB")
_DECIMAL = {"MHz": ("MHz", "GHz", "THz"), "Mbit/s": ("Mbit/s", "Gbit/s", "Tbit/s")}


class TextPrinter(Printer):
    """Rates have 2 decimals (MB/s 4), whole numbers none; unknown is `-`; with --human sizes carry units."""

    def header(self) -> bytes:
        host = [metric.name for metric in self.view.metrics("host")]
        vm = ["UUID", "name", *(metric.name for metric in self.view.metrics("vm"))]
        return b"".join(_line(escaped(name) for name in names) for names in (host, vm) if names)

    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        lines = []
        host, vm = selection.host, selection.vm
        if host.metrics:
            lines.append(_line(self._cells(m, column)[0] for m, column in zip(host.metrics, host.columns, strict=True)))
        columns = [self._cells(m, column) for m, column in zip(vm.metrics, vm.columns, strict=True)]
        ids, names = map(escaped, vm.ids), map(escaped, selection.names)
        lines += [_line(row) for row in zip(ids, names, *columns, strict=True)]
        return lines

    def _cells(self, metric: Metric, column: list[Value]) -> list[str]:
        if self.view.human:
            return [_human(metric, value) for value in column]
        return [_plain(metric, value) for value in column]


def escaped(text: str) -> str:
    r"""The text without tabs, newlines and control characters: \t, \n, \r, \xNN, and \\ for a backslash."""
    if text.isprintable() and "\\" not in text:
        return text
    return _UNSAFE.sub(lambda found: _SHORT.get(found[0]) or _code(found[0]), text)


def _code(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _line(cells: Iterable[str]) -> bytes:
    return ("\t".join(cells) + "\n").encode("utf-8", "replace")


def _plain(metric: Metric, value: Value) -> str:
    if value is None:
        return UNKNOWN
    if type(value) is float or (type(value) is int and metric.kind == "rate"):
        return f"{value:.{_DECIMALS.get(metric.unit, 2)}f}" if math.isfinite(value) else UNKNOWN
    return escaped(str(value))


def _human(metric: Metric, value: Value) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return UNKNOWN if isinstance(value, float) else _plain(metric, value)
    if (factor := _BYTES.get(metric.unit)) is not None:
        return _scaled(float(value) * factor, 1024, _BINARY) + ("/s" if metric.unit.endswith("/s") else "")
    if (units := _DECIMAL.get(metric.unit)) is not None:
        return _scaled(float(value), 1000, units)
    return f"{value:.1f}" if isinstance(value, float) or metric.kind == "rate" else str(value)


def _scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    place = 0
    while abs(number) >= base and place < len(units) - 1:
        number /= base
        place += 1
    return f"{number:.1f}{units[place]}"
