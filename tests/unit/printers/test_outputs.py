"""Sinks that are absent, slow, full, moved or dying: records arrive whole, or their loss is counted; nobody waits."""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxtop.options import Options
from proxtop.printers.outputs import Output, SinkClosed, create
from proxtop.printers.sinks import FileSink, Record, ReplaceSink, Sink, StreamSink, TcpSink, UdpSink

SOON = 10.0


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


class Bench:
    """Outputs with short pauses, closed at the end, and what they reported."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._outputs: list[Output] = []

    def output(self, sink: Sink, **bounds: int) -> Output:
        output = Output(
            sink,
            report=self.said.append,
            jitter=lambda: 0.0,
            first_pause=0.02,
            **bounds,  # type: ignore[arg-type]
        )
        self._outputs.append(output)
        return output

    def close(self) -> None:
        for output in self._outputs:
            output.close()
            assert output._thread is None, "the output's thread hangs"


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def record(number: int, size: int = 0) -> bytes:
    return json.dumps({"n": number, "pad": "x" * size}).encode() + b"\n"


def numbers(data: bytes) -> list[int]:
    """The numbers of the whole records; what is no record fails."""
    return [json.loads(line)["n"] for line in data.splitlines()]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listen(port: int = 0) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(SOON)
    return server


def read_all(connection: socket.socket, *, lines: int) -> bytes:
    connection.settimeout(SOON)
    data = b""
    while data.count(b"\n") < lines:
        chunk = connection.recv(1 << 20)
        assert chunk, f"closed after {data.count(10)} lines"
        data += chunk
    return data


# --- file


def test_a_file_is_appended_to_with_a_header_each_time_it_is_opened(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    output = bench.output(FileSink(str(path)))
    for number in range(3):
        output.offer(b"%d\n" % number, b"head\n")
    assert output.flush(SOON)
    assert path.read_bytes() == b"before\nhead\n0\n1\n2\n"


def test_a_changed_header_comes_before_its_records(bench: Bench, tmp_path: Path) -> None:
    output = bench.output(FileSink(str(tmp_path / "log")))
    for header in (b"a\n", b"a\n", b"b\n"):
        output.offer(b"1\n", header)
    assert output.flush(SOON)
    assert (tmp_path / "log").read_bytes() == b"a\n1\n1\nb\n1\n"


def test_a_new_file_is_readable_for_all(bench: Bench, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        output = bench.output(FileSink(str(tmp_path / "log")))
        output.offer(b"1\n")
        assert output.flush(SOON)
    finally:
        os.umask(old)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("rotation", ["renamed", "deleted", "replaced", "truncated"])
def test_a_log_may_be_rotated(bench: Bench, tmp_path: Path, rotation: str) -> None:
    path = tmp_path / "log"
    output = bench.output(FileSink(str(path)))
    output.offer(b"first record\n", b"head\n")
    assert output.flush(SOON)
    if rotation == "truncated":
        shutil.copy(path, tmp_path / "log.1")
        os.truncate(path, 0)
    else:
        path.rename(tmp_path / "log.1")
        if rotation == "deleted":
            (tmp_path / "log.1").unlink()
        if rotation == "replaced":
            path.touch()
    output.offer(b"second\n", b"head\n")
    assert output.flush(SOON)
    assert path.read_bytes() == b"head\nsecond\n"
    if rotation != "deleted":
        assert (tmp_path / "log.1").read_bytes() == b"head\nfirst record\n"
    assert bench.said == []


def test_a_directory_that_is_not_there_yet_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    output = bench.output(FileSink(str(path)))
    for number in range(3):
        output.offer(record(number))
    assert not output.flush(0.1)
    path.parent.mkdir()
    assert output.flush(SOON)
    assert numbers(path.read_bytes()) == [0, 1, 2]
    assert [line.partition(": ")[2] for line in bench.said] == [
        "No such file or directory; cycles are kept and sent when it takes them again",
        "takes cycles again",
    ]


def test_a_full_device_holds_up_nobody_and_is_counted(bench: Bench) -> None:
    output = bench.output(FileSink("/dev/full"), max_records=5)
    start = time.monotonic()
    for number in range(20):
        output.offer(record(number))
    assert time.monotonic() - start < 1
    until(lambda: output.dropped >= 14)
    until(lambda: len(bench.said) == 2)
    assert "No space left on device" in "".join(bench.said)
    assert not output.flush(0)


def test_a_record_cut_by_a_full_disk_goes_on_where_it_stopped(bench: Bench, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs can't be mounted here")
    try:
        output = bench.output(FileSink(str(tmp_path / "log")))
        (tmp_path / "ballast").write_bytes(b"x" * 40_000)
        for number in range(3):
            output.offer(record(number, 15_000))
        until(lambda: bench.said)
        assert not output.flush(0.05)
        (tmp_path / "ballast").unlink()
        assert output.flush(SOON)
        assert numbers((tmp_path / "log").read_bytes()) == [0, 1, 2]
        bench.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_record_cut_by_a_full_disk_begins_anew_in_a_file_that_was_emptied(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(record(0, 5000))
    sink = FileSink(str(path))
    cut = Record(b"", (record(1, 5000),))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            sink.write(cut)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    os.truncate(path, 0)
    sink.write(cut)
    sink.close()
    assert numbers(path.read_bytes()) == [1]


# --- a file replaced whole


def test_a_prometheus_file_is_always_whole_and_the_newest(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "proxtop.prom"
    output = bench.output(ReplaceSink(str(path)), max_records=1)
    path.write_bytes(record(0, 50_000))
    stop = threading.Event()
    torn: list[bytes] = []

    def watch() -> None:
        while not stop.is_set():
            data = path.read_bytes()
            try:
                json.loads(data)
            except ValueError:
                torn.append(data)

    reader = threading.Thread(target=watch)
    reader.start()
    for number in range(200):
        output.offer(record(number, 50_000))
        if number % 10 == 0:
            output.flush(SOON)
    assert output.flush(SOON)
    stop.set()
    reader.join()
    assert torn == []
    assert numbers(path.read_bytes()) == [199]
    assert path.stat().st_mode & 0o777 == 0o644
    assert [child.name for child in tmp_path.iterdir()] == ["proxtop.prom"]
    assert bench.said == []


def test_only_the_newest_is_written_after_a_failure(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "later" / "x.prom"
    output = bench.output(ReplaceSink(str(path)), max_records=1)
    for number in range(5):
        output.offer(record(number))
    until(lambda: bench.said)
    path.parent.mkdir()
    assert output.flush(SOON)
    assert numbers(path.read_bytes()) == [4]


def test_a_device_is_written_and_never_replaced(bench: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        output = bench.output(ReplaceSink(str(fifo)))
        output.offer(b"1\n")
        assert output.flush(SOON)
        assert os.read(reader, 10) == b"1\n"
        assert fifo.is_fifo()
    finally:
        os.close(reader)


def test_a_link_stays_a_link(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "x.prom"
    link.symlink_to(tmp_path / "real" / "x.prom")
    output = bench.output(ReplaceSink(str(link)))
    output.offer(b"1\n")
    assert output.flush(SOON)
    assert link.is_symlink()
    assert link.read_bytes() == b"1\n"


def test_a_directory_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and setpriv is not there to be somebody else")
    target = "/proc/proxtop.prom"  # no file can be made there, not even by root
    said: list[str] = []
    output = Output(ReplaceSink(target), report=said.append, first_pause=0.02)
    output.offer(b"1\n")
    until(lambda: said)
    assert not output.flush(0)
    output.close()
    assert target in said[0]


# --- stdout


def test_a_reader_that_left_ends_the_output(bench: Bench) -> None:
    reader, writer = os.pipe()
    output = bench.output(StreamSink(writer, "stdout"))
    output.offer(b"1\n", b"head\n")
    assert output.flush(SOON)
    assert os.read(reader, 100) == b"head\n1\n"
    os.close(reader)
    output.offer(b"2\n")
    assert select.select([output.fileno()], [], [], SOON)[0]
    assert not output.flush(SOON)
    with pytest.raises(SinkClosed):
        output.offer(b"3\n")
    assert bench.said == []
    os.close(writer)


def test_a_pipe_that_nobody_reads_holds_up_nobody(bench: Bench) -> None:
    reader, writer = os.pipe()
    output = bench.output(StreamSink(writer, "stdout"), max_records=3)
    start = time.monotonic()
    for number in range(50):
        output.offer(record(number, 30_000))
        time.sleep(0.001)
    assert time.monotonic() - start < 2
    assert output.dropped > 0
    assert "takes too little" in bench.said[0]
    data = b""
    done = threading.Event()
    waiter = threading.Thread(target=lambda: output.flush(SOON) and done.set())
    waiter.start()
    while not done.is_set() or select.select([reader], [], [], 0)[0]:
        if select.select([reader], [], [], 0.01)[0]:
            data += os.read(reader, 1 << 16)
    waiter.join()
    seen = numbers(data)
    assert seen == sorted(set(seen))
    assert seen[-1] == 49
    assert len(seen) + output.dropped == 50
    until(lambda: "keeps up again" in bench.said[-1])
    if len(bench.said) == 2:
        assert bench.said[1] == f"stdout: keeps up again, {output.dropped} cycles were dropped"
    assert os.get_blocking(writer), "stdout is shared: its mode is not ours"
    os.close(reader)
    os.close(writer)


def test_a_stuck_pipe_does_not_hinder_the_end(bench: Bench) -> None:
    reader, writer = os.pipe()
    output = bench.output(StreamSink(writer, "stdout"))
    output.offer(b"x" * 1_000_000)
    assert not output.flush(0.05)
    start = time.monotonic()
    output.close()
    assert time.monotonic() - start < 0.5
    os.close(reader)
    os.close(writer)


def test_a_closed_stdout_ends_the_output(bench: Bench) -> None:
    output = bench.output(StreamSink(1 << 20, "stdout"))  # a descriptor that is not open
    output.offer(b"1\n")
    assert not output.flush(SOON)


# --- tcp


def test_a_listener_that_comes_late_gets_every_cycle(bench: Bench) -> None:
    port = free_port()
    output = bench.output(TcpSink("127.0.0.1", port))
    for number in range(10):
        output.offer(record(number), b'{"n": -1}\n')
    until(lambda: bench.said)
    with listen(port) as server:
        connection, _ = server.accept()
        with connection:
            assert numbers(read_all(connection, lines=11)) == [-1, *range(10)]
            assert output.flush(SOON)
    assert len(bench.said) == 2
    assert "refused" in bench.said[0]


@pytest.mark.slow
def test_a_listener_that_dies_in_a_record_gets_it_whole_on_the_next_connection(bench: Bench) -> None:
    with listen() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        output = bench.output(TcpSink("127.0.0.1", server.getsockname()[1]))
        big = 8_000_000
        output.offer(record(0, big), b'{"n": -1}\n')
        output.offer(record(1))
        first, _ = server.accept()
        first.settimeout(SOON)
        assert first.recv(1000).startswith(b'{"n": -1}\n{"n": 0')
        first.close()
        second, _ = server.accept()
        with second:
            assert numbers(read_all(second, lines=3)) == [-1, 0, 1]
    assert output.dropped == 0


def test_what_a_dead_listener_never_acknowledged_is_sent_again(bench: Bench) -> None:
    with listen() as server:
        output = bench.output(TcpSink("127.0.0.1", server.getsockname()[1]))
        output.offer(record(0))
        first, _ = server.accept()
        assert numbers(read_all(first, lines=1)) == [0]
        first.close()
        output.offer(record(1))
        output.offer(record(2))
        second, _ = server.accept()
        with second:
            assert numbers(read_all(second, lines=2)) == [1, 2]
            assert output.flush(SOON)


def test_a_reader_that_closed_its_own_way_is_served_on(bench: Bench) -> None:
    with listen() as server:
        output = bench.output(TcpSink("127.0.0.1", server.getsockname()[1]))
        output.offer(record(0))
        connection, _ = server.accept()
        with connection:
            connection.send(b"hello\n")
            connection.shutdown(socket.SHUT_WR)
            for number in (1, 2):
                output.offer(record(number))
            assert numbers(read_all(connection, lines=3)) == [0, 1, 2]
    assert bench.said == []


def test_a_listener_that_never_reads_holds_up_nobody(bench: Bench) -> None:
    with listen() as server:
        output = bench.output(TcpSink("127.0.0.1", server.getsockname()[1]), max_bytes=2_000_000)
        output.offer(record(0))
        connection, _ = server.accept()
        with connection:
            slowest = 0.0
            for number in range(1, 200):
                start = time.monotonic()
                output.offer(record(number, 100_000))
                slowest = max(slowest, time.monotonic() - start)
            assert slowest < 0.2
            until(lambda: output.dropped)
            assert not output.flush(0.05)
            connection.settimeout(SOON)
            data = b""
            while b'"n": 199,' not in data[-300_000:] or not data.endswith(b"\n"):
                data += connection.recv(1 << 20)
            seen = numbers(data)
            assert seen == sorted(set(seen))
            assert len(seen) + output.dropped == 200
            until(lambda: "keeps up again" in bench.said[-1])
            assert output.flush(SOON)


def test_the_end_delivers_what_a_reset_took(bench: Bench) -> None:
    """A run ends just as its listener restarts: flush finds out, and brings the last cycle to the new one."""
    with listen() as server:
        output = bench.output(TcpSink("127.0.0.1", server.getsockname()[1]))
        output.offer(record(0))
        first, _ = server.accept()
        assert numbers(read_all(first, lines=1)) == [0]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        first.close()
        output.offer(record(1))
        waiter = threading.Thread(target=output.flush, args=(SOON,))
        waiter.start()
        second, _ = server.accept()
        with second:
            assert numbers(read_all(second, lines=1)) == [1]
        waiter.join()


def test_an_unknown_host_is_waited_for(bench: Bench) -> None:
    output = bench.output(TcpSink("no-such-host.invalid", 5000))
    start = time.monotonic()
    output.offer(record(0))
    assert time.monotonic() - start < 0.2
    until(lambda: bench.said)
    assert not output.flush(0)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_connection_to_itself_is_none(kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlucky(socket.socket):  # the kernel may choose the very port that is asked for, if nobody listens on it
        def connect_ex(self, address: tuple[str, int], /) -> int:  # type: ignore[override]
            self.bind(address)
            return super().connect_ex(address)

    sink = (TcpSink if kind == socket.SOCK_STREAM else UdpSink)("127.0.0.1", free_port(kind))
    monkeypatch.setattr(socket, "socket", Unlucky)
    with pytest.raises(ConnectionRefusedError):
        sink.write(Record(b"", (record(0),)))
    sink.close()


def test_a_kernel_without_ipv6_hides_no_other_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [(family, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port())) for family in (socket.AF_INET, -1)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: known)
    sink = TcpSink("localhost", 5000)
    with pytest.raises(ConnectionRefusedError):
        sink.write(Record(b"", (record(0),)))
    known.reverse()
    with pytest.raises(ConnectionRefusedError):
        sink.write(Record(b"", (record(0),)))
    sink.close()


def test_without_a_descriptor_left_that_is_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(OSError, match="Too many open files"):
        TcpSink("127.0.0.1", 5000).write(Record(b"", (record(0),)))


def test_ipv6_is_served(bench: Bench) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        output = bench.output(TcpSink("::1", server.getsockname()[1]))
        output.offer(record(0))
        connection, _ = server.accept()
        with connection:
            assert numbers(read_all(connection, lines=1)) == [0]


# --- udp


def test_datagrams_are_whole_pieces(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SOON)
        output = bench.output(UdpSink("127.0.0.1", server.getsockname()[1]))
        output.offer([record(0), record(1, 60_000)], b"head\n")
        output.offer([record(2)], b"head\n")
        got = [server.recv(70_000) for _ in range(4)]
    assert got[0] == b"head\n"
    assert numbers(b"".join(got[1:])) == [0, 1, 2]


def test_refused_datagrams_are_kept(bench: Bench) -> None:
    port = free_port(socket.SOCK_DGRAM)
    output = bench.output(UdpSink("127.0.0.1", port))
    for number in range(3):
        output.offer([record(number)])
    until(lambda: bench.said)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.settimeout(SOON)
        assert [numbers(server.recv(70_000)) for _ in range(3)] == [[0], [1], [2]]
        assert output.flush(SOON)
    assert "refused" in bench.said[0]


def test_what_no_datagram_can_hold_is_counted_and_the_rest_goes_on(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SOON)
        output = bench.output(UdpSink("127.0.0.1", server.getsockname()[1]))
        output.offer([record(0, 70_000)])
        output.offer([record(1)])
        assert numbers(server.recv(70_000)) == [1]
        assert output.flush(SOON)
    assert output.dropped == 1
    assert "datagram" in bench.said[0]


# --- all


def test_a_run_that_delivered_everything_is_complete(bench: Bench, tmp_path: Path) -> None:
    output = bench.output(FileSink(str(tmp_path / "log")))
    output.offer(b"1\n")
    assert output.flush(SOON)
    output.close()
    output.close()
    assert not output.incomplete
    assert bench.said == []


@pytest.mark.parametrize(("count", "lost"), [(1, "1 cycle was dropped"), (3, "3 cycles were dropped")])
def test_what_was_not_delivered_is_told_and_counted(bench: Bench, tmp_path: Path, count: int, lost: str) -> None:
    output = bench.output(FileSink(str(tmp_path / "no" / "log")))
    for number in range(count):
        output.offer(record(number))
    until(lambda: bench.said)
    assert not output.flush(0)
    output.close()
    assert output.incomplete
    assert bench.said[-1] == f"{tmp_path}/no/log: closed, {lost}"


def test_a_file_replaced_whole_lacks_only_its_last_cycle(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "later" / "x.prom"
    output = bench.output(ReplaceSink(str(path)), max_records=1)
    for number in range(5):
        output.offer(record(number))
    until(lambda: bench.said)
    path.parent.mkdir()
    assert output.flush(SOON)
    path.unlink()
    path.parent.rmdir()
    output.offer(record(5))
    until(lambda: "No such file" in bench.said[-1])
    output.close()
    assert output.incomplete
    assert bench.said[-1] == f"{path}: closed without the last cycle"


def test_older_cycles_of_a_file_replaced_whole_are_no_loss(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "later" / "x.prom"
    output = bench.output(ReplaceSink(str(path)), max_records=1)
    for number in range(5):
        output.offer(record(number))
    until(lambda: bench.said)
    path.parent.mkdir()
    assert output.flush(SOON)
    output.close()
    assert output.dropped == 4
    assert not output.incomplete


def test_a_peer_that_acknowledges_nothing_is_not_taken_for_a_delivery(bench: Bench) -> None:
    class Silent(FileSink):
        def confirm(self) -> bool:
            return False

    output = bench.output(Silent("/dev/null"))
    output.offer(record(0))
    assert not output.flush(0.1)
    output.close()
    assert output.incomplete
    assert bench.said == ["/dev/null: closed before all was known to have arrived"]


def test_nothing_is_made_before_the_first_record(tmp_path: Path) -> None:
    threads = threading.active_count()
    output = create(Options(output="file", target=str(tmp_path / "log")))
    assert output.flush(None)
    output.close()
    assert threading.active_count() == threads
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (Options(), None),
        (Options(output="file", target="x"), None),
        (Options(output="file", target="x", printer="prometheus"), None),
        (Options(output="tcp", target="[::1]:5"), None),
        (Options(output="udp", target="h:5"), 65507),
    ],
)
def test_each_output_is_made_from_its_options(options: Options, limit: int | None) -> None:
    output = create(options)
    assert output.limit == limit
    output.close()


def test_a_pipeline_that_takes_its_first_lines_ends_quietly() -> None:
    program = (
        "import sys, itertools\n"
        "from proxtop.options import Options\n"
        "from proxtop.printers.outputs import SinkClosed, create\n"
        "output = create(Options())\n"
        "try:\n"
        "    for n in itertools.count():\n"
        "        output.offer(b'%d\\n' % n, b'head\\n')\n"
        "        output.flush(None)\n"
        "except SinkClosed:\n"
        "    sys.exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"head\n"
        process.stdout.close()
        try:
            assert process.wait(SOON) == 0
            assert process.stderr.read() == b""
        finally:
            with suppress(ProcessLookupError):
                process.kill()
