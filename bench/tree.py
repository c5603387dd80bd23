"""A host with very many VMs as a tree of text on tmpfs: bare QEMUs whose counters are all known.

Every counter stands at BASE at first and gains the same at each step, its own number of each VM and counter. A step
overwrites the files in place, with as many bytes as before, so no reader ever sees half a file.
"""

from __future__ import annotations

import os
import pathlib
import resource
import uuid
import zlib
from collections.abc import Callable

from proxtop.catalog.io import FIELDS as IO_FIELDS
from proxtop.catalog.net import RX, TX

BASE = 10**12
FIRST_PID = 10_000
PIDS_EACH = 8
VCPUS = 2
MEMORY_MIB = 2048
RSS_PAGES, VSIZE_BYTES, SWAP_KB = 70_000, 3 << 30, 12
THREADS = ("qemu-system-x86", "CPU 0/KVM", "CPU 1/KVM", "IO iothread0")
"""By their distance from the process' PID: each VM has these."""

FAULTS = ("minflt", "cminflt", "majflt", "cmajflt")
DISKS = ("sda", "nvme0n1")
TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
DISK_FIELDS = (
    "reads", "reads_merged", "sectors_read", "ms_reading", "writes", "writes_merged", "sectors_written", "ms_writing",
    "in_flight", "ms_io", "ms_weighted",
)  # fmt: skip
_NS_PER_TICK = 10_000_000
_MOST = {"run_ns": 300_000_000, "wait_ns": 90_000_000, "other_ns": 20_000_000, "ms_io": 900}
_MEMINFO = "MemTotal: 1056000000 kB\nMemFree: 5000000 kB\nMemAvailable: 7000000 kB\nSwapTotal: 64 kB\nSwapFree: 32 kB\n"
_NET_HEAD = "Inter-|   Receive                            |  Transmit\n face |bytes    packets errs|bytes packets\n"


def gain(owner: str, counter: str) -> int:
    """What a counter gains at each step: 1 and more, of each owner and counter another number."""
    return 1 + zlib.crc32(f"{owner} {counter}".encode()) % _MOST.get(counter, 1000)


class Vm:
    """One VM of the tree, by its number."""

    def __init__(self, number: int) -> None:
        self.name = f"vm-{number:04}"
        self.uuid = str(uuid.UUID(int=0x5EED << 64 | number))
        self.pid = FIRST_PID + PIDS_EACH * number
        self.start = 1000 + number
        self.tap = f"tap{number}"
        self.cpu = number % 64

    def run_wait(self, thread: int) -> tuple[int, int]:
        """What a thread's time on a CPU and its wait for one gain, in ns; by its place in THREADS."""
        kind = "run_ns" if THREADS[thread].startswith("CPU ") else "other_ns"
        return gain(f"{self.name}.{thread}", kind), gain(f"{self.name}.{thread}", "wait_ns")

    def ticks(self) -> int:
        """What the whole process' time on a CPU gains, in ticks: a little more than all its threads."""
        return sum(self.run_wait(thread)[0] for thread in range(len(THREADS))) // _NS_PER_TICK + 2


class Host:
    """The tree in a directory: `procfs` and `sysfs`."""

    def __init__(self, directory: pathlib.Path, vms: int) -> None:
        self.procfs, self.sysfs = directory / "proc", directory / "sys"
        self.vms = [Vm(number) for number in range(vms)]
        self.state = 0
        self._moving: list[tuple[int, Callable[[int], bytes]]] = []
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._host()
        for vm in self.vms:
            self._vm(vm)

    def step(self) -> None:
        """All counters gain what they gain."""
        self.state += 1
        for file, text in self._moving:
            os.pwrite(file, text(self.state), 0)

    def close(self) -> None:
        """Closes the files."""
        for file, _ in self._moving:
            os.close(file)
        self._moving.clear()

    def _still(self, path: pathlib.Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _moves(self, path: pathlib.Path, template: str, *gains: int) -> None:
        """A file with a counter for each `{}` of the template."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)

        def text(state: int) -> bytes:
            return template.format(*[BASE + state * one for one in gains]).encode()

        os.pwrite(file, text(self.state), 0)
        self._moving.append((file, text))

    def _host(self) -> None:
        proc = self.procfs
        self._still(proc / "sys/kernel/random/boot_id", "5eed5eed-0000-4000-8000-000000000000\n")
        self._still(proc / "sys/kernel/hostname", "thousand\n")
        self._still(proc / "sys/kernel/task_delayacct", "0\n")
        self._still(proc / "loadavg", "1.00 1.00 1.00 1/5000 9000\n")
        self._still(proc / "meminfo", _MEMINFO)
        self._still(proc / "1/mountinfo", "25 1 0:22 / /sys rw - sysfs sysfs rw\n")
        self._still(self.sysfs / "class/dmi/id/product_uuid", "5EED5EED-0000-4000-8000-000000000001\n")
        ticks = " ".join(["{}"] * len(TICKS))
        cores = "".join(f"cpu{core} 0 0 0 0 0 0 0 0 0 0\n" for core in range(64))
        self._moves(proc / "stat", f"cpu  {ticks}\n{cores}", *(gain("host", name) for name in TICKS))
        lines, gains = "", []
        for number, disk in enumerate(DISKS):
            lines += f"   8 {number * 16} {disk} " + " ".join(["{}"] * len(DISK_FIELDS)) + "\n"
            gains += [gain(disk, field) for field in DISK_FIELDS]
            (self.sysfs / "block" / disk).mkdir(parents=True)
        self._moves(proc / "diskstats", lines, *gains)
        taps = [vm.tap for vm in self.vms]
        rows = "".join(f"{tap}: " + " ".join(["{}"] * (len(RX) + len(TX))) + "\n" for tap in taps)
        ways = [*(f"rx_{field}" for field in RX), *(f"tx_{field}" for field in TX)]
        self._moves(proc / "1/net/dev", _NET_HEAD + rows, *(gain(tap, field) for tap in taps for field in ways))

    def _vm(self, vm: Vm) -> None:
        root = self.procfs / str(vm.pid)
        command = (
            "/usr/bin/qemu-system-x86_64", "-name", f"{vm.name},debug-threads=on", "-uuid", vm.uuid, "-m",
            str(MEMORY_MIB), "-smp", str(VCPUS), "-netdev", f"tap,id=net0,ifname={vm.tap},script=no",
            "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01",
        )  # fmt: skip
        self._still(root / "cmdline", "".join(f"{word}\0" for word in command))
        self._still(root / "cgroup", "0::/user.slice\n")
        self._still(root / "comm", f"{THREADS[0]}\n")
        self._still(root / "status", f"Name:\tqemu\nVmRSS:\t{RSS_PAGES * 4} kB\nVmSwap:\t{SWAP_KB} kB\n")
        faults = [gain(vm.name, name) for name in FAULTS]
        self._moves(root / "stat", _stat(vm.pid, THREADS[0], vm, "{} {} {} {}", "{}"), *faults, vm.ticks())
        self._moves(root / "schedstat", "{} {} {}\n", *vm.run_wait(0), 1)
        io = "".join(f"{field}: {{}}\n" for field in IO_FIELDS)
        self._moves(root / "io", io, *(gain(vm.name, field) for field in IO_FIELDS))
        for number, comm in enumerate(THREADS):
            task = root / f"task/{vm.pid + number}"
            self._moves(task / "schedstat", "{} {} {}\n", *vm.run_wait(number), 1)
            self._still(task / "stat", _stat(vm.pid + number, comm, vm, "0 0 0 0", "0"))
            self._still(task / "comm", f"{comm}\n")
            self._still(task / "status", "Name:\tx\nCpus_allowed_list:\t0-63\n")


def _stat(tid: int, comm: str, vm: Vm, faults: str, utime: str) -> str:
    """/proc/PID/stat: faults are fields 10 to 13, user time 14, threads 20, start 22, sizes 23 and 24, the CPU 39."""
    head = f"{tid} ({comm}) S 1 1 1 0 -1 0 {faults} {utime} 0 0 0 20 0 {len(THREADS)} 0 {vm.start} "
    return f"{head}{VSIZE_BYTES} {RSS_PAGES} " + "0 " * 14 + f"{vm.cpu} " + "0 " * 12 + "0\n"
