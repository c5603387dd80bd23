"""From samples to what is shown: every rate and every definition, one module per family, pure."""

from __future__ import annotations

from proxtop.derive.base import Derivation, Reading, Tables
from proxtop.derive.cpu import CpuDerivation
from proxtop.derive.disk import DiskDerivation
from proxtop.derive.io import IoDerivation
from proxtop.derive.mem import MemDerivation
from proxtop.derive.net import NetDerivation
from proxtop.derive.psi import PsiDerivation


class HostDerivation:
    """Who the host is: names pass as they are."""

    def derive(self, before: Reading | None, after: Reading) -> Tables:
        """The table host."""
        host = after.table("host")
        return {} if host is None else {"host": host}


def create(family: str) -> Derivation:
    """The derivation of a family; it may remember rows between cycles."""
    kinds: dict[str, type[Derivation]] = {
        "cpu": CpuDerivation,
        "mem": MemDerivation,
        "disk": DiskDerivation,
        "net": NetDerivation,
        "io": IoDerivation,
        "psi": PsiDerivation,
        "host": HostDerivation,
    }
    return kinds[family]()


__all__ = ["Derivation", "Reading", "Tables", "create"]
