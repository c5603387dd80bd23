"""Frequencies of the host's cores. Each core's is a file of its own, and on some machines asks that very core: so a
pass reads a few, by turns, and tells the mean of what was read last."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from proxtop.kernel.cpufreq import parse_cpuinfo_mhz, parse_khz
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import File, Files

_CORES_PER_PASS = 16
_CPUINFO_EVERY_S = 5.0

MHz = float | None


class Frequencies:
    """What was read of each core."""

    __slots__ = ("_cores", "_cpuinfo", "_cpuinfo_at", "_current", "_files", "_limits", "_next")

    def __init__(self) -> None:
        self._cores = -1
        self._files: list[File] = []
        self._current: list[MHz] = []
        self._limits: tuple[MHz, MHz] = (None, None)
        self._next = 0
        self._cpuinfo: MHz = None
        self._cpuinfo_at: float | None = None

    def read(self, files: Files, cores: int) -> tuple[MHz, MHz, MHz]:
        """Mean (current, lowest, highest) MHz of the cores; None for what neither cpufreq nor cpuinfo tells."""
        if cores != self._cores:
            self._find(files)
            self._cores = cores
        count = len(self._files)
        for _ in range(min(count, _CORES_PER_PASS)):
            self._current[self._next] = _mhz(self._files[self._next].read)
            self._next = (self._next + 1) % count
        current = _mean(self._current)
        return self._by_cpuinfo(files) if current is None else current, *self._limits

    def _find(self, files: Files) -> None:
        """Looks for the cores anew: their number changed."""
        for file in self._files:
            files.forget(file.path)
        self._files, self._current, self._next = [], [], 0
        lowest: list[MHz] = []
        highest: list[MHz] = []
        if files.sysfs is not None:
            for path in _cpufreq(f"{files.sysfs}/devices/system/cpu"):
                file = files.file(f"{path}/scaling_cur_freq")
                if (mhz := _mhz(file.read)) is None:
                    files.forget(file.path)
                    continue
                self._files.append(file)
                self._current.append(mhz)
                lowest.append(_mhz(partial(files.once, f"{path}/cpuinfo_min_freq")))
                highest.append(_mhz(partial(files.once, f"{path}/cpuinfo_max_freq")))
        self._limits = (_mean(lowest), _mean(highest))

    def _by_cpuinfo(self, files: Files) -> MHz:
        now = files.clock()
        if self._cpuinfo_at is None or now - self._cpuinfo_at >= _CPUINFO_EVERY_S:
            self._cpuinfo_at = now
            try:
                text = files.once(f"{files.procfs}/cpuinfo")
                self._cpuinfo = None if text is None else _mean(parse_cpuinfo_mhz(text))
            except KernelError:
                self._cpuinfo = None
        return self._cpuinfo


def _cpufreq(root: str) -> list[str]:
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("cpu") and entry.name[3:].isdigit()]
    except OSError:
        return []
    return [f"{root}/{name}/cpufreq" for name in sorted(names, key=lambda name: int(name[3:]))]


def _mhz(read: Callable[[], bytes | None]) -> MHz:
    """None too for a core that went offline, or whose driver has no answer."""
    try:
        text = read()
        return None if text is None else parse_khz(text)
    except KernelError:
        return None


def _mean(values: Sequence[MHz]) -> MHz:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
