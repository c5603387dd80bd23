"""Pressure: the kernel's averages as they are, and the share of the cycle from its totals."""

from __future__ import annotations

from proxtop.catalog.psi import AVERAGES, TOTALS
from proxtop.derive.base import Reading, Tables, deltas
from proxtop.model import Columns, Table
from proxtop.rates import clip, number_column, values

_US_TO_PERCENT = 1e-4


class PsiDerivation:
    """The host's pressure and each VM's."""

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The tables host and vm."""
        tables: Tables = {}
        for name in ("host", "vm"):
            gains = deltas(name, before, after, TOTALS)
            if gains is None:
                continue
            columns: Columns = {metric: values(number_column(gains.table, metric)) for metric in AVERAGES}
            for counter in TOTALS:
                columns[counter.removesuffix("_us")] = values(clip(gains.rate(counter, _US_TO_PERCENT)))
            tables[name] = Table(gains.table.ids, columns)
        return tables
