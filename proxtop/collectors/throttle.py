"""How long a CPU limit held each VM back, from its cgroup's cpu.stat.

Most VMs have no limit, and the kernel works for each read of cpu.stat. So only files that tell of a limit are read in
every pass; the others of each VM are looked at again every 32nd, by turns.
"""

from __future__ import annotations

from proxtop.collectors.base import Reasons, hierarchies
from proxtop.kernel.cgroup import Hierarchies
from proxtop.kernel.cpu_stat import parse_cpu_stat
from proxtop.kernel.errors import KernelError
from proxtop.kernel.files import Files, Process
from proxtop.model import VM

_TURNS = 32


class Throttles:
    """For each process the files that tell of a limit."""

    __slots__ = ("_files", "_limited", "_pass", "_where")

    def __init__(self) -> None:
        self._pass = 0
        self._limited: dict[str, tuple[Process, list[str]]] = {}

    def begin(self, files: Files) -> None:
        """Starts a pass."""
        self._pass += 1
        self._files = files
        self._where: Hierarchies = hierarchies(files)
        if self._pass % _TURNS == 0:
            self._limited = {uuid: entry for uuid, entry in self._limited.items() if not entry[0].gone}

    def read(self, vm: VM, process: Process, reasons: Reasons) -> int | None:
        """µs, summed over the CPUs of the host; None without a limit, and for a VM in the root cgroup."""
        if vm.cgroup is None:
            return None
        entry = self._limited.get(vm.uuid)
        try:
            if entry is None or entry[0] is not process or (process.pid + self._pass) % _TURNS == 0:
                entry = self._limited[vm.uuid] = (process, self._search(vm, vm.cgroup))
            found = [
                us
                for path in entry[1]
                if (text := process.read(path)) is not None and (us := parse_cpu_stat(text)) is not None
            ]
        except KernelError as error:
            reasons.add(error)
            return None
        return sum(found) if found else None

    def _search(self, vm: VM, cgroup: str) -> list[str]:
        numbers = [number for number, _ in vm.vcpus]
        return [
            path
            for path in self._where.cpu_stats(cgroup, numbers)
            if (text := self._files.once(path)) is not None and parse_cpu_stat(text) is not None
        ]
