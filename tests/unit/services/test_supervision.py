"""The parts of proxtopd's supervision that need no fleet."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from proxtop.model import Stamp, Status
from proxtop_agg import config
from proxtop_agg.keeper import Keeper
from proxtopd import configuration, notify, report, supervise
from proxtopd.actor import Actor
from proxtopd.configuration import ConfigurationError
from proxtopd.crew import pause
from proxtopd.report import BACKOFF, RUNNING, Record


def test_pauses_grow_to_a_minute_and_stay_there() -> None:
    assert [pause(failures) for failures in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert pause(1_000_000) == 60


def _beat(pid: int, state: str = "running", reason: str | None = None) -> tuple[Stamp, Status]:
    return Stamp("n", 1, 1, 1_000_000, 1.0, 1.0), Status("x", state, pid, 1.0, 0.002, 3, 4, reason)


def _info(*records: Record) -> dict[str, object]:
    info: dict[str, object] = {"workers": ",".join(record.name for record in records)}
    for record in records:
        info.update(record.info())
    return info


def test_a_row_joins_what_supervision_knows_with_the_workers_own_word() -> None:
    cpu = Record("cpu", "someone", os.getpid(), RUNNING, since=10.0, restarts=2)
    io = Record("io", "someone", None, BACKOFF, reason="ended 3 times in a row")
    mem = Record("mem", "someone", 999_999_999, RUNNING)
    beats = {"cpu": _beat(os.getpid(), "degraded", "why"), "mem": _beat(1), "io": _beat(1)}
    rows = {row["worker"]: row for row in report.rows(_info(cpu, io, mem), beats)}  # type: ignore[arg-type]
    assert list(rows) == ["cpu", "io", "mem"]
    assert (rows["cpu"]["state"], rows["cpu"]["reason"], rows["cpu"]["drops"]) == ("degraded", "why", 3)
    assert rows["cpu"]["memory"] > 1000 and rows["cpu"]["cost"] == 0.002
    assert (rows["io"]["state"], rows["io"]["reason"], rows["io"]["drops"]) == (BACKOFF, "ended 3 times in a row", None)
    # the word of a process that was before tells nothing of this one
    assert (rows["mem"]["state"], rows["mem"]["cost"], rows["mem"]["memory"]) == (RUNNING, None, None)


def test_the_table_shows_what_is_not_known_as_a_dash_and_never_as_nothing() -> None:
    lines = report.table(report.rows(_info(Record("io", "someone")), {})).splitlines()  # type: ignore[arg-type]
    assert lines[0].split()[:2] == ["WORKER", "PID"]
    assert lines[1].split() == ["io", "-", "someone", "-", "-", "-", "-", "0", "-", "starting"]


def test_systemd_is_told_where_it_asks_and_nobody_else(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.notify("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify.notify("READY=1", "STATUS=well")
        assert service.recv(100) == b"READY=1\nSTATUS=well"
    notify.notify("WATCHDOG=1")  # nobody there any more: no reason to end


def test_a_host_that_was_renamed_meanwhile_is_not_reloaded_under_its_new_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = configuration.read(None, [f"PROXTOP_RUN={tmp_path}/bus"])
    (tmp_path / "busd").mkdir()
    actor = Actor("fleet", supervise.setup_of(found))
    with contextlib.ExitStack() as stack:
        stack.callback(actor.__exit__, None, None, None)
        watch = supervise.Watch(actor, lambda more: found, found, None)
        stack.callback(watch.close)
        before, name = found.node, os.uname()
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((name[0], "renamed", *name[2:])))
        with pytest.raises(ConfigurationError, match="'renamed' now, and was"):
            watch.reload()
        assert watch.status()["node"] == before


def test_a_worker_of_the_aggregator_that_can_not_be_started_now_is_tried_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*arguments: object, **more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    (tmp_path / "agg.toml").write_text(f'name = "agg1"\ndirectory = "{tmp_path}/bus"\n')
    said: list[str] = []
    keeper = Keeper(str(tmp_path / "agg.toml"), config.load(str(tmp_path / "agg.toml")), said.append)
    monkeypatch.setattr(subprocess, "Popen", none)
    try:
        keeper._follow(keeper._config)
        while len(said) < 2:
            keeper._turn()
        assert set(said) == {"hub can't be started: Resource temporarily unavailable; it is tried again"}
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        signal.set_wakeup_fd(-1)
        os.close(keeper._lock)


def test_what_went_wrong_has_its_place_where_it_has_one() -> None:
    assert supervise._line(OSError(errno.EAGAIN, "none can be had")) == "none can be had"
    assert supervise._line(OSError(errno.ENOENT, "is missing", "/x")) == "/x: is missing"
    assert supervise._line(TimeoutError("timed out")) == "timed out"


@pytest.mark.parametrize(
    "command",
    [
        ("proxtopd", "check", "--config="),
        ("proxtop_agg", "check", "--config="),
        ("proxtop", "keys", "show", "--directory="),
    ],
)
def test_an_empty_path_is_not_the_default(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{command[-1][:-1]}: the value is empty" in done.stderr
