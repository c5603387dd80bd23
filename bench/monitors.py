"""What asking QEMUs over QMP costs: the connector of a Proxmox VE host on its own, each session timed."""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Iterable
from typing import Any
from unittest import mock

from bench import watch
from bench.figures import Figure
from bench.fleet import p95
from proxtop.connectors import Settings, qmp
from proxtop.connectors.proxmox import ProxmoxConnector
from proxtop.connectors.qmp import Session

CPU_BAR_MS = 0.15
HELD_BAR_MS = 5.0
REFRESHES = 8
INTERVAL_S = 2.0


def measure(root: pathlib.Path, vms: int) -> list[Figure]:
    """CPU a VM and refresh, and how long a VM's socket is held: from the connection to the close."""
    connector = ProxmoxConnector(Settings(root=str(root), interval=INTERVAL_S))
    connector.open()
    run, sessions, costs, load = qmp.run, list[Session](), list[float](), watch.load()

    def recording(asked: Iterable[Session], *rest: Any, **named: Any) -> list[Session]:
        done = run(asked, *rest, **named)
        sessions.extend(done)
        return done

    try:
        assert len(connector.discover().domains) == vms
        connector.statistics(prime=True)
        with mock.patch.object(qmp, "run", recording):
            for _ in range(REFRESHES):
                time.sleep(INTERVAL_S)
                before, begun = len(sessions), time.process_time()
                connector.statistics()
                costs.append((time.process_time() - begun) * 1000 / max(1, len(sessions) - before))
    finally:
        connector.close()
    failed = [session.failure for session in sessions if session.failure is not None]
    assert not failed and len(sessions) >= (REFRESHES - 1) * vms, f"{len(sessions)} sessions; {failed[:3]}"
    held = [(session.ended - session.begun) * 1000 for session in sessions]
    section = f"QMP of proxmox, {vms} VMs"
    return [
        Figure(section, "own CPU a VM and refresh", statistics.median(costs), "ms", CPU_BAR_MS, load),
        Figure(section, "a socket held, median", statistics.median(held), "ms", None, load),
        Figure(section, "a socket held, 95 %", p95(held), "ms", HELD_BAR_MS, load),
    ]
