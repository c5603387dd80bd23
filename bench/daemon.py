"""proxtopd: the same workers, each exec'd by supervisord and supervised; what all of it takes."""

from __future__ import annotations

import pathlib
import tempfile

from bench import watch
from bench.figures import Figure
from tests.faults.supervised import Supervised

MEMORY_BAR_MB = 140.0
WARM_CYCLES = 12
CYCLES = 10


def measure(section: str, connector: str, vms: int) -> list[Figure]:
    """CPU a cycle and memory of proxtopd, supervisord and all workers, with all families at a cycle a second."""
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-") as directory:
        load = watch.load()
        fleet = Supervised(pathlib.Path(directory), interval=1.0, config=f"PROXTOP_CONNECTOR={connector}\n")
        try:
            fleet.up()
            _cycles(fleet, WARM_CYCLES, vms)
            pids = watch.tree(fleet.process.pid)
            assert fleet.supervisord() in pids
            before = watch.usages(pids)
            _cycles(fleet, CYCLES, vms)
            after = watch.usages(pids)
            memory = sum(map(watch.pss_mb, pids))
        finally:
            fleet.close()
    cpu = sum((after[pid] - before[pid]).cpu for pid in pids) / CYCLES
    return [
        Figure(section, "CPU of proxtopd and supervisord with all workers a cycle", cpu, "s", None, load),
        Figure(section, "memory (PSS) of proxtopd, supervisord, workers", memory, "MB", MEMORY_BAR_MB, load),
    ]


def _cycles(fleet: Supervised, count: int, vms: int) -> None:
    for _ in range(count):
        fleet.until("the next cycle", lambda snapshot: len(snapshot.tables["vm"].ids) == vms)
