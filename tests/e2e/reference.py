"""Readings of our own to hold proxtop's figures against: plain reads of /proc, /sys, QMP and virsh.

Nothing of proxtop is imported. A Recorder takes counters every 50 ms with the wall clock beside them, so that what a
counter gained between any two instants can be told afterwards, to the millisecond.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.lab import Guest
from tests.lab.libvirt import LibvirtGuest, virsh
from tests.lab.qemu import BareGuest

Counters = dict[str, float]

PROC = pathlib.Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
SECTOR = 512


def threads(pid: int) -> dict[str, tuple[str, int, int]]:
    """(name, nanoseconds run, nanoseconds waited for a core) of each thread of a process, by thread id."""
    found = {}
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            run, wait, _ = (task / "schedstat").read_text().split()
            found[task.name] = ((task / "comm").read_text().strip(), int(run), int(wait))
    return found


def process_s(pid: int) -> float:
    """utime + stime of the whole process, ended threads included."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def keyed(path: pathlib.Path) -> dict[str, int]:
    """`key: number unit` a line, as in /proc/PID/io, /proc/PID/status and /proc/meminfo."""
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {key: int(words[0]) for key, _, rest in pairs if (words := rest.split()) and words[0].isdecimal()}


def guest_counters(guest: Guest) -> Callable[[], Counters]:
    """A reading of what a guest's process, its vCPUs and its tap count. The tap's receive is what the guest sends."""
    pid, name = guest.pid, guest.name
    tap = pathlib.Path("/sys/class/net") / guest.tap / "statistics" if guest.spec.nic else None

    def read() -> Counters:
        counted: Counters = {"run": 0, "wait": 0, "living": 0}
        for comm, run, wait in threads(pid).values():
            if comm.startswith("CPU "):
                number = comm.split()[1].partition("/")[0]
                counted |= {f"run{number}": run, f"wait{number}": wait}
                counted["run"] += run
                counted["wait"] += wait
            else:
                counted["living"] += run
        counted["process"] = process_s(pid) * 1e9
        counted |= keyed(PROC / str(pid) / "io")
        if tap is not None:
            counted["sent"] = int((tap / "rx_bytes").read_text())
            counted["sent_packets"] = int((tap / "rx_packets").read_text())
            counted["received"] = int((tap / "tx_bytes").read_text())
        return {f"{name}.{key}": value for key, value in counted.items()}

    return read


def host_counters() -> Counters:
    """/proc/stat's first line in ticks, /proc/diskstats and /proc/net/dev by device."""
    words = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    counted: Counters = {kind: int(word) for kind, word in zip(kinds, words, strict=False)}
    for line in (PROC / "diskstats").read_text().splitlines():
        _, _, device, reads, _, read, _, writes, _, written, _, _, busy_ms, *_ = line.split()
        counted |= {f"{device}.reads": int(reads), f"{device}.read": int(read) * SECTOR}
        counted |= {f"{device}.writes": int(writes), f"{device}.written": int(written) * SECTOR}
        counted[f"{device}.busy_ms"] = int(busy_ms)
    for line in (PROC / "net/dev").read_text().splitlines()[2:]:
        interface, _, rest = line.partition(":")
        numbers = rest.split()
        counted |= {f"{interface.strip()}.received": int(numbers[0]), f"{interface.strip()}.sent": int(numbers[8])}
    return counted


def block_counters(guest: Guest) -> Counters:
    """What QEMU itself counts of the guest's disks."""
    if isinstance(guest, LibvirtGuest):
        lines = virsh("domblkstat", guest.uuid, "vda").splitlines()
        counted = {key: int(value) for _, key, value in (line.split() for line in lines)}
        return {f"{guest.name}.{key}": counted[key] for key in ("wr_bytes", "wr_req", "rd_bytes", "rd_req")}
    assert isinstance(guest, BareGuest)
    stats = [disk["stats"] for disk in guest.qmp("query-blockstats")]
    names = {"wr_bytes": "wr_bytes", "wr_req": "wr_operations", "rd_bytes": "rd_bytes", "rd_req": "rd_operations"}
    return {f"{guest.name}.{key}": sum(disk[name] for disk in stats) for key, name in names.items()}


def guest_used_kb(guest: Guest) -> float:
    """What the guest's own kernel says that it uses: its memory less what is free."""
    if isinstance(guest, LibvirtGuest):
        stats = dict(line.split() for line in virsh("dommemstat", guest.uuid).splitlines())
        return int(stats["available"]) - int(stats["unused"])
    assert isinstance(guest, BareGuest)
    stats = guest.qmp("qom-get", path="/machine/peripheral/balloon0", property="guest-stats")["stats"]
    return float(stats["stat-total-memory"] - stats["stat-free-memory"]) / 1024


def host_device(path: pathlib.Path) -> str | None:
    """The whole block device that holds a file, by the file system's device number; None where there is none."""
    number = path.stat().st_dev
    link = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not link.exists():
        return None
    device = link.resolve()
    return device.parent.name if (device / "partition").exists() else device.name


class Recorder:
    """Counters over time, read in a thread of their own while the `with` block lasts."""

    def __init__(self, readers: Sequence[Callable[[], Counters]], every_s: float = 0.05) -> None:
        self._readers = readers
        self._every_s = every_s
        self._times: list[float] = []
        self._readings: list[Counters] = []
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(30)
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._end.wait(self._every_s):
                self._read()
            self._read()
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            self._error = error

    def _read(self) -> None:
        counted: Counters = {}
        begin = time.time()
        for read in self._readers:
            counted |= read()
        self._times.append((begin + time.time()) / 2)
        self._readings.append(counted)

    def at(self, key: str, wall: float) -> float:
        """A counter at an instant, between the readings before and after it."""
        place = bisect.bisect_left(self._times, wall)
        assert 0 < place < len(self._times), f"{wall} was not recorded: {self._times[0]} to {self._times[-1]}"
        (t0, t1), (r0, r1) = self._times[place - 1 : place + 1], self._readings[place - 1 : place + 1]
        return r0[key] + (r1[key] - r0[key]) * (wall - t0) / (t1 - t0)

    def rate(self, key: str, begin: float, end: float) -> float:
        """What the counter gained a second between two instants."""
        return (self.at(key, end) - self.at(key, begin)) / (end - begin)


def rates(before: tuple[float, Mapping[str, float]], after: tuple[float, Mapping[str, float]]) -> Counters:
    """Per second, of two readings with their times."""
    seconds = after[0] - before[0]
    return {key: (value - before[1][key]) / seconds for key, value in after[1].items() if key in before[1]}
