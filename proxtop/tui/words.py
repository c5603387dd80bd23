"""What the numbers do not say, in words: no VM and why, a family that is missing, a connection that is lost. Pure."""

from __future__ import annotations

from proxtop import catalog
from proxtop.tui import views
from proxtop.tui.cluster import Cluster
from proxtop.tui.scene import Scene
from proxtop.tui.state import State

_TOLD = 3
_WHAT = {
    "physical": "physical network interface", "disk": "physical disk", "lvm": "LVM logical volume",
    "multipath": "multipath device",
}  # fmt: skip


def seconds(span: float) -> str:
    """A span of time, short: 7 s, 4 m 05 s."""
    whole = round(span)
    return f"{whole} s" if whole < 60 else f"{whole // 60} m {whole % 60:02} s"


def problems(scene: Scene, view: str) -> list[str]:
    """What is wrong now, the worst first."""
    found = []
    if scene.link:
        found.append(scene.link)
    if scene.age is not None:
        found.append(f"no data for {seconds(scene.age)}: what you see is that old")
    snapshot = scene.snapshot
    if scene.cluster is not None:
        found += _cluster(scene.cluster)
    elif snapshot is not None:
        if snapshot.reason and snapshot.tables["vm"].ids:
            found.append(snapshot.reason)
        wanted = set(scene.asked or catalog.DEFAULT_FAMILIES)
        if view != "all":
            wanted.update(views.VIEWS[view].families)
        for name in snapshot.families:
            if name not in wanted:
                continue
            if name in snapshot.stale:
                found.append(f"{name}: {snapshot.stale[name]}")
            elif name in snapshot.degraded:
                found.append(_named(name, snapshot.degraded[name]))
        found += [f"{name}: not collected on this bus" for name in scene.asked if name not in snapshot.families]
    return [*found, *scene.notes]


def _cluster(cluster: Cluster) -> list[str]:
    """What is wrong with hosts, the first few of them by name."""
    lost = [host for host in cluster.hosts if host.lost]
    found = [f"{host.name} is lost{f': {host.reason}' if host.reason else ''}" for host in lost[:_TOLD]]
    if len(lost) > _TOLD:
        found.append(f"{len(lost) - _TOLD} more hosts are lost")
    return [*found, *(f"{text}: a VM runs once" for text in cluster.twice[:_TOLD])]


def _named(family: str, text: str) -> str:
    return text if text.startswith(f"{family}:") else f"{family}: {text}"


def uncollected(state: State, scene: Scene) -> bool:
    """Whether none of the view's families come."""
    snapshot = scene.snapshot
    return snapshot is not None and not set(views.VIEWS[state.view].families).intersection(snapshot.families)


def empty(state: State, scene: Scene, total: int) -> list[str]:
    """Why the table has no row: what is so, and what can be done."""
    snapshot = scene.snapshot
    view = views.VIEWS[state.view]
    if snapshot is None:
        return [scene.link or "Waiting for the first cycle …"]
    if uncollected(state, scene):
        family = catalog.FAMILIES[view.families[0]]
        return [f"The fleet does not collect {family.name}.", f"Start proxtop with {family.option}."]
    if total and state.filter:
        return [f"No name contains '{state.filter}' ({total} do not).", "Esc clears the filter."]
    if scene.cluster is not None:
        return [f"No VM runs on these {len(scene.cluster.hosts)} hosts.", "Tab shows each host by itself, and why."]
    if view.scope != "vm":
        return [f"This host has no {_WHAT[view.kind]}."]
    if snapshot.reason:
        lines = [f"No VM can be seen: {snapshot.reason}", _ASK.get(snapshot.connector, "")]
    else:
        lines = [f"No VM runs on this host, says {snapshot.connector}.", _LOOKED.get(snapshot.connector, "")]
    lines.append("VMs appear here as soon as they start. `make lab` boots small ones to try it.")
    return [line for line in lines if line]


_ASK = {
    "libvirt": "Try `virsh -r -c qemu:///system list` as this user; see docs/operations.md.",
    "proxmox": "Proxmox VE's sockets are root's: run proxtop as root, or the fleet as a service.",
}
_LOOKED = {
    "libvirt": "libvirt answers and lists none: `virsh list` shows the same.",
    "proxmox": "/var/run/qemu-server has no running VM: `qm list` shows the same.",
    "qemu": "There is neither libvirt nor Proxmox VE here, and no QEMU process to be seen.",
}
