"""The host's interface behind a virtual NIC, and the network namespace that holds it."""

from __future__ import annotations

import os

from proxtop.kernel.fdinfo import parse_interface
from proxtop.kernel.files import Files, Process
from proxtop.lookup.names import clean
from proxtop.lookup.process import below, names, once
from proxtop.model import Nic, NicConfig

UNSEEN = "NICs by descriptor: not readable by this user"


def interface_names(net_dev: bytes) -> frozenset[str]:
    """The interfaces of /proc/PID/net/dev, by name alone."""
    return frozenset(os.fsdecode(line.partition(b":")[0].strip()) for line in net_dev.splitlines()[2:] if b":" in line)


class Interfaces:
    """What the namespaces hold; the host's own is read once per pass."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._host: frozenset[str] | None = None

    def forget(self) -> None:
        """A new pass: interfaces may have come and gone."""
        self._host = None

    def in_host(self) -> frozenset[str]:
        """Those of the host's namespace: that of its init, not the reader's."""
        if self._host is None:
            text = once(self._files, f"{self._files.procfs}/1/net/dev")
            if text is None and self._files.local:
                text = once(self._files, f"{self._files.procfs}/net/dev")
            self._host = interface_names(text or b"")
        return self._host

    def of(self, process: Process) -> frozenset[str]:
        """Those of a process' namespace."""
        return interface_names(below(process, "net/dev") or b"")

    def taps(self, process: Process) -> tuple[str, ...] | None:
        """The taps that a process holds open, in the order of their descriptors; None where they are hidden."""
        numbers = names(process, "fdinfo")
        if numbers is None:
            return None
        found = []
        for number in sorted(filter(str.isdecimal, numbers), key=int):
            name = parse_interface(below(process, f"fdinfo/{number}") or b"")
            if name is not None and name not in found:  # one descriptor per queue
                found.append(name)
        return tuple(found)

    def locate(
        self, configs: tuple[NicConfig, ...] | None, process: Process | None, *, by_descriptor: bool
    ) -> tuple[tuple[Nic, ...] | None, str | None]:
        """(NICs, what is missing of them). Those without a name are looked for among the open taps where the connector
        can't know them (`by_descriptor`: a bare QEMU); elsewhere they have no host interface, and no row."""
        known = [config for config in configs or () if config.name is not None]
        nameless = [config for config in configs or () if config.name is None]
        reason = None
        if configs is None or (nameless and by_descriptor):
            taps = None if process is None else self.taps(process)
            if taps is None:
                return None, UNSEEN if process is not None else None
            taken = {config.name for config in known}
            free = [name for name in taps if name not in taken]
            # one of each: they belong together; else nothing tells which address is whose
            macs = [nameless[0].mac] if len(nameless) == len(free) == 1 else [None] * len(free)
            known += [NicConfig(name, mac) for name, mac in zip(free, macs, strict=True)]
        elif nameless:
            reason = f"NICs without a host interface: {len(nameless)}"
        nics: dict[str, Nic] = {}
        for nic in [self._placed(config, process) for config in known]:
            nics.setdefault(nic.name, nic)  # a command line may name one twice
        return tuple(nics.values()), reason

    def _placed(self, config: NicConfig, process: Process | None) -> Nic:
        name = config.name or ""
        netns = None
        if process is not None and name not in self.in_host() and name in self.of(process):
            netns = process.pid
        return Nic(clean(name), None if config.mac is None else clean(config.mac), config.swapped, netns)
