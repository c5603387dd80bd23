"""Which bus a client reads: the one that --bus names, that of this host's fleet, or that of a private one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxtop import attach
from proxtop.attach import AttachError, PrivateFleet
from proxtop.bus import endpoints
from proxtop.options import Options

if TYPE_CHECKING:
    from proxtop.bus.sockets import Secure

_STATUS_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Bus:
    """Where to read; `interval` is the publisher's where known, `recompute` the node whose samples are to be joined
    over a longer span, `fleet` our own, `secure` our keys where it is a network's; `cluster`: it has many hosts, each
    with a monotonic clock of its own."""

    endpoint: str
    interval: float | None
    recompute: str | None
    fleet: PrivateFleet | None
    secure: Secure | None = None
    cluster: bool = False


class Finder:
    """Finds the bus for these options. `note` is told what is left out of them on the bus that was found."""

    def __init__(self, options: Options, note: Callable[[str], None]) -> None:
        self._options = options
        self._note = note
        self.unserved = ""
        """Why the host's fleet does not do; empty before it was looked for."""

    def existing(self) -> Bus | None:
        """The bus that --bus names, or that of this host's fleet where it serves what was asked."""
        options = self._options
        if options.bus is not None:
            if options.bus.startswith("ipc://") and (why := attach.reachable(options.bus)) is not None:
                raise AttachError(f"--bus {options.bus}: {why}; start one with proxtopd, or leave --bus out")
            secure = _secure(options)
            return self._shared(options.bus, secure, named=True) or Bus(options.bus, None, None, None, secure)
        local = endpoints.subscribe(endpoints.LOCAL)
        why = attach.reachable(local)
        if why is None:
            shared = self._shared(local, None, named=False)
            if shared is not None:
                return shared
            why = self.unserved
        self.unserved = why
        return None

    def _shared(self, endpoint: str, secure: Secure | None, *, named: bool) -> Bus | None:
        """The bus of a fleet that runs, None where it does not serve what was asked."""
        import zmq

        from proxtop import stream

        options = self._options
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            found = stream.fleet_status(context, endpoint, _STATUS_WAIT_S, secure, cluster=named)
        finally:
            context.destroy(linger=0)
        if found is None or found[1].interval <= 0:
            self.unserved = "the fleet of this host does not answer"
            return None
        stamp, status = found
        if status.info.get("cluster"):
            if (options.printer, options.output, options.node) == ("prometheus", "file", None):
                raise AttachError(
                    f"--bus {endpoint}: it has many hosts, and a textfile holds one: name it with --node,"
                    " or let each host write its own"
                )
            if options.frequency not in (status.interval, Options().frequency):
                self._note(
                    f"the hosts on this bus have intervals of their own: --frequency={options.frequency:g} is left out"
                )
            return Bus(endpoint, status.interval, None, None, secure, cluster=True)
        node = stamp.node if abs(options.frequency / status.interval - 1) > 1e-6 else None
        if named:
            ratio = options.frequency / status.interval
            multiple = ratio > 1.5 and abs(ratio - round(ratio)) < 1e-6
            return Bus(endpoint, status.interval, node if multiple else None, None, secure)
        wanted = attach.Wanted(
            options.families, options.frequency, options.connector, options.connection, options.procfs,
            options.sysfs or "/sys", options.node,
        )  # fmt: skip
        reason = wanted.unserved(status.info, status.interval)
        if reason is not None:
            self.unserved = f"the fleet of this host does not serve this: {reason}"
            return None
        return Bus(endpoint, status.interval, node, None)


def _secure(options: Options) -> Secure | None:
    """The keys that the options name, None without."""
    if options.key is None or options.server_key is None:
        return None
    from proxtop.bus import curve, keys

    try:
        own = keys.load(options.key)
    except keys.KeyProblem as problem:
        raise AttachError(f"--key: {problem}") from None
    try:
        return curve.Joining(own, keys.named_key(options.server_key))
    except keys.KeyProblem as problem:
        raise AttachError(f"--server-key: {problem}") from None


def setup(options: Options) -> dict[str, Any]:
    """What the fleet is told, as proxtopd's Setup has it. PROXTOP_ROOT names the directory below which a Proxmox host's
    /var/run/qemu-server and /etc/pve are, where it is not the root: another host's mounted files, or a test's."""
    return {
        "root": os.environ.get("PROXTOP_ROOT", "/"),
        "node": options.node or os.uname().nodename,
        "node_given": options.node is not None,
        "interval": options.frequency,
        "families": options.families,
        "connector": options.connector,
        "uri": options.connection or "qemu:///system",
        "uri_given": options.connection is not None,
        "procfs": options.procfs,
        "procfs_given": options.procfs != "/proc",
        "sysfs": options.sysfs or "/sys",
        "verbose": options.verbose,
    }
