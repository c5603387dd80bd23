"""Against processes of this machine: real QEMUs, and their taps where this user may make one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxtop.lookup import Lookup
from proxtop.model import VM, DiskConfig, Domain, Domains

QEMU = shutil.which("qemu-system-x86_64")
pytestmark = pytest.mark.skipif(QEMU is None or not Path("/proc/self/stat").exists(), reason="needs QEMU on Linux")

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def run(*options: str) -> subprocess.Popen[bytes]:
        assert QEMU is not None
        bare = ("-nodefaults", "-display", "none", "-S", "-m", "16")
        running.append(subprocess.Popen([QEMU, *bare, *options], stderr=subprocess.PIPE))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


def until(lookup: Lookup, domains: Domains, good: Callable[[VM], object]) -> VM:
    deadline = time.monotonic() + 20
    while True:
        vms = lookup.inventory(domains).vms
        if vms and good(vms[0]):
            return vms[0]
        assert time.monotonic() < deadline, vms
        time.sleep(0.02)


def test_the_threads_of_a_real_qemu_and_its_end(start: Start, tmp_path: Path) -> None:
    name = str(uuid.uuid4())
    process = start(
        "-accel", "tcg,thread=multi", "-smp", "2,maxcpus=2", "-name", "guest=a,,b,debug-threads=on", "-uuid", name,
        "-object", "iothread,id=io7",
    )  # fmt: skip
    lookup = Lookup()
    disk = tmp_path / "disk.img"
    disk.touch()
    told = Domains("qemu", (Domain(name, "a,b", disks=(DiskConfig("vda", str(disk)),)),))
    vm = until(lookup, told, lambda vm: len(vm.vcpus) == 2)
    assert vm.pid == process.pid
    assert [number for number, _ in vm.vcpus] == [0, 1]
    comms = {tid: Path(f"/proc/{process.pid}/task/{tid}/comm").read_text().strip() for _, tid in vm.vcpus}
    assert list(comms.values()) == ["CPU 0/TCG", "CPU 1/TCG"]
    assert {"emulator", "iothread"} <= {thread.role for thread in vm.threads}
    assert vm.affinity is not None and vm.reason is None and vm.cores == 2
    process.kill()
    process.wait()
    assert lookup.inventory(told).vms == ()
    lookup.close()


def test_debug_threads_off_leaves_cpu_unknown(start: Start) -> None:
    name = str(uuid.uuid4())
    process = start("-accel", "tcg,thread=multi", "-smp", "2", "-name", "guest=x,debug-threads=off", "-uuid", name)
    lookup = Lookup()
    vm = until(lookup, Domains("libvirt", (Domain(name, "x", process.pid, cores=2),)), lambda vm: vm.pid)
    assert vm.vcpus == () and vm.reason is not None and "debug-threads" in vm.reason
    lookup.close()


def test_single_threaded_tcg_is_one_thread_and_says_so(start: Start) -> None:
    name = str(uuid.uuid4())
    process = start(
        "-accel", "tcg,thread=single", "-smp", "2", "-name", "x,debug-threads=on", "-smbios", f"type=1,uuid={name}"
    )
    lookup = Lookup()
    vm = until(lookup, Domains("qemu", (Domain(name, "x", cores=2),)), lambda vm: vm.vcpus)
    assert vm.pid == process.pid and len(vm.vcpus) == 1
    assert vm.reason is not None and "single-threaded" in vm.reason
    lookup.close()


def test_a_tap_that_is_known_by_its_descriptor_only(start: Start) -> None:
    name = str(uuid.uuid4())
    tap = f"pxt{os.getpid() % 100000}"
    start("-accel", "tcg", "-name", "x", "-uuid", name, "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
          "-device", "virtio-net-pci,netdev=n")  # fmt: skip
    lookup = Lookup()
    told = Domains("qemu", (Domain(name, "x", nics=None),))
    deadline = time.monotonic() + 10
    while not Path(f"/sys/class/net/{tap}").exists():
        if time.monotonic() > deadline:
            pytest.skip("this user may not make a tap here")
        time.sleep(0.02)
    vm = until(lookup, told, lambda vm: vm.pid)
    assert vm.nics is not None and [(nic.name, nic.netns) for nic in vm.nics] == [(tap, None)]
    lookup.close()
