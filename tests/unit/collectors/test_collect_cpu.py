"""CPU: which number comes from where."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_hosts import DB, WEB, Host, web

from proxtop.collectors import cpu
from proxtop.kernel.errors import FileError
from proxtop.kernel.files import File, Files
from proxtop.kernel.pid_stat import parse_start
from proxtop.model import VM, Inventory, Statistics, Table, Thread

THREADS = """
import sys, threading
threads = [threading.Thread(target=sys.stdin.read) for _ in range(2)]
for thread in threads: thread.start()
print(*(thread.native_id for thread in threads), flush=True)
"""


def test_host_ticks_and_frequencies(small: Host, inventory: Inventory) -> None:
    columns = cpu.sample(inventory, {}, small.files).tables["host"].columns
    assert columns["cores"] == [2]
    assert (columns["user"], columns["iowait"], columns["guest_nice"]) == ([1000], [50], [1])
    assert (columns["curfreq"], columns["minfreq"], columns["maxfreq"]) == ([2500.0], [800.0], [3600.0])


def test_an_old_kernels_missing_ticks_are_null_and_its_frequency_is_cpuinfos(
    host: Callable[[str], Host], inventory: Inventory
) -> None:
    columns = cpu.sample(inventory, {}, host("old-kernel").files).tables["host"].columns
    assert (columns["softirq"], columns["steal"], columns["guest"]) == ([7], [None], [None])
    assert (columns["curfreq"], columns["maxfreq"]) == ([2500.123], [None])


def test_vcpus_and_other_threads_have_rows_of_their_own(small: Host, inventory: Inventory) -> None:
    tables = cpu.sample(inventory, {}, small.files).tables
    assert tables["vcpu"].ids == [f"{DB}/0", f"{DB}/1", f"{WEB}/0", f"{WEB}/1"]
    assert tables["vcpu"].columns == {
        "gen": [1303, 1304, 1202, 1203],
        "run_ns": [2100, 2200, 1100, 1200],
        "wait_ns": [21, 22, 11, 12],
        "cpu": [1, 2, 1, 2],
    }
    assert tables["thread"].ids == [f"{DB}/1302", f"{DB}/1305", f"{WEB}/1201", f"{WEB}/1204"]
    assert tables["thread"].columns["role"] == ["emulator", "iothread"] * 2
    assert tables["thread"].columns["own"] == [1] * 4
    assert tables["vm"].columns["process_ns"] == [5_000_000_000] * 2
    assert tables["vm"].columns["gen"] == [6000 << 22 | 1302, 5000 << 22 | 1201]


def test_the_last_cpu_is_read_again_only_after_the_thread_was_scheduled(small: Host, inventory: Inventory) -> None:
    def last_cpu() -> object:
        return cpu.sample(inventory, {}, small.files).tables["vcpu"].columns["cpu"][2]

    assert last_cpu() == 1
    stat, schedstat = (small.proc / "1201/task/1202" / name for name in ("stat", "schedstat"))
    fields = stat.read_text().split()
    fields[-14] = "6"
    stat.write_text(" ".join(fields))
    assert last_cpu() == 1
    schedstat.write_text("1200 11 9\n")
    assert last_cpu() == 6


def test_a_thread_that_ended_has_no_row(small: Host, inventory: Inventory) -> None:
    cpu.sample(inventory, {}, small.files)
    for tid in (1203, 1204):
        for path in (small.proc / f"1201/task/{tid}").iterdir():
            path.unlink()
    tables = cpu.sample(inventory, {}, small.files).tables
    assert tables["vcpu"].ids == [f"{DB}/0", f"{DB}/1", f"{WEB}/0"]
    assert f"{WEB}/1204" not in tables["thread"].ids
    assert tables["vm"].ids == [DB, WEB]


def test_a_vm_that_ends_in_the_middle_of_a_pass_has_no_rows_at_all(
    small: Host, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = File.read

    def ending(self: File) -> bytes | None:
        if self.path == "task/1304/schedstat":
            small.end(1302)
        return read(self)

    monkeypatch.setattr(File, "read", ending)
    tables = cpu.sample(inventory, {}, small.files).tables
    assert {key.partition("/")[0] for name in ("vm", "vcpu", "thread") for key in tables[name].ids} == {WEB}


def test_threads_change_with_the_inventory(small: Host) -> None:
    cpu.sample(Inventory("qemu", (web(),)), {}, small.files)
    changed = dataclasses.replace(web(), vcpus=((0, 1202),), threads=(Thread(1203, "worker", 1201),))
    tables = cpu.sample(Inventory("qemu", (changed,)), {}, small.files).tables
    assert (tables["vcpu"].ids, tables["thread"].ids) == ([f"{WEB}/0"], [f"{WEB}/1203"])


def test_a_vhost_kernel_thread_is_not_the_process_own_and_not_opened_again_once_ended(small: Host) -> None:
    kernel_thread = small.proc / "4242" / "task" / "4242"
    kernel_thread.mkdir(parents=True)
    (kernel_thread / "schedstat").write_text("77 7 7\n")
    vm = dataclasses.replace(web(), threads=(Thread(4242, "vhost", 4242),))
    inventory = Inventory("qemu", (vm,))
    assert cpu.sample(inventory, {}, small.files).tables["thread"].columns == {
        "role": ["vhost"],
        "own": [0],
        "run_ns": [77],
        "wait_ns": [7],
    }
    (kernel_thread / "schedstat").unlink()
    assert cpu.sample(inventory, {}, small.files).tables["thread"].ids == []
    (kernel_thread / "schedstat").write_text("1 1 1\n")
    assert cpu.sample(inventory, {}, small.files).tables["thread"].ids == []


def test_a_kernel_that_keeps_no_run_queue_times_gives_nulls_and_a_reason(host: Callable[[str], Host]) -> None:
    vm = VM(WEB, "web", 1201, 5000, vcpus=((0, 1202),))
    sample = cpu.sample(Inventory("qemu", (vm,)), {}, host("old-kernel").files)
    assert sample.tables["vcpu"].columns["run_ns"] == [None]
    assert sample.reason == "cpu: no run-queue times on this kernel (CONFIG_SCHED_INFO)"


def test_throttling_adds_the_limits_of_single_vcpus_and_is_null_without_a_limit(
    small: Host, inventory: Inventory
) -> None:
    assert cpu.sample(inventory, {}, small.files).tables["vm"].columns["throttled_us"] == [None, 3000]


def test_a_limit_that_is_set_later_is_found(small: Host, inventory: Inventory) -> None:
    cpu.sample(inventory, {}, small.files)
    stat = small.sys / "fs/cgroup/qemu.slice/102.scope/cpu.stat"
    stat.write_text("nr_periods 4\nnr_throttled 1\nthrottled_usec 9\n")
    for _ in range(32):
        throttled = cpu.sample(inventory, {}, small.files).tables["vm"].columns["throttled_us"]
    assert throttled == [9, 3000]


def test_a_vcpu_that_is_held_back_for_the_first_time_counts_from_then_on(small: Host, inventory: Inventory) -> None:
    limits = small.sys / "fs/cgroup" / "machine.slice" / r"machine-qemu\x2d1\x2dweb.scope" / "libvirt"
    idle = limits / "vcpu1/cpu.stat"
    idle.write_text("nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
    before = cpu.sample(inventory, {}, small.files).tables["vm"].columns["throttled_us"][1]
    idle.write_text("nr_periods 1\nnr_throttled 1\nthrottled_usec 7\n")
    now = cpu.sample(inventory, {}, small.files).tables["vm"].columns["throttled_us"][1]
    assert isinstance(before, int)
    assert now == before + 7


def test_the_limit_of_a_vcpu_that_is_plugged_in_counts_at_once(small: Host) -> None:
    one = dataclasses.replace(web(), vcpus=web().vcpus[:1])
    for vm, throttled in ((one, 1000), (web(), 3000)):
        tables = cpu.sample(Inventory("libvirt", (vm,)), {}, small.files).tables
        assert tables["vm"].columns["throttled_us"] == [throttled]


def test_the_limit_is_that_of_the_cgroup_that_the_vm_is_in_now(small: Host) -> None:
    moved = dataclasses.replace(web(), cgroup="/other.slice/web.scope")
    stat = small.sys / "fs/cgroup/other.slice/web.scope/cpu.stat"
    stat.parent.mkdir(parents=True)
    stat.write_text("nr_periods 4\nnr_throttled 1\nthrottled_usec 9\n")
    cpu.sample(Inventory("libvirt", (web(),)), {}, small.files)
    tables = cpu.sample(Inventory("libvirt", (moved,)), {}, small.files).tables
    assert tables["vm"].columns["throttled_us"] == [9]


def test_cgroup_v1_counts_in_ns(host: Callable[[str], Host]) -> None:
    vm = VM(WEB, "web", 1201, 5000, cgroup=r"/machine.slice/machine-qemu\x2d1\x2dweb.scope")
    sample = cpu.sample(Inventory("libvirt", (vm,)), {}, host("cgroup-v1").files)
    assert sample.tables["vm"].columns["throttled_us"] == [5000]


def test_hybrid_limits_are_v1s(host: Callable[[str], Host]) -> None:
    vm = VM(WEB, "web", 1201, 5000, cgroup="/qemu.slice/101.scope")
    sample = cpu.sample(Inventory("proxmox", (vm,)), {}, host("cgroup-hybrid").files)
    assert sample.tables["vm"].columns["throttled_us"] == [6000]


def test_a_remote_hosts_vcpus_are_the_connectors_with_their_own_time(remote: Inventory) -> None:
    ids = [f"{WEB}/0", "33333333-3333-3333-3333-333333333333/0"]
    table = Table(ids, {"run_ns": [5, 6], "wait_ns": [1, 2]}, [7.0, 7.0])
    files = Files()
    sample = cpu.sample(remote, {"vcpu": Statistics("vcpu", table, 5.0)}, files)
    vcpus = sample.tables["vcpu"]
    assert (vcpus.ids, vcpus.at, sample.refresh) == ([f"{WEB}/0"], [7.0], 5.0)
    assert vcpus.columns == {"gen": [None], "run_ns": [5], "wait_ns": [1], "cpu": [None]}
    assert sample.tables["vm"].columns["process_ns"] == [None, None]
    files.close()


def test_a_limit_that_can_not_be_read_is_told_each_time(
    small: Host, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Files.once

    def denied(self: Files, path: str) -> bytes | None:
        if path.endswith("cpu.stat"):
            raise FileError(path, 13)
        return once(self, path)

    monkeypatch.setattr(Files, "once", denied)
    for _ in range(3):
        sample = cpu.sample(inventory, {}, small.files)
        assert sample.reason is not None and "cpu.stat" in sample.reason


def _until_asleep(pid: int) -> None:
    deadline = time.monotonic() + 10
    while any(b") S " not in (task / "stat").read_bytes() for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, "its threads run and run"
        time.sleep(0.01)


def test_real_threads_of_a_real_process() -> None:
    files = Files()
    with subprocess.Popen([sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first, second = map(int, child.stdout.readline().split())
        _until_asleep(child.pid)  # the process' clock is read before its threads': none may run meanwhile
        start = parse_start(Path(f"/proc/{child.pid}/stat").read_bytes())
        main = Thread(child.pid, "emulator", child.pid)
        vm = VM(WEB, "web", child.pid, start, vcpus=((0, first), (1, second)), threads=(main,))
        inventory = Inventory("qemu", (vm,))
        tables = cpu.sample(inventory, {}, files).tables
        runs = [*tables["vcpu"].columns["run_ns"], *tables["thread"].columns["run_ns"]]
        assert all(isinstance(run, int) and run > 0 for run in runs)
        process = tables["vm"].columns["process_ns"][0]
        assert isinstance(process, int) and process >= sum(run for run in runs if isinstance(run, int))
        assert all(cpu in range(os.cpu_count() or 1) for cpu in tables["vcpu"].columns["cpu"])
        child.kill()
        child.wait()
        assert cpu.sample(inventory, {}, files).tables["vm"].ids == []
    files.close()
    assert files.kept == 0
