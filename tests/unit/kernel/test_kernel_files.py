"""The reader: on real processes where the kernel's behaviour counts, on trees of text where it does not."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from errno import EACCES
from pathlib import Path

import pytest

from proxtop.kernel.errors import FileError, ParseError
from proxtop.kernel.files import Files
from proxtop.kernel.pid_stat import parse_start, parse_ticks

BURN = """
import sys, threading, time
def burn():
    end = time.thread_time() + 0.2
    while time.thread_time() < end: pass
thread = threading.Thread(target=burn); thread.start(); thread.join()
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files.close()
    assert files.kept == 0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process
        process.kill()


def start_of(pid: int) -> int:
    return parse_start(Path(f"/proc/{pid}/stat").read_bytes())


def open_descriptors() -> set[str]:
    return {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


def tree(tmp_path: Path, pid: int = 7, start: int = 99) -> Path:
    process = tmp_path / "proc" / str(pid)
    process.mkdir(parents=True)
    (process / "stat").write_text(f"{pid} (kvm) S " + "0 " * 10 + "30 20 0 0 20 0 1 0 " + f"{start} 0 0\n")
    (process / "io").write_text("rchar: 1\n")
    return tmp_path / "proc"


def test_a_kept_file_is_read_anew_each_time(files: Files) -> None:
    first = files.proc("uptime")
    descriptors = files.kept
    while files.proc("uptime") == first:
        time.sleep(0.001)
    assert files.kept == descriptors == 1


def test_a_file_longer_than_the_buffer_is_read_whole(files: Files) -> None:
    for _ in range(3):
        smaps = files.file("/proc/self/smaps").read()
        assert smaps is not None and len(smaps) > 8192
        assert smaps.count(b"VmFlags:") == smaps.count(b"\nSize:") and smaps.endswith(b"\n")


def test_a_file_that_is_not_there_is_gone(files: Files) -> None:
    assert files.proc("no/such/file") is None
    assert files.proc("stat/below/a/file") is None


def test_permission_denied_is_an_error_with_the_path(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object, **__: object) -> int:
        raise PermissionError(EACCES, "denied")

    monkeypatch.setattr("proxtop.kernel.files.os.open", deny)
    with pytest.raises(FileError) as caught:
        files.file("/proc/1/io").read()
    assert (caught.value.path, caught.value.errno) == ("/proc/1/io", EACCES)
    assert str(caught.value) == "/proc/1/io: Permission denied"
    monkeypatch.undo()


def test_what_is_no_kernel_file_system_is_opened_each_time(tmp_path: Path) -> None:
    files = Files(str(tree(tmp_path)), str(tmp_path))
    path = tmp_path / "proc" / "stat"
    for text in (b"one", b"two"):
        path.unlink(missing_ok=True)
        path.write_bytes(text)
        assert files.proc("stat") == text
    path.unlink()
    assert files.proc("stat") is None
    assert files.kept == 0


def test_past_the_budget_files_are_opened_each_time() -> None:
    files = Files(budget=4)
    for name in ("stat", "uptime", "loadavg", "meminfo", "diskstats", "stat"):
        assert files.proc(name)
    assert files.kept == 3
    files.close()


def test_the_limit_of_descriptors_is_raised(files: Files) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_process_is_known_by_its_start(files: Files) -> None:
    start = start_of(os.getpid())
    process = files.process(os.getpid(), start)
    assert process is not None and process is files.process(os.getpid(), start)
    assert files.process(os.getpid(), start + 1) is None


def test_all_of_a_process_is_closed_when_it_ends(files: Files, child: subprocess.Popen[str]) -> None:
    process = files.process(child.pid, start_of(child.pid))
    assert process is not None
    assert process.read("stat") and process.read("io") and process.read(f"task/{child.pid}/schedstat")
    child.kill()
    child.wait()
    assert process.read(f"task/{child.pid}/schedstat") is None
    assert process.gone and files.kept == 0
    assert process.read("stat") is None and process.ticks_ns() is None
    assert not [name for name in open_descriptors() if name.startswith(f"/proc/{child.pid}")]


def test_a_thread_that_ends_takes_nothing_else_along(files: Files) -> None:
    process = files.process(os.getpid(), start_of(os.getpid()))
    assert process is not None
    assert process.read("task/1/schedstat") is None
    assert not process.gone and process.read("stat")


def test_threads_that_left_are_closed(files: Files) -> None:
    process = files.process(os.getpid(), start_of(os.getpid()))
    assert process is not None
    name = f"task/{os.getpid()}/schedstat"
    process.read(name)
    kept = files.kept
    process.retain("task/", [name])
    assert files.kept == kept
    process.retain("task/", [])
    assert files.kept == kept - 1


def test_processes_that_left_the_inventory_are_closed(files: Files, child: subprocess.Popen[str]) -> None:
    own = files.process(os.getpid(), start_of(os.getpid()))
    other = files.process(child.pid, start_of(child.pid))
    assert own is not None and other is not None
    other.read("io")
    files.keep({own.start << 22 | own.pid})
    assert other.gone and not own.gone


def test_a_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    procfs = tree(tmp_path)
    files = Files(str(procfs), str(tmp_path))
    process = files.process(7, 99)
    assert process is not None and process.read("io") == b"rchar: 1\n"
    shutil.rmtree(procfs / "7")
    tree(tmp_path, start=100)
    assert process.read("io") is None and process.gone
    assert files.process(7, 99) is None
    assert files.process(7, 100) is not None
    files.close()


def test_a_process_whose_stat_is_not_one_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    procfs = tree(tmp_path)
    (procfs / "7" / "stat").write_text("nonsense")
    files = Files(str(procfs), str(tmp_path))
    with pytest.raises(ParseError):
        files.process(7, 99)
    assert files.kept == 0


def test_the_process_clock_counts_threads_that_ended(files: Files, child: subprocess.Popen[str]) -> None:
    process = files.process(child.pid, start_of(child.pid))
    assert files.local and process is not None
    ns = process.clock_ns()
    text = process.read("stat")
    assert ns is not None and text is not None
    assert ns >= 200_000_000
    assert abs(ns - parse_ticks(text) * 10_000_000) <= 30_000_000
    living = process.read(f"task/{child.pid}/schedstat")
    assert living is not None and int(living.split()[0]) < ns - 150_000_000


def test_another_hosts_proc_has_ticks_for_a_clock(tmp_path: Path) -> None:
    files = Files(str(tree(tmp_path)), str(tmp_path))
    process = files.process(7, 99)
    assert not files.local and process is not None
    assert process.clock_ns() is None and process.ticks_ns() == 500_000_000
    files.close()


def test_this_machines_sys_is_not_believed_beside_another_hosts_proc(tmp_path: Path) -> None:
    procfs = str(tree(tmp_path))
    assert Files(procfs).sysfs is None
    assert Files(procfs).sys("kernel/uevent_seqnum") is None
    assert Files(procfs, str(tmp_path)).sysfs == str(tmp_path)
    assert Files().sysfs == "/sys"


def test_the_node_is_the_name_given_or_the_hosts_own(tmp_path: Path) -> None:
    procfs = tree(tmp_path)
    assert Files(str(procfs)).node is None
    (procfs / "sys" / "kernel").mkdir(parents=True)
    (procfs / "sys" / "kernel" / "hostname").write_text("hv9\n")
    assert (Files(str(procfs)).node, Files(str(procfs)).named) == ("hv9", False)
    assert (Files(str(procfs), node="n1").node, Files(str(procfs), node="n1").named) == ("n1", True)


def test_a_memory_is_made_once_and_per_kind(files: Files) -> None:
    kinds: list[Callable[[], object]] = [dict, list]
    assert files.memory(dict) is files.memory(dict)
    assert [type(files.memory(kind)) for kind in (dict, list)] == kinds
