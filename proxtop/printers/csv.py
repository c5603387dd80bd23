"""CSV (RFC 4180): a header, then one row per VM and cycle, the host's figures on each of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping

from proxtop.catalog import Metric
from proxtop.model import Sample, Stamp, Value
from proxtop.printers.base import Printer, rounded
from proxtop.view import Rows, Selection

KEYS = ("time", "node", "cycle", "UUID", "name")


class CsvPrinter(Printer):
    """Unknown is empty. The host's fields are named host_…, since the VMs have fields of the same names. A cycle
    without VMs is one row whose VM fields are empty, so that the host is never lost."""

    def header(self) -> bytes:
        host = (host_field(metric) for metric in self.view.metrics("host"))
        vm = (metric.name for metric in self.view.metrics("vm"))
        return b"".join(_rows([(*KEYS, *vm, *host)]))

    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        ids: list[Value] = list(selection.vm.ids)
        names: list[Value] = list(selection.names)
        columns = _columns(selection.vm)
        if not ids:
            ids, names, columns = [None], [None], [[None]] * len(columns)
        host = tuple(column[0] for column in _columns(selection.host))
        first = (round(stamp.time, 3), stamp.node, stamp.cycle)
        return _rows((*first, *row, *host) for row in zip(ids, names, *columns, strict=True))


def host_field(metric: Metric) -> str:
    """The column of a host metric."""
    return metric.name if metric.name.startswith("host_") else f"host_{metric.name}"


def _columns(rows: Rows) -> list[list[Value]]:
    return [
        [None if type(value) is float and not math.isfinite(value) else value for value in rounded(metric, column)]
        for metric, column in zip(rows.metrics, rows.columns, strict=True)
    ]


class _Lines(list[bytes]):
    def write(self, line: str) -> None:
        self.append(line.encode("utf-8", "replace"))


def _rows(rows: Iterable[Iterable[Value]]) -> list[bytes]:
    lines = _Lines()
    csv.writer(lines).writerows(rows)
    return lines
