"""A QMP session ends in time whatever is at the other end, and asks nothing that is not allowed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.connectors import qmp
from proxtop.connectors.monitors import parse_blockstats, parse_sizes
from proxtop.connectors.qmp import Query, Session, guest_stats

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
BALLOON = Query("query-balloon")
STATS = Query("query-blockstats")

Behaviour = Callable[[socket.socket, threading.Event], None]
Server = Callable[[Behaviour], str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Starts monitors that behave as told; ends them with the test."""
    over = threading.Event()
    running: list[tuple[socket.socket, threading.Thread]] = []

    def start(behaviour: Behaviour) -> str:
        path = str(tmp_path / f"{len(running)}.qmp")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    behaviour(client, over)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        running.append((listener, thread))
        return path

    yield start
    over.set()
    for listener, thread in running:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def commands(client: socket.socket, count: int) -> Iterator[dict[str, object]]:
    with client.makefile("rb") as lines:
        for _ in range(count):
            yield json.loads(lines.readline())


def well(client: socket.socket, over: threading.Event, chunk: int = 1 << 20) -> None:
    """As QEMU: events in between, an error for the balloon."""
    client.sendall(GREETING)
    for message in commands(client, 3):
        answer: dict[str, object] = {"id": message["id"], "return": []}
        if message["execute"] == "query-balloon":
            answer = {"id": message["id"], "error": {"class": "DeviceNotActive", "desc": "No balloon device"}}
        text = b'{"event": "RTC_CHANGE", "timestamp": {}}\r\n' + json.dumps(answer).encode() + b"\r\n"
        for place in range(0, len(text), chunk):
            client.sendall(text[place : place + chunk])
    over.wait(0.5)


def silent(client: socket.socket, over: threading.Event) -> None:
    over.wait(5)


def greeting_only(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING)
    over.wait(5)


def half_a_message(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING + b'{"return": {}, "id": -1}\r\n{"retu')
    over.wait(5)


def garbage(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"\x00\xff not json\n")
    over.wait(5)


def deep(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING + b'{"return":' * 20_000 + b"\n")
    over.wait(5)


def wrong_id(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING + b'{"return": {}, "id": 77}\n')
    over.wait(5)


def closes(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING)


def endless(client: socket.socket, over: threading.Event) -> None:
    client.sendall(GREETING)
    while not over.is_set():
        client.sendall(b"x" * 65536)


def ask(path: str, timeout: float = 0.3) -> Session:
    (session,) = qmp.run([Session(path, [STATS, BALLOON])], timeout, time.monotonic() + 5)
    return session


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_replies_are_found_however_they_are_cut_and_an_error_costs_only_its_own(server: Server, chunk: int) -> None:
    session = ask(server(lambda client, over: well(client, over, chunk)), 2)
    assert session.failure is None
    assert session.replies == {STATS: []}
    assert session.errors == {BALLOON: "No balloon device"}


@pytest.mark.parametrize(
    ("behaviour", "text", "busy"),
    [
        (silent, "no answer within 0.3 s", True),
        (greeting_only, "no answer within 0.3 s", True),
        (half_a_message, "no answer within 0.3 s", True),
        (garbage, "what answers speaks no QMP", False),
        (deep, "what answers speaks no QMP", False),
        (wrong_id, "an answer to nobody's question", False),
        (closes, "QEMU closed the monitor", False),
    ],
)
def test_a_bad_monitor_is_a_failure_in_words_and_in_time(
    server: Server, behaviour: Behaviour, text: str, busy: bool
) -> None:
    begun = time.monotonic()
    session = ask(server(behaviour))
    assert (session.failure, session.busy) == (text, busy)
    assert time.monotonic() - begun < 0.6


def test_an_endless_answer_is_given_up(server: Server) -> None:
    assert ask(server(endless), 2).failure in ("an answer without end", "no answer within 2 s")


def test_hanging_monitors_do_not_delay_the_others(server: Server) -> None:
    paths = [server(silent) for _ in range(5)] + [server(well) for _ in range(5)]
    sessions = [Session(path, [STATS, BALLOON]) for path in paths]
    begun = time.monotonic()
    done = qmp.run(sessions, 0.4, begun + 1, concurrent=8)
    assert time.monotonic() - begun < 0.9
    assert [session.failure is None for session in sessions] == [False] * 5 + [True] * 5
    assert len(done) == 10


def test_few_sockets_are_held_at_a_time_but_slow_monitors_hold_up_nobody_for_long(server: Server) -> None:
    slow = [Session(server(silent), [BALLOON]) for _ in range(qmp.PROMPT)]
    prompt = Session(server(well), [BALLOON, STATS])
    qmp.run([*slow, prompt], 1.0, time.monotonic() + 5)
    assert prompt.failure is None
    assert prompt.begun - max(session.begun for session in slow) >= qmp.PROMPT_S
    assert prompt.ended < min(session.ended for session in slow)


def test_a_full_queue_is_busy_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        clients = []
        try:
            for _ in range(8):
                client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                clients.append(client)
                client.connect(path)
        except BlockingIOError:
            pass
        begun = time.monotonic()
        session = ask(path)
        assert (session.busy, session.failure) == (True, "somebody else has the monitor")
        assert time.monotonic() - begun < 0.1
        for client in clients:
            client.close()


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/" + "x" * 200])
def test_no_socket_is_a_failure(path: str) -> None:
    assert ask(path).failure


@pytest.mark.parametrize("command", ["quit", "system_reset", "qom-set", "human-monitor-command", "qom-get", "balloon"])
def test_what_could_change_a_vm_can_not_be_said(command: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        Query(command)
    with pytest.raises(ValueError, match="not allowed"):
        Query("qom-get", (("path", "/x"), ("property", "realized")))
    assert guest_stats("/x").command == "qom-get"


def test_blockstats_are_told_by_drive_device_or_node() -> None:
    stats = {"rd_operations": 1, "rd_bytes": 2, "rd_total_time_ns": 3, "flush_operations": -1, "wr_bytes": "x"}
    reply = [
        {"device": "drive-scsi0", "stats": stats},
        {"device": "", "qdev": "/machine/peripheral/virtio1/virtio-backend", "stats": stats},
        {"device": "", "qdev": "scsi2", "stats": stats},
        {"device": "", "node-name": "drive-sata3", "stats": stats},
        {"device": "drive-ide2", "stats": stats},
        "junk",
    ]
    rows = parse_blockstats(reply, ["scsi0", "virtio1", "scsi2", "sata3"])
    assert list(rows) == ["scsi0", "virtio1", "scsi2", "sata3"]
    assert rows["scsi0"] == (1, 2, 3, None, None, None, None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["device", "qdev", "stats", "inserted", "image", "node-name"]), inner)
    ),
)


@given(JSON)
def test_no_reply_is_a_crash(reply: object) -> None:
    parse_blockstats(reply, ["a"])
    parse_sizes(reply, ["a"])


@pytest.mark.parametrize(
    ("actual", "allocation"), [({"actual-size": 4096}, 4096), ({"actual-size": 0}, None), ({}, None)]
)
def test_a_size_of_nothing_is_not_taken_for_one(actual: dict[str, int], allocation: int | None) -> None:
    """QEMU says 0 of every block device, and nothing of network storage that can't tell."""
    image = {"filename": "/dev/pve/vm-100-disk-0", "virtual-size": 1 << 30, **actual}
    reply = [{"device": "drive-scsi0", "inserted": {"image": image}}]
    assert parse_sizes(reply, ["scsi0"]) == {"scsi0": (1 << 30, allocation, None)}
