"""Frequencies of the host's cores, from /sys/devices/system/cpu/cpuN/cpufreq (kernel:
Documentation/admin-guide/pm/cpufreq.rst) and /proc/cpuinfo."""

from __future__ import annotations

from math import isfinite

from proxtop.kernel.errors import ParseError


def parse_khz(text: bytes) -> float | None:
    """MHz of one of cpufreq's files, in kHz there; None for what its driver does not know ("<unknown>", 0)."""
    if text.startswith(b"<"):
        return None
    try:
        return int(text) / 1000 or None
    except (ValueError, OverflowError):
        raise ParseError("cpufreq", text) from None


def parse_cpuinfo_mhz(text: bytes) -> list[float]:
    """'cpu MHz' of every core; none on machines that do not tell it there (arm64)."""
    try:
        found = [float(line.partition(b"\n")[0].partition(b":")[2]) for line in text.split(b"\ncpu MHz")[1:]]
    except ValueError:
        raise ParseError("/proc/cpuinfo", text) from None
    return [mhz for mhz in found if isfinite(mhz) and mhz > 0]
