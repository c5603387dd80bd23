"""What the host's network interfaces are: type and speed, asked seldom, and the index that tells a new one by an old
name. A link's speed is asked under the kernel's network lock, so by turns and only of those that have a link."""

from __future__ import annotations

import re

from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import File, Files
from proxtop.kernel.net_dev import parse_net_dev
from proxtop.kernel.sys_net import describe, link_speed
from proxtop.model import Inventory, Value

_AGAIN_S = 30.0
_LASTING_S = 10.0
"""After so many seconds all are looked at again, come what may."""


class Interfaces:
    """What was read of each interface."""

    __slots__ = ("_asked", "_by_index", "_indexes", "_known", "_lasting", "_names", "_next", "_own", "_until")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._known: dict[str, tuple[str | None, int | None]] = {}
        self._asked = 0.0
        self._next = 0
        self._indexes: dict[str, File] = {}
        self._own = True
        self._by_index: bool | None = None
        self._lasting: tuple[list[str], dict[str, int | None]] = [], {}
        self._until = 0.0

    def describe(self, files: Files, names: list[str]) -> tuple[list[Value], list[Value]]:
        """(types, speeds in Mbit/s) of these interfaces; None for what is not known."""
        now = files.clock()
        if names != self._names:
            self._names = names
            self._own = _same_namespace(files, names)
            self._known = {name: self._known.get(name) or self._ask(files, name) for name in names}
            self._asked = now
        elif (due := min(len(names), int((now - self._asked) * len(names) / _AGAIN_S))) > 0:
            self._asked = now
            for _ in range(due):
                name = names[self._next % len(names)]
                self._known[name] = self._ask(files, name)
                self._next += 1
        known = [self._known[name] for name in names]
        return [kind for kind, _ in known], [speed for _, speed in known]

    def lasting(self, files: Files, names: list[str]) -> bool:
        """Whether these, in the kernel's order, are the interfaces of the last call. Since Linux 6.9 they come by their
        index (net/core/net-procfs.c), so that one that was made anew is the last: only that has to be looked at. Before
        that they come by a hash, and every one that is a VM's is looked at."""
        now = files.clock()
        if self._by_index is None:
            self._by_index = _lists_by_index(files)
        looked = names[-1:] if self._by_index else [*self._indexes.keys() | names[-1:]]
        indexes = {name: self.index(files, name) for name in looked}
        known = bool(names) and None not in indexes.values()
        if known and names == self._lasting[0] and indexes == self._lasting[1] and now < self._until:
            return True
        self._lasting = names, indexes
        self._until = now + _LASTING_S
        return False

    def index(self, files: Files, name: str) -> int | None:
        """The kernel's number of the interface: an interface that was made anew has another."""
        if files.sysfs is None or not self._own:
            return None
        file = self._indexes.get(name)
        if file is None:
            file = self._indexes[name] = files.file(f"{files.sysfs}/class/net/{name}/ifindex")
        try:
            # the kept file of one that is gone says so, and there may be a new one
            text = file.read() or file.read()
            return None if text is None else int(text)
        except (KernelError, ValueError):
            return None

    def adopt(self, inventory: Inventory, files: Files) -> None:
        """Closes the files of interfaces that are no VM's and not the last one either."""
        names = {nic.name for vm in inventory.vms for nic in vm.nics or () if nic.netns is None} | {*self._names[-1:]}
        for name in self._indexes.keys() - names:
            files.forget(self._indexes.pop(name).path)

    def _ask(self, files: Files, name: str) -> tuple[str | None, int | None]:
        sysfs = files.sysfs if self._own else None
        kind = describe(sysfs, name)
        return kind, link_speed(sysfs, name, kind)


def _lists_by_index(files: Files) -> bool:
    try:
        release = re.match(rb"(\d+)\.(\d+)", files.once(f"{files.procfs}/sys/kernel/osrelease") or b"")
    except KernelError:
        return False
    return release is not None and (int(release[1]), int(release[2])) >= (6, 9)


def _same_namespace(files: Files, names: list[str]) -> bool:
    """Whether this machine's /sys shows the host's interfaces. In a container it shows the container's, and there may
    be an eth0 in both: so where this process sees others than PID 1 does, /sys is not believed."""
    if not files.local or files.sysfs != "/sys":
        return True
    try:
        text = files.once("/proc/self/net/dev")
        return text is None or sorted(parse_net_dev(text).names) == sorted(names)
    except KernelError:
        return True
