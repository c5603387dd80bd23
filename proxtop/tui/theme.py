"""What things look like, and from which value on a number is a warning. Pure.

Only the terminal's own 16 colours, as backgrounds with a fixed text on them, or bold, dim and reverse: readable on
light and on dark backgrounds. Without colours, warnings are bold and alarms bold and reverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from proxtop.model import Value

Thresholds = Mapping[str, tuple[float, float]]

THRESHOLDS: dict[str, tuple[float, float]] = {
    "cpu_steal": (5.0, 10.0),
    "cpu_throttled": (1.0, 10.0),
    "vcpu_steal": (5.0, 10.0),
    "disk_lat_*": (20.0, 50.0),
    "disk_device_await": (20.0, 50.0),
    "disk_device_ioutil": (80.0, 95.0),
    "disk_ioutil": (80.0, 95.0),
    "ram_used": (90.0, 97.0),
    "ram_active": (80.0, 95.0),
    "ram_swap": (1.0, 102400.0),
    "ram_swapin": (1.0, 1024.0),
    "ram_swapout": (1.0, 1024.0),
    "ram_majflt": (10.0, 100.0),
    "psi_some_*": (5.0, 20.0),
    "psi_full_*": (5.0, 20.0),
    "profile_anomaly": (5.0, 8.0),
    "net_*Drop": (1.0, 100.0),
    "net_*Errs": (1.0, 100.0),
}
"""Metric (* matches anything) → from which value it is a warning, from which an alarm, in the metric's own unit;
ram_used in % of ram_total. The first that matches counts. Steal: 10 % is felt in the guest, consoles stall from 25 on;
latency: 20 ms is esxtop's alarm; anything swapped or dropped is worth a look."""

_MONO = {
    "": "", "status": "7", "title": "1", "head": "7", "sorted": "1;7", "name": "1", "dim": "", "warn": "1",
    "crit": "1;7", "selected": "7", "note": "1", "bad": "1;7", "key": "1", "part": "",
    "group": "1",
}  # fmt: skip
_COLOUR = {
    **_MONO, "status": "30;46", "title": "1", "head": "7", "sorted": "1;30;46", "dim": "2", "warn": "30;43",
    "crit": "1;37;41", "selected": "7", "note": "30;43", "bad": "1;37;41", "key": "1;36", "part": "2",
    "group": "1;36",
}  # fmt: skip


def styles(*, colour: bool) -> dict[str, str]:
    """The SGR parameters (ECMA-48) by name of style."""
    return _COLOUR if colour else _MONO


def colour(environ: Mapping[str, str]) -> bool:
    """Whether the terminal has colours and the user wants them (https://no-color.org)."""
    term = environ.get("TERM", "")
    return (
        not environ.get("NO_COLOR") and not term.startswith(("vt1", "vt2", "vt3", "dumb")) and not term.endswith("-m")
    )


class Levels:
    """Values → styles, by the thresholds."""

    def __init__(self, thresholds: Thresholds = THRESHOLDS) -> None:
        self._thresholds = dict(thresholds)
        self._found: dict[str, tuple[float, float] | None] = {}

    def limits(self, name: str) -> tuple[float, float] | None:
        """(warning, alarm) of that metric, None where it has none."""
        if name not in self._found:
            self._found[name] = next(
                (limits for glob, limits in self._thresholds.items() if fnmatchcase(name, glob)), None
            )
        return self._found[name]

    def style(self, name: str, value: Value, whole: Value = None) -> str:
        """The style of a value of that metric; `whole` is what 100 % of it would be, for ram_used."""
        limits = self.limits(name)
        if limits is None or not isinstance(value, int | float):
            return ""
        if name == "ram_used":
            if not isinstance(whole, int | float) or not whole:
                return ""
            value = value * 100 / whole
        return "crit" if value >= limits[1] else "warn" if value >= limits[0] else ""
