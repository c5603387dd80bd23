"""Who the host is: its name, and the machine's UUID (kernel: drivers/firmware/dmi-id.c)."""

from __future__ import annotations

from collections.abc import Mapping

from proxtop.catalog.host import FAMILY
from proxtop.collectors.base import host_table, unseen
from proxtop.kernel.errors import FileError
from proxtop.kernel.files import Files
from proxtop.model import Inventory, Sample, Statistics


def sample(inventory: Inventory, source: Mapping[str, Statistics], files: Files) -> Sample:
    """The host's name and UUID; the UUID is for root only, and unknown on machines without DMI (arm64)."""
    other = unseen(inventory, files)
    name = None if other and not files.named else files.node
    host = host_table(files, {"host_name": name, "host_uuid": None if other else _uuid(files)})
    return Sample(FAMILY.name, {"host": host}, 0.0)


def _uuid(files: Files) -> str | None:
    try:
        text = files.sys("class/dmi/id/product_uuid")
    except FileError:
        return None
    return None if text is None else text.decode("ascii", "replace").strip().lower() or None


__all__ = ["FAMILY", "sample"]
