"""I/O of the VM's process: rates of the counters of /proc/PID/io."""

from __future__ import annotations

from proxtop.catalog.io import FIELDS
from proxtop.derive.base import Reading, Tables, deltas
from proxtop.model import Columns, Table
from proxtop.rates import values

_MB = 1 << 20


class IoDerivation:
    """Each VM's reads and writes as its process makes them."""

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The table vm."""
        gains = deltas("vm", before, after, FIELDS)
        if gains is None:
            return {}
        columns: Columns = {f"io_{name}": values(gains.rate(name)) for name in FIELDS}
        columns["io_MBRD/s"] = values(gains.rate("read_bytes", 1 / _MB))
        columns["io_MBWR/s"] = values(gains.rate("write_bytes", 1 / _MB))
        columns["io_RDOPS"] = columns["io_syscr"]
        columns["io_WROPS"] = columns["io_syscw"]
        return {"vm": Table(gains.table.ids, columns)}
