"""What processes cost: CPU, wake-ups and memory, as the kernel counts them."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

PROC = pathlib.Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU so far, and voluntary context switches: times that it went to sleep, and was woken."""

    cpu: float
    switches: int

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.cpu - other.cpu, self.switches - other.switches)


def usage(pid: int) -> Usage:
    """Of all its threads; of the CPU, of ended ones too."""
    switches = 0
    for status in (PROC / str(pid) / "task").glob("*/status"):
        with contextlib.suppress(OSError):
            (line,) = (line for line in status.read_text().splitlines() if line.startswith("voluntary"))
            switches += int(line.split()[1])
    return Usage(time.clock_gettime(~pid << 3 | 2), switches)


def usages(pids: Iterable[int]) -> dict[int, Usage]:
    """By PID; those that are gone are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = usage(pid)
    return found


def name(pid: int) -> str:
    """The name that it gave itself."""
    return (PROC / str(pid) / "comm").read_text().strip()


def pss_mb(pid: int) -> float:
    """Its share of the memory, in MB of 2^20 bytes: what several processes have in common counts in parts."""
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    (size,) = (int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return size / 1024


def children(pid: int) -> list[int]:
    """The processes that it has started and that live."""
    found: list[int] = []
    for listed in (PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children(pid)
    return found


def named(comm: str) -> list[int]:
    """All processes of that name."""
    found = []
    for path in PROC.glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == comm:
                found.append(int(path.parent.name))
    return found


def load() -> float:
    """The machine's load average of the last minute."""
    return float((PROC / "loadavg").read_text().split()[0])
