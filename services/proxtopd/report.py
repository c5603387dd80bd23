"""What there is to say of each worker: what supervision knows, joined with the worker's own heartbeat.

proxtopd publishes its part on `status/<node>/fleet`, flat: `cpu.pid`, `cpu.state`, …; so whoever may watch the bus
can make the same table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxtop.model import Stamp, Status, Value

FLEET = "fleet"
"""The part of `status` that proxtopd itself publishes."""

STARTING, RUNNING, HUNG, BACKOFF = "starting", "running", "hung", "backoff"

_COLUMNS = (
    "WORKER", "PID", "USER", "UP SINCE", "LAST CYCLE", "COST/CYCLE", "MEMORY", "RESTARTS", "DROPS", "STATE", "REASON",
)  # fmt: skip


@dataclass(slots=True)
class Record:
    """A worker as supervision sees it. `since` is the wall second of its start, `restarts` counts replacements since
    proxtopd began, `ended` says how it ended last; times without a unit are monotonic seconds."""

    name: str
    user: str
    pid: int | None = None
    state: str = STARTING
    since: float | None = None
    restarts: int = 0
    reason: str | None = None
    ended: str | None = None
    began: float = 0.0
    beaten: float | None = None
    failures: int = 0
    due: float | None = None
    wanted: bool = True
    handle: int = -1

    def info(self) -> dict[str, Value]:
        """Its part of the frame."""
        fields = ("user", "pid", "state", "since", "restarts", "reason", "ended")
        return {f"{self.name}.{field}": getattr(self, field) for field in fields}


def rows(info: Mapping[str, Value], beats: Mapping[str, tuple[Stamp, Status]]) -> list[dict[str, Any]]:
    """A row for each worker. `cycle` is in ms, `cost` in CPU seconds, `memory` the resident kB; what is not known is
    None."""
    found = []
    for name in str(info.get("workers", "")).split(","):
        of = {field: info.get(f"{name}.{field}") for field in ("pid", "user", "since", "restarts", "ended")}
        state, reason = info.get(f"{name}.state"), info.get(f"{name}.reason")
        beat = beats.get(name)
        status = beat[1] if beat is not None and beat[1].pid == of["pid"] else None
        if state == RUNNING and status is not None:
            state, reason = status.state, status.reason
        found.append(
            {
                "worker": name, **of,
                "cycle": beat[0].cycle or None if beat is not None else None,
                "cost": status.cost if status is not None else None,
                "memory": _resident_kb(of["pid"]),
                "drops": status.drops if status is not None else None,
                "lost": status.lost if status is not None else None,
                "state": state, "reason": reason,
            }
        )  # fmt: skip
    return found


def _resident_kb(pid: object) -> int | None:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmRSS:")), None)
    except OSError:
        return None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(_COLUMNS))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    def shown(value: object, form: str = "{}") -> str:
        return "-" if value is None else form.format(value)

    since, cycle, cost, memory = row["since"], row["cycle"], row["cost"], row["memory"]
    return (
        row["worker"], shown(row["pid"]), shown(row["user"]), "-" if since is None else _clock(since),
        "-" if cycle is None else _clock(cycle / 1000), shown(None if cost is None else cost * 1000, "{:.1f} ms"),
        shown(None if memory is None else memory / 1024, "{:.1f} MB"), shown(row["restarts"]), shown(row["drops"]),
        shown(row["state"]), row["reason"] or "",
    )  # fmt: skip


def _clock(wall: float) -> str:
    """A time of today, else the date too."""
    then = time.localtime(wall)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)
