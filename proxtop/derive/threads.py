"""Which vCPUs and which other threads are whose: worked out when it changes, not in each cycle."""

from __future__ import annotations

from proxtop.derive.groups import Groups
from proxtop.model import Table, Value
from proxtop.rates import Numbers, owner_of

ROLES = ("emulator", "iothread", "worker", "vhost")


class Layout:
    """The rows of the tables vcpu and thread by VM, and the rows of the snapshot's table thread: one for each role that
    a VM has, and one for its workers though it have none now, as they come and go.

    `foreign` are threads in no process of the VM, `no_workers` all threads but the workers; `role_counts` says how many
    threads a role's row stands for, `workers` are the places of the workers' rows, each with its VM's place.
    """

    __slots__ = (
        "_owners", "_vms", "foreign", "no_workers", "role_counts", "role_ids", "roles", "threads", "vcpu_counts",
        "vcpus", "workers",
    )  # fmt: skip

    def __init__(self, vms: list[str], vcpus: list[str], threads: list[str], roles: list[Value], own: list[Value]):
        self.vcpus = Groups(map(owner_of, vcpus), vms)
        self.vcpu_counts: Numbers = [len(places) for places in self.vcpus.places]
        self._owners = [owner_of(thread) for thread in threads]
        self._vms = frozenset(self._owners)
        self.threads = Groups(self._owners, vms)
        self.foreign = Groups([None if mine else vm for vm, mine in zip(self._owners, own, strict=True)], vms)
        self.no_workers = Groups(
            [None if role == "worker" else vm for vm, role in zip(self._owners, roles, strict=True)], vms
        )
        keys = list(zip(self._owners, roles, strict=True))
        there = set(keys)
        rows = [
            (place, vm, role)
            for place, vm in enumerate(vms)
            for role in ROLES
            if (vm, role) in there or (role == "worker" and vm in self._vms)
        ]
        self.roles = Groups(keys, [(vm, role) for _, vm, role in rows])
        self.role_ids = [f"{vm}/{role}" for _, vm, role in rows]
        self.role_counts: Numbers = [len(places) for places in self.roles.places]
        self.workers = [(row, place) for row, (place, _, role) in enumerate(rows) if role == "worker"]

    def of_the_living(self, rates: Numbers, lived: frozenset[str]) -> Numbers:
        """The rates of threads of these VMs; of other processes thread ids may have come again."""
        if self._vms <= lived:
            return rates
        return [value if owner in lived else None for value, owner in zip(rates, self._owners, strict=True)]

    def role_totals(self, column: Numbers) -> Numbers:
        """The sum of each role; of none that is there 0."""
        totals = list(self.roles.totals(column))
        for row, count in enumerate(self.role_counts):
            if not count:
                totals[row] = 0.0
        return totals


class Layouts:
    """Remembers the layout for as long as the rows are the same."""

    __slots__ = ("_key", "_layout")

    def __init__(self) -> None:
        self._key: tuple[list[Value] | list[str], ...] | None = None
        self._layout: Layout | None = None

    def of(self, vms: list[str], vcpus: list[str], thread: Table) -> Layout:
        """The layout of a sample's rows."""
        none: list[Value] = [None] * len(thread.ids)
        roles, own = thread.columns.get("role", none), thread.columns.get("own", none)
        key = (vms, vcpus, thread.ids, roles, own)
        if self._layout is None or self._key != key:
            self._key, self._layout = key, Layout(vms, vcpus, thread.ids, roles, own)
        return self._layout
