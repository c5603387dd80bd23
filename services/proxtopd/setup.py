"""What every worker of a fleet is told: where the bus is, what to watch, how often."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Setup:
    """The configuration of a fleet. `interval` in seconds; `connector` None means: find out. What the user named is
    told from what is the default: the node, another host's procfs, a libvirt. `options` are the keys of proxtopd's
    configuration that this worker sees; `trusted` has the broker let root's processes publish without a privilege."""

    directory: str
    node: str
    interval: float
    families: tuple[str, ...]
    node_given: bool = False
    connector: str | None = None
    uri: str = "qemu:///system"
    uri_given: bool = False
    procfs: str = "/proc"
    procfs_given: bool = False
    sysfs: str = "/sys"
    root: str = "/"
    verbose: bool = False
    trusted: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def dump(self) -> str:
        """The same as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def load(text: str) -> Setup:
        """The setup that `dump` wrote."""
        fields = json.loads(text)
        return Setup(**{**fields, "families": tuple(fields["families"])})
