"""proxtopd: whatever dies or hangs is replaced and the rest never notices; one fleet to a bus; reload; commands."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from proxtop.model import Snapshot
from tests.conftest import unavailable
from tests.faults.rig import ROOT, Machine, Rig, domain, eventually
from tests.faults.supervised import PROXTOPD, Supervised, all_gone, descendants, proxtopd

INTERVAL_S = 0.5


class Shared:
    """A fleet and the machine that it watches, which every test leaves whole."""

    def __init__(self, rig: Rig) -> None:
        self.machine: Machine = rig.machine("busy")
        self.fleet = Supervised(rig.folder, interval=INTERVAL_S)
        rig.callback(self.fleet.close)
        self.fleet.up()


@pytest.fixture(scope="module")
def shared(shared_rig: Rig) -> Iterator[Shared]:
    yield Shared(shared_rig)


def _sees(snapshot: Snapshot, machine: Machine) -> bool:
    """Whether a snapshot has the machine's CPU."""
    table = snapshot.tables["vm"]
    figures = dict(zip(table.ids, table.columns.get("cpu_total", ()), strict=False))
    return figures.get(machine.uuid) is not None


@pytest.mark.parametrize("name", ["broker", "cpu", pytest.param("aggregator", marks=pytest.mark.slow)])
def test_a_killed_worker_is_replaced_and_the_others_are_not(shared: Shared, name: str) -> None:
    fleet = shared.fleet
    before, row = fleet.up(), fleet.status()[name]
    os.kill(before[name], signal.SIGKILL)
    fleet.replaced(name, before[name])
    fleet.until("the machine's CPU", lambda snapshot: not snapshot.stale and _sees(snapshot, shared.machine))
    after = fleet.up()
    assert {other for other in after if after[other] != before[other]} == {name}
    new = fleet.status()[name]
    assert new["restarts"] == row["restarts"] + 1
    assert new["ended"] == "terminated by SIGKILL"
    assert any(f"worker {name} was started again" in line for line in fleet.words)


def test_a_stopped_worker_is_stale_then_killed_and_replaced(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    os.kill(before["mem"], signal.SIGSTOP)
    fleet.until("mem alone stale", lambda snapshot: snapshot.stale.keys() == {"mem"})
    fleet.replaced("mem", before["mem"])
    fleet.until("mem", lambda snapshot: not snapshot.stale)
    after = fleet.up()
    assert {other for other in after if after[other] != before[other]} == {"mem"}
    assert "no heartbeat" in fleet.status()["mem"]["ended"]


@pytest.mark.slow
def test_a_stopped_broker_is_replaced_and_nobody_else_is_blamed(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    os.kill(before["broker"], signal.SIGSTOP)
    fleet.replaced("broker", before["broker"])
    after = fleet.up()
    assert {other for other in after if after[other] != before[other]} == {"broker"}


def test_a_worker_that_dies_again_and_again_pauses_says_why_and_goes_on(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    setup = fleet.own / "setup" / "psi.json"
    right = setup.read_text()
    setup.write_text("{}")
    os.kill(before["psi"], signal.SIGKILL)
    row = eventually("a pause", lambda: row if (row := fleet.status()["psi"])["state"] == "backoff" else None)
    assert row is not None
    assert "times in a row (exit status 1: worker psi failed: KeyError" in row["reason"]
    assert row["pid"] is None
    snapshot = fleet.until("the reason in the frames", lambda found: "in a row" in found.stale.get("psi", ""))
    assert snapshot.stale.keys() == {"psi"}
    eventually(
        "the reason on the bus", lambda: fleet.take() or "psi ended" in (fleet.status_frames["fleet"].reason or "")
    )
    assert fleet.call("status").returncode == 1
    setup.write_text(right)
    eventually("the worker", lambda: fleet.status()["psi"]["state"] in ("running", "degraded"))
    assert not fleet.until("psi", lambda found: not found.stale).stale
    after = fleet.up()
    assert {other for other in after if after[other] != before[other]} == {"psi"}


def test_a_killed_supervisord_takes_its_workers_along_and_all_come_back(shared: Shared) -> None:
    fleet = shared.fleet
    before, supervisord = fleet.up(), fleet.supervisord()
    os.kill(supervisord, signal.SIGKILL)
    all_gone(list(before.values()))
    eventually("another supervisord", lambda: fleet.supervisord() != supervisord)
    after = fleet.up()
    assert not set(after.values()) & set(before.values())
    fleet.until("the machine's CPU", lambda snapshot: _sees(snapshot, shared.machine))


def test_a_second_fleet_on_the_same_bus_is_refused_and_told_who_has_it(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    for command in ("run", "start"):
        done = fleet.call(command)
        assert done.returncode == 2
        assert f"another proxtopd (PID {fleet.process.pid})" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert fleet.up() == before


def test_a_reload_replaces_what_changed_and_loses_no_cycle_of_the_rest(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    right = fleet.path.read_text()
    target = fleet.run.parent / "out.json"
    first = len(fleet.seen)
    fleet.path.write_text(right + f"PROXTOP_PRINTER_FILE=json file {target} --cpu\n")
    fleet.process.send_signal(signal.SIGHUP)
    eventually("lines", lambda: fleet.take() or (target.exists() and target.read_text().count("\n") > 2))
    assert "cpu_total" in json.loads(target.read_text().splitlines()[-1])["domains"][0]
    during = fleet.up()
    assert {name: pid for name, pid in during.items() if name != "printer-file"} == before
    fleet.path.write_text(right + "PROXTOP_INTERVL=3\n")
    fleet.process.send_signal(signal.SIGHUP)
    eventually("the refusal", lambda: fleet.take() or "was not reloaded" in fleet.words[-1])
    assert f"{fleet.path} line 2: PROXTOP_INTERVL" in fleet.words[-1]
    fleet.path.write_text(right + "PROXTOP_NODE=another\n")
    refused = fleet.call("reload")
    assert refused.returncode == 1
    assert "PROXTOP_NODE can't change while the fleet runs" in refused.stderr
    assert fleet.up() == during
    fleet.path.write_text(right)
    done = fleet.call("reload")
    assert (done.returncode, done.stdout) == (0, "replaced: printer-file\n")
    assert fleet.up() == before
    stamps = [stamp for _, stamp, _ in fleet.seen[first:]]
    assert [stamp.seq for stamp in stamps] == list(range(stamps[0].seq, stamps[0].seq + len(stamps)))
    assert {after.cycle - stamp.cycle for stamp, after in itertools.pairwise(stamps)} == {INTERVAL_S * 1000}


@pytest.mark.slow
def test_a_reload_that_supervisord_can_not_take_starts_all_anew_with_it(rig: Rig) -> None:
    fleet = Supervised(rig.folder, "PROXTOP_FAMILIES=host")
    rig.callback(fleet.close)
    before = fleet.up()
    target = rig.folder / "out.json"
    fleet.path.write_text(fleet.path.read_text() + f"PROXTOP_PRINTER_FILE=json file {target}\n")
    os.kill(fleet.supervisord(), signal.SIGSTOP)
    assert fleet.call("reload").returncode == 0
    eventually("another host", lambda: fleet.replaced("host", before["host"]))
    after = fleet.up()
    assert after.keys() - before.keys() == {"printer-file"}
    eventually("lines", target.exists)


def test_commands_of_a_running_fleet(shared: Shared) -> None:
    fleet = shared.fleet
    before = fleet.up()
    done = fleet.call("restart", "host")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    after = fleet.up()
    assert {name for name in after if after[name] != before[name]} == {"host"}
    unknown = fleet.call("restart", "hots")
    assert unknown.returncode == 1
    assert "there is no worker 'hots'" in unknown.stderr
    rows = json.loads(fleet.call("status", "--json").stdout)["workers"]
    assert {row["worker"]: row["pid"] for row in rows} == after
    for row in rows:
        assert row["memory"] > 1000 and row["since"] and row["drops"] == 0, row

    def worked() -> bool:
        cycled = [row for name, row in fleet.status().items() if name != "broker"]
        return all(row["cycle"] and row["cost"] is not None for row in cycled)

    eventually("a cycle of each", worked)
    table = fleet.call("status").stdout.splitlines()
    assert table[0].split()[:2] == ["WORKER", "PID"]
    assert [line.split()[:2] for line in table[1:12]] == [[name, str(pid)] for name, pid in after.items()]
    assert fleet.call("logs", "psi").returncode == 0
    assert fleet.call("logs", "spi").returncode == 2


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_all_ends_with_proxtopd_however_it_ends(rig: Rig, number: signal.Signals) -> None:
    fleet = Supervised(rig.folder, "PROXTOP_FAMILIES=host")
    rig.callback(fleet.close)
    fleet.up()
    everyone = descendants(fleet.process.pid)
    assert len(everyone) == 6
    fleet.process.send_signal(number)
    assert fleet.process.wait(20) == (-number if number == signal.SIGKILL else 0)
    all_gone(everyone)
    assert not [line for line in fleet.words if "Traceback" in line]


def test_start_waits_until_all_is_up_and_stop_until_all_is_gone(rig: Rig) -> None:
    settings = [f"PROXTOP_RUN={rig.folder}/bus", "PROXTOP_CONNECTOR=qemu"]
    if os.geteuid() == 0:
        settings += ["PROXTOP_USER=root", "PROXTOP_GROUP=root"]
    (rig.folder / "here.conf").write_text("PROXTOP_FAMILIES=host\n")
    done = proxtopd("--config=here.conf", "start", *settings, cwd=rig.folder)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        status = json.loads(proxtopd("status", "--json", *settings).stdout)
        assert {row["state"] for row in status["workers"]} == {"running"}
        everyone = [status["pid"], *descendants(status["pid"])]
    finally:
        stopped = proxtopd("stop", *settings)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    all_gone(everyone, 1)
    again = proxtopd("stop", *settings)
    assert again.returncode == 1
    assert "no proxtopd runs there" in again.stderr


@pytest.mark.slow
def test_the_example_for_a_supervisord_of_ones_own_works_by_itself(rig: Rig) -> None:
    if os.geteuid() != 0:
        unavailable("needs root, as the example does")
    machine = rig.machine("busy")
    bus = rig.folder / "bus"
    bus.mkdir(mode=0o700)
    settings = rig.folder / "proxtop.conf"
    settings.write_text(f"PROXTOP_RUN={bus}\nPROXTOP_CONNECTOR=qemu\nPROXTOP_INTERVAL=0.5\n")
    text = (ROOT / "conf" / "supervisord.conf").read_text()
    for before, after in (
        ("--reuid=proxtop --regid=proxtop --init-groups", "--reuid=root --regid=root --clear-groups"),
        ("=/run/proxtop-supervisor", f"={rig.folder}/supervisor"),
        ("unix:///run/proxtop-supervisor", f"unix://{rig.folder}/supervisor"),
        ("=/var/log/", f"={rig.folder}/"),
    ):
        assert before in text
        text = text.replace(before, after)
    example = rig.folder / "supervisord.conf"
    example.write_text(text)
    path = f"{PROXTOPD.parent}:{os.environ['PATH']}"
    supervisord = subprocess.Popen(
        [PROXTOPD.with_name("supervisord"), "-n", "-c", example],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env=os.environ | {"PATH": path, "PROXTOP_CONFIG": str(settings)},
    )  # fmt: skip
    rig.callback(supervisord.wait, 30)
    rig.callback(supervisord.terminate)
    eventually("the bus", (bus / "subscribe.sock").exists)
    running = rig.watch(machine, options=["--bus", f"ipc://{bus}/subscribe.sock", "--cpu", "--io"])
    line = running.until(
        "the machine's figures", lambda line: (domain(line, machine) or {}).get("io_RDOPS") is not None
    )
    row = domain(line, machine)
    assert row is not None and row["cpu_total"] is not None
    assert len(descendants(supervisord.pid)) == 11
    assert running.stop() == 0
