"""A host as a tree of text: PROCFS, SYSFS and the root that its paths are looked for in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxtop.lookup import Lookup
from proxtop.model import Domains, Inventory

NET_HEAD = "Inter-|   Receive                            |  Transmit\n face |bytes    packets errs|bytes packets\n"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """Writes what a test's host shows; `look` is what the lookup makes of it."""

    def __init__(self, base: Path) -> None:
        self.proc, self.sys, self.root = base / "proc", base / "sys", base / "root"
        for path in (self.proc, self.sys / "dev/block", self.sys / "class/block", self.sys / "block", self.root):
            path.mkdir(parents=True)
        self.clock = Clock()
        self.lookup: Lookup | None = None
        self.mounts("27 1 8:2 / / rw - ext4 /dev/sda2 rw")

    def look(self, domains: Domains) -> Inventory:
        if self.lookup is None:
            self.lookup = Lookup(str(self.proc), str(self.sys), root=str(self.root), clock=self.clock)
        return self.lookup.inventory(domains)

    def file(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def link(self, path: Path, target: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def mounts(self, text: str) -> None:
        self.file(self.proc / "1/mountinfo", text + "\n")

    def net(self, pid: int, *names: str) -> None:
        rows = "".join(f"{name:>6}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n" for name in names)
        self.file(self.proc / f"{pid}/net/dev", NET_HEAD + rows)

    def process(
        self,
        pid: int,
        *argv: str,
        start: int = 500,
        threads: Mapping[int, str] | None = None,
        parent: int = 1,
        state: str = "S",
        comm: str = "qemu (x) y",
    ) -> Path:
        """A process; `threads` are its others by id. The name with parentheses in its stat is on purpose."""
        threads = {pid: comm} | dict(threads or {})
        root = self.proc / str(pid)
        shutil.rmtree(root / "task", ignore_errors=True)
        self.file(root / "cmdline", "".join(f"{argument}\0" for argument in argv))
        self.file(root / "comm", comm + "\n")
        self.file(root / "stat", stat(pid, comm, state, parent, len(threads), start))
        for tid, name in threads.items():
            self.file(root / f"task/{tid}/comm", name + "\n")
            self.file(
                root / f"task/{tid}/stat",
                stat(tid, name, state if tid == pid else "S", parent, len(threads), start + tid - pid),
            )
            self.file(root / f"task/{tid}/status", "Name:\tx\nCpus_allowed_list:\t0-3\n")
        return root

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))

    def block(self, name: str, number: str, *, of: str | None = None, dm: str | None = None) -> None:
        """A block device; `of` makes it a partition of that disk."""
        home = f"devices/{of}/{name}" if of else f"devices/{name}"
        (self.sys / home).mkdir(parents=True)
        self.link(self.sys / f"dev/block/{number}", f"../../{home}")
        self.link(self.sys / f"class/block/{name}", f"../../{home}")
        if of:
            self.file(self.sys / home / "partition", "1\n")
        else:
            self.link(self.sys / f"block/{name}", f"../{home}")
        if dm:
            self.file(self.sys / home / "dm/name", dm + "\n")


def stat(pid: int, comm: str, state: str, parent: int, threads: int, start: int) -> str:
    return f"{pid} ({comm}) {state} {parent} " + "0 " * 15 + f"{threads} 0 {start} 4096 1 " + "0 " * 28 + "0\n"


def kvm_threads(pid: int, vcpus: int, *others: str) -> dict[int, str]:
    names: Sequence[str] = [*(f"CPU {number}/KVM" for number in range(vcpus)), *others]
    return {pid + 1 + place: name for place, name in enumerate(names)}
