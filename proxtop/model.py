"""What the actors tell one another: frozen dataclasses, no I/O. Units stand in the names; unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Value = int | float | str | bool | None
Columns = dict[str, list[Value]]

_T = TypeVar("_T")


class Constant(list[_T]):
    """A column that is known to hold one and the same value in every row: it costs its users one step, not one a row.
    A list like any other to whoever does not care; never to be changed in place."""

    __slots__ = ()

    @classmethod
    def of(cls, value: _T, length: int) -> Constant[_T]:
        """That value, so many times."""
        return cls((value,) * length)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in columns: `ids` once, then a list as long as `ids` per name.

    `at` holds each row's own monotonic time in seconds where rows are not read at the sample's instant.
    Ids: the host table has the node; vm the VM's UUID; tables of a VM's parts UUID/part (vCPU number, disk name,
    interface name, thread id in samples and role in snapshots); device and interface the kernel's name.
    """

    ids: list[str]
    columns: Columns
    at: list[float | None] | None = None


EMPTY = Table([], {})


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who published a frame and when: `epoch` is the publisher's start (ns since 1970), `seq` counts per publisher and
    topic from 1, `cycle` is the scheduled wall time in ms, `time` the wall clock and `mono` CLOCK_MONOTONIC, in s.
    """

    node: str
    epoch: int
    seq: int
    cycle: int
    time: float
    mono: float


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """A virtual disk as its VM's configuration tells it: target name (vda, scsi0) and where it is stored."""

    name: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class NicConfig:
    """A virtual NIC: the host's interface and the guest's hardware address. `swapped` is False for macvtap, whose
    counters are the VM's own; a tap's are the other way round."""

    name: str | None
    mac: str | None = None
    swapped: bool = True


@dataclass(frozen=True, slots=True)
class Domain:
    """A running VM as its connector knows it; `pid` is bound by pid file, libvirt or exact command line, never by a
    substring. `nics` is None where they are not known, `reason` says what is missing and why."""

    uuid: str
    name: str
    pid: int | None = None
    vmid: int | None = None
    cores: int | None = None
    memory_kb: int | None = None
    disks: tuple[DiskConfig, ...] = ()
    nics: tuple[NicConfig, ...] | None = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Domains:
    """All running VMs of a host; `connector` is libvirt, proxmox or qemu; `reason` says why it may be incomplete."""

    connector: str
    domains: tuple[Domain, ...]
    reason: str | None = None
    remote: bool = False
    prime: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """One part of what a connector reads of its VMs: block, balloon, and on a remote host vcpu and interface.

    The table's columns are named as in the catalog (disk for block, mem's vm columns for balloon, cpu's vcpu, net's
    nic); `refresh` is the seconds between two readings; rows carry their own time.
    """

    part: str
    table: Table
    refresh: float
    reason: str | None = None
    prime: bool = False


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a VM that is no vCPU: emulator, iothread, worker or vhost. `pid` differs from the VM's for a vhost
    kernel thread, which belongs to no process."""

    tid: int
    role: str
    pid: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtual disk with the host's block device (kernel name) that holds it, None where none does; `image` is where
    its file or device node can be looked at from here at once, None where it can't be seen or might not answer."""

    name: str
    source: str | None
    device: str | None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A virtual NIC with its host interface; `netns` is a PID whose network namespace holds it, None for the host's."""

    name: str
    mac: str | None
    swapped: bool
    netns: int | None = None


@dataclass(frozen=True, slots=True)
class VM:
    """A running VM, ready to be sampled. `start` is its process' start in clock ticks since boot (/proc/PID/stat field
    22), `vcpus` the thread ids by vCPU number, `cgroup` its path below the cgroup mount(s), `affinity` the CPUs that
    its vCPUs may use. `pid` and `start` are None on a remote host without procfs; `nics` is None when unknown."""

    uuid: str
    name: str
    pid: int | None
    start: int | None
    vmid: int | None = None
    cores: int | None = None
    memory_kb: int | None = None
    vcpus: tuple[tuple[int, int], ...] = ()
    threads: tuple[Thread, ...] = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] | None = ()
    cgroup: str | None = None
    affinity: str | None = None
    reason: str | None = None

    @property
    def gen(self) -> int | None:
        """Start time and PID in one number: the same VM with another gen is another process."""
        return None if self.pid is None or self.start is None else self.start << 22 | self.pid


@dataclass(frozen=True, slots=True)
class Inventory:
    """All VMs of a host, sorted by name, then UUID. `prime` marks the first after a start: collectors take their
    priming sample on it at once."""

    connector: str
    vms: tuple[VM, ...]
    reason: str | None = None
    remote: bool = False
    prime: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One family's counters and gauges at one instant, by table. `reason` says why it is degraded."""

    family: str
    tables: Mapping[str, Table]
    refresh: float
    reason: str | None = None
    prime: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One cycle: every rate and gauge, by table. `span` is the seconds that its rates cover, `families` those that were
    asked for, `stale` maps those without a value in this cycle to the reason, `degraded` those with partial values."""

    tables: Mapping[str, Table]
    span: float
    families: tuple[str, ...]
    connector: str
    stale: Mapping[str, str] = field(default_factory=dict)
    degraded: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Profiles:
    """What a profiler says of a host's VMs after a step of `step` seconds: the table vm, with how unusual each one is
    now (profile_anomaly, in standard deviations), how likely its last step was, and its phase."""

    tables: Mapping[str, Table]
    step: float


@dataclass(frozen=True, slots=True)
class Status:
    """An actor's heartbeat. `cost` is the CPU seconds of its last cycle; `drops` and `lost` count frames it dropped and
    frames it never got; `info` carries what a reader must know to attach (connector, roots, families, interval)."""

    actor: str
    state: str
    pid: int
    interval: float
    cost: float | None = None
    drops: int = 0
    lost: int = 0
    reason: str | None = None
    info: Mapping[str, Value] = field(default_factory=dict)


Payload = Domains | Statistics | Inventory | Sample | Snapshot | Profiles | Status


@dataclass(frozen=True, slots=True)
class Message:
    """A frame, decoded."""

    kind: str
    part: str
    stamp: Stamp
    body: Payload
