"""Where a bus is: a directory with two sockets, or the URI of one."""

from __future__ import annotations

import contextlib
import os
import re

LOCAL = "/run/proxtop"
"""The directory of the host's own fleet."""

MAX_IPC_PATH = 107
"""The longest path of a Unix socket (sun_path)."""


_TCP = re.compile(
    r"tcp://(?P<host>\*|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9:][\w.:%-]*):0*(?P<port>[0-9]{1,5})", re.ASCII
)


class EndpointError(ValueError):
    """No address of a bus; the text says what, where and what to do."""


def subscribe(directory: str) -> str:
    """Where readers connect."""
    return f"ipc://{directory}/subscribe.sock"


def publish(directory: str) -> str:
    """Where workers connect; its directory lets nobody else in, so that a reader can't forge."""
    return f"ipc://{directory}/workers/publish.sock"


def is_loopback(uri: str) -> bool:
    """Whether a tcp:// address stays on this machine."""
    host = uri.removeprefix("tcp://").rpartition(":")[0]
    return host in ("localhost", "[::1]") or (host.startswith("127.") and host.replace(".", "").isdigit())


def parse_tcp(uri: str, option: str, *, listening: bool = False) -> str:
    """A tcp:// address, checked, as libzmq would take it; `option` names who gave it, * stands for all of this
    machine's own (`listening`)."""
    match = _TCP.fullmatch(uri)
    if match is not None and 0 < int(match["port"]) < 65536 and (listening or match["host"] != "*"):
        with contextlib.suppress(UnicodeError):  # a label of a name that is empty or too long
            match["host"].encode("idna")
            return uri
    raise EndpointError(f"{option} {uri}: not an address in a network; use tcp://host:port")


def own(directory: str) -> str:
    """The directory of the proxtopd that serves that bus: beside it, since workers may write in the bus's own."""
    return f"{directory}d"


def control(directory: str) -> str:
    """The path of the socket that controls the fleet on that bus; who may connect may control."""
    return f"{own(directory)}/control.sock"


def parse(uri: str) -> str:
    """The URI of a bus, checked: ipc:///path or tcp://host:port; a path alone is a bus directory or its socket."""
    if uri.startswith("/"):
        return subscribe(uri) if os.path.isdir(uri) else f"ipc://{uri}"
    scheme, _, rest = uri.partition("://")
    if scheme == "ipc" and rest.startswith("/"):
        if len(rest.encode()) > MAX_IPC_PATH:
            raise EndpointError(f"--bus {uri}: the path is longer than {MAX_IPC_PATH} bytes; use a shorter one")
        return uri
    if scheme == "tcp" and rest:
        return parse_tcp(uri, "--bus")
    raise EndpointError(
        f"--bus {uri}: not an address of a bus; use ipc:///run/proxtop/subscribe.sock or tcp://host:port"
    )
