"""Which connector fits a host."""

from __future__ import annotations

import importlib.util
import os

from proxtop.connectors.base import Connector, ConnectorError, Settings

NAMES = ("libvirt", "proxmox", "qemu")

_SOCKETS = ("libvirt/libvirt-sock-ro", "libvirt/virtqemud-sock-ro")
_RUN = ("/run", "/var/run")


def detect(settings: Settings) -> str:
    """libvirt where a URI is given; proxmox where ROOT/etc/pve or the command qm is; libvirt where its module is
    installed and a local daemon takes connections; else qemu."""
    if settings.uri_given:
        return "libvirt"
    if os.path.isdir(os.path.join(settings.root, "etc/pve")) or (settings.root == "/" and _has_command("qm")):
        return "proxmox"
    if importlib.util.find_spec("libvirt") is not None and (is_remote(settings.uri) or _answers()):
        return "libvirt"
    return "qemu"


def create(name: str, settings: Settings) -> Connector:
    """The connector of that name; ConnectorError for a name that there is none of."""
    if name == "libvirt":
        from proxtop.connectors.libvirt import LibvirtConnector  # only the worker that speaks to it pays for it

        return LibvirtConnector(settings)
    if name == "proxmox":
        from proxtop.connectors.proxmox import ProxmoxConnector

        return ProxmoxConnector(settings)
    if name == "qemu":
        from proxtop.connectors.qemu import QemuConnector

        return QemuConnector(settings)
    raise ConnectorError(f"no connector is called {name!r}; there are {', '.join(NAMES)}")


def is_remote(uri: str) -> bool:
    """Whether a libvirt URI names another host, or may: a host part, or a transport that is not the local socket."""
    scheme, _, rest = uri.partition("://")
    user_and_host = rest.partition("?")[0].partition("/")[0]
    return bool(user_and_host.rpartition("@")[2]) or scheme.partition("+")[2] not in ("", "unix")


def _has_command(name: str) -> bool:
    return any(os.access(os.path.join(directory, name), os.X_OK) for directory in os.get_exec_path())


def _answers() -> bool:
    """Whether a local libvirt daemon takes connections; nothing is said to it."""
    import socket  # the other workers do without

    for path in (f"{run}/{name}" for run in _RUN for name in _SOCKETS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.5)
            try:
                probe.connect(path)
            except OSError:
                continue
            return True
    return False
