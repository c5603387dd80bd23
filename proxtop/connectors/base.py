"""What every connector offers: the running VMs of a host, and what only their hypervisor can tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxtop.model import Columns, Domains, Statistics, Table, Value

BLOCK = (
    "rd_reqs", "rd_bytes", "rd_ns", "wr_reqs", "wr_bytes", "wr_ns", "fl_reqs", "fl_ns",
    "capacity", "allocation", "physical",
)  # fmt: skip
BALLOON = ("actual_kb", "available_kb", "unused_kb", "usable_kb", "swap_in_kb", "swap_out_kb")
VCPU = ("run_ns", "wait_ns", "cpu")
INTERFACE = tuple(
    f"{way}_{field}"
    for way, fields in (
        ("rx", ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast")),
        ("tx", ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed")),
    )
    for field in fields
)
"""The columns of each part, named as in the catalog."""


class ConnectorError(Exception):
    """A connector that can't serve: one line saying what failed, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to look. `root` holds Proxmox's var/run/qemu-server and etc/pve; `interval` is the cycle in seconds; the
    two `_given` say that the user named that source himself. `qmp` lets the bare connector speak to QMP sockets."""

    uri: str = "qemu:///system"
    procfs: str = "/proc"
    sysfs: str = "/sys"
    root: str = "/"
    interval: float = 2.0
    procfs_given: bool = False
    uri_given: bool = False
    qmp: bool = False


class Connector(Protocol):
    """Asked by one thread. Every call is bounded in time, whatever hangs."""

    name: str

    def open(self) -> None:
        """Makes ready; ConnectorError where nothing can be served."""

    def discover(self) -> Domains:
        """All running VMs: the very same object as before where nothing changed."""

    def statistics(self, *, prime: bool = False) -> Iterable[Statistics]:
        """Every part that this connector reads, whole, each as it comes: to be gone through. What was due now is new,
        other rows are those read before, each with its own time `at`. A row that is older than two refreshes is left
        out. `prime`: all parts at once."""

    def wait(self, timeout: float, wake: int) -> bool:
        """Blocks until VMs came, went or changed (True), or descriptor `wake` is readable or the time over (False)."""

    def close(self) -> None:
        """Gives everything back."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of statistics and the monotonic time at which it was read."""

    at: float
    values: Sequence[Value]


class Part:
    """The rows of one part as they were read last, by VM."""

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        self.name = name
        self._columns = columns
        self._rows: dict[str, Mapping[str, Row]] = {}

    def __contains__(self, uuid: object) -> bool:
        return uuid in self._rows

    def put(self, uuid: str, rows: Mapping[str, Row]) -> None:
        """What was read of a VM, by row id: its rows of before are no more."""
        self._rows[uuid] = rows

    def keep(self, uuids: Iterable[str]) -> None:
        """Forgets all VMs but these."""
        kept = set(uuids)
        for uuid in self._rows.keys() - kept:
            del self._rows[uuid]

    def forget(self, uuid: str) -> None:
        """Forgets a VM: it is another process now."""
        self._rows.pop(uuid, None)

    def statistics(self, now: float, refresh: float, *, prime: bool = False, reason: str | None = None) -> Statistics:
        """All rows that are not older than two refreshes."""
        oldest = now - 2 * refresh
        fresh = [(name, row) for rows in self._rows.values() for name, row in rows.items() if row.at >= oldest]
        turned = zip(*(row.values for _, row in fresh), strict=True) if fresh else ((),) * len(self._columns)
        columns: Columns = {name: list(column) for name, column in zip(self._columns, turned, strict=True)}
        table = Table([name for name, _ in fresh], columns, [row.at for _, row in fresh])
        return Statistics(self.name, table, refresh, reason, prime)


def joined(reasons: Iterable[str | None]) -> str | None:
    """Several reasons in one line, each once."""
    said = dict.fromkeys(reason for reason in reasons if reason)
    return "; ".join(said) or None
