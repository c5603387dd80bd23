"""Files read together: as each by itself, whatever was closed, ended or grew meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxtop.kernel.batch import Batch
from proxtop.kernel.errors import FileError
from proxtop.kernel.files import Files, Process
from proxtop.kernel.pid_stat import parse_start


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files.close()
    assert files.kept == 0


def process_of(files: Files, pid: int) -> Process:
    process = files.process(pid, parse_start(Path(f"/proc/{pid}/stat").read_bytes()))
    assert process is not None
    return process


def test_a_pass_has_each_processes_clock_and_says_what_each_file_says(files: Files) -> None:
    own = process_of(files, os.getpid())
    names = ("comm", "cgroup", f"task/{os.getpid()}/comm")
    batch = Batch(files, [(own, [own.file(name) for name in names]), (None, [files.file("/proc/version")])])
    before = own.clock_ns()
    for _ in range(3):
        clocks, texts = batch.read()
        assert texts == [*(own.read(name) for name in names), Path("/proc/version").read_bytes()]
        after = own.clock_ns()
        assert clocks[1] is None and clocks[0] is not None and before is not None and after is not None
        assert before <= clocks[0] <= after


def test_a_descriptor_that_was_closed_and_used_again_is_not_read_for_the_old_file(files: Files) -> None:
    batch = Batch(files, [(None, [files.file("/proc/version"), files.file("/proc/sys/kernel/ostype")])])
    expected = batch.read()
    descriptor = files.file("/proc/version").descriptor
    files.file("/proc/version").close()
    other = os.open("/proc/loadavg", os.O_RDONLY)
    try:
        assert other == descriptor
        assert batch.read() == expected
        assert batch.read() == expected
    finally:
        os.close(other)


def test_what_is_gone_is_none_and_the_rest_is_read_all_the_same(files: Files) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ended, own = process_of(files, child.pid), process_of(files, os.getpid())
        batch = Batch(files, [(one, [one.file("schedstat"), one.file("comm")]) for one in (ended, own)])
        assert all(batch.read()[1])
        child.kill()
    for _ in range(2):
        _, texts = batch.read()
        assert texts[:2] == [None, None] and texts[2] and texts[3] == own.read("comm")
    assert ended.gone


def test_what_cannot_be_read_is_its_error(files: Files) -> None:
    batch = Batch(files, [(None, [files.file("/proc/self/mem"), files.file("/proc/version")])])
    _, (mem, version) = batch.read()
    assert isinstance(mem, FileError) and mem.path == "/proc/self/mem" and version


def test_a_file_of_any_length_is_read_whole(files: Files) -> None:
    batch = Batch(files, [(None, [files.file("/proc/self/smaps"), files.file("/proc/version")])])
    for _ in range(3):
        _, (smaps, version) = batch.read()
        assert isinstance(smaps, bytes) and len(smaps) > 8192 and smaps.endswith(b"\n") and version


def test_a_file_that_grows_is_read_whole(files: Files) -> None:
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(select.epoll())
        info = Path(f"/proc/self/fdinfo/{waiting.fileno()}")  # a line for each descriptor that it watches
        batch = Batch(files, [(None, [files.file(str(info)), files.file("/proc/sys/kernel/ostype")])])
        for _ in range(12):
            assert batch.read()[1] == [info.read_bytes(), b"Linux\n"]
            waiting.register(stack.enter_context(socket.socket()))
        assert len(info.read_bytes()) > 512


def test_what_is_no_kernel_file_system_is_opened_each_time(tmp_path: Path) -> None:
    files = Files(str(tmp_path), str(tmp_path))
    path = tmp_path / "stat"
    batch = Batch(files, [(None, [files.file(str(path))])])
    for text in (b"one", b"two"):
        path.unlink(missing_ok=True)
        path.write_bytes(text)
        assert batch.read() == ([None], [text])
    assert files.kept == 0
