"""Who is who among a VM's threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from proxtop.kernel.threads import ALL_VCPUS, named_role, parse_vcpu
from proxtop.model import Thread

NO_VCPUS = "vCPU threads unnamed (QEMU's debug-threads off)"
ONE_FOR_ALL = "single-threaded TCG: one thread for all vCPUs, shown as vCPU 0"


@dataclass(frozen=True, slots=True)
class Crew:
    """`vcpus` are thread ids by vCPU number; `threads` all the others whose role is known."""

    vcpus: tuple[tuple[int, int], ...] = ()
    threads: tuple[Thread, ...] = ()
    reason: str | None = None


def muster(
    pid: int,
    comms: Mapping[int, bytes],
    *,
    cores: int | None,
    placed: Callable[[], Mapping[int, str]],
    started: Callable[[int], int],
    workers: Iterable[Thread] = (),
) -> Crew:
    """A VM's crew from its threads' names.

    Where no name tells the vCPUs, `placed` says which libvirt cgroup (vcpu0, iothread1) a thread is in. Where several
    threads bear one vCPU's name, the first that `started` is it: a library's thread inherits its maker's name. Without
    vCPUs the threads whose names tell nothing stay out, since vCPUs are among them; the main thread is always emulator.
    """
    found: dict[int, list[int]] = {}
    for tid, comm in comms.items():
        number = parse_vcpu(comm)
        if number is not None and tid != pid:
            found.setdefault(number, []).append(tid)
    vcpus = {number: tids[0] if len(tids) == 1 else min(tids, key=lambda tid: (started(tid), tid))
             for number, tids in found.items()}  # fmt: skip
    roles: dict[int, str] = {}
    reason = None
    if not vcpus:
        together = [tid for tid, comm in comms.items() if comm == ALL_VCPUS]
        if together:
            vcpus = {0: together[0]}
            reason = None if cores == 1 else ONE_FOR_ALL
        else:
            vcpus, roles = _by_place(placed(), comms)
            reason = None if vcpus else NO_VCPUS
    serving = set(vcpus.values())
    threads = []
    for tid, comm in sorted(comms.items()):
        if tid in serving:
            continue
        role = "emulator" if tid == pid else named_role(comm) or roles.get(tid) or ("emulator" if vcpus else None)
        if role is not None:
            threads.append(Thread(tid, role, pid))
    return Crew(tuple(sorted(vcpus.items())), (*threads, *workers), reason)


def _by_place(places: Mapping[int, str], comms: Mapping[int, bytes]) -> tuple[dict[int, int], dict[int, str]]:
    vcpus: dict[int, int] = {}
    roles: dict[int, str] = {}
    for tid, place in sorted(places.items()):
        number = place.removeprefix("vcpu")
        if tid not in comms:
            continue
        if place != number and number.isdecimal():
            vcpus.setdefault(int(number), tid)
        elif place.startswith("iothread"):
            roles[tid] = "iothread"
    return vcpus, roles
