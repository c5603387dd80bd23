"""Machines come, go, hang and come back as another process: the rest is on time and right."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.faults.rig import Line, Machine, Rig, Running, alive, domain, eventually, numbers

RATES = ("cpu_total", "cpu_steal", "cpu_other_total", "io_RDOPS", "io_WROPS", "io_MBRD/s", "ram_minflt")


def _rate(line: Line, machine: Machine) -> float | None:
    row = domain(line, machine)
    return None if row is None else row["cpu_total"]


def _right(running: Running, machine: Machine) -> None:
    """The rate is what the kernel counts over the same time, as far as two readers can agree on a busy host."""
    first, begin, used = len(running.lines), time.monotonic(), machine.on_cpu_s()
    running.cycles(5)
    share = 100 * (machine.on_cpu_s() - used) / (time.monotonic() - begin)
    seen = [rate for line in running.all()[first:] if (rate := _rate(line, machine)) is not None]
    assert len(seen) >= 3
    assert sum(seen) / len(seen) == pytest.approx(share, abs=max(10, share / 2))


def _sane(running: Running, rest: Machine) -> None:
    """Another machine was there, and on time, in every cycle; no number is impossible."""
    lines = running.all()
    assert all(domain(line, rest) for line in lines)
    assert [line["cycle"] for line in lines] == sorted({line["cycle"] for line in lines})
    for line in lines:
        assert min(numbers(line)) >= 0
        for row in line["domains"]:
            assert row["cpu_total"] is None or row["cpu_total"] <= 100
            assert row["cpu_other_total"] is None or row["cpu_other_total"] <= 300
    times = running.arrived
    assert max(after - before for before, after in itertools.pairwise(times)) < 2
    assert not [line for line in running.errors if "Traceback" in line]


def test_a_machine_that_vanishes_leaves_and_the_rest_stays(rig: Rig) -> None:
    rest, leaver = rig.machine("rest"), rig.machine("leaver")
    running = rig.watch(rest, leaver)
    running.until("both", lambda line: None not in (_rate(line, rest), _rate(line, leaver)))
    leaver.kill()
    running.until("its end", lambda line: domain(line, leaver) is None)
    assert all(domain(line, leaver) is None for line in running.cycles(3))
    _right(running, rest)
    _sane(running, rest)


def test_machines_that_come_and_go_within_every_cycle(rig: Rig) -> None:
    rest = rig.machine("rest", busy=False)
    running = rig.watch(frequency=0.3)
    running.cycles(1)
    for _ in range(8):
        rig.machine("short", busy=False).kill()
    running.cycles(2)
    _sane(running, rest)


def test_a_machine_that_starts_has_no_figure_before_there_is_a_true_one(rig: Rig) -> None:
    rest = rig.machine("rest")
    late_folder = rig.folder / "late"
    late_folder.mkdir()
    running = rig.watch(rest, options=["--vm=late"])
    running.cycles(2)
    late = Machine(late_folder, "late")
    rig.callback(late.kill)
    first = running.until("the machine", lambda line: domain(line, late) is not None)
    row = domain(first, late)
    assert row is not None
    assert row["pid"] == late.pid
    running.until("its rate", lambda line: (_rate(line, late) or 0) > 0)
    _right(running, late)
    _sane(running, rest)


def test_a_machine_that_comes_back_as_another_process_starts_afresh(rig: Rig) -> None:
    rest, phoenix = rig.machine("rest"), rig.machine("phoenix")
    running = rig.watch(rest, phoenix)
    running.until("both", lambda line: None not in (_rate(line, rest), _rate(line, phoenix)))
    eventually("counters worth losing", lambda: phoenix.on_cpu_s() > 0.5)
    before, seen = phoenix.pid, len(running.lines)
    phoenix.kill()
    phoenix.start()
    running.until("the new process", lambda line: (domain(line, phoenix) or {}).get("pid") == phoenix.pid)
    assert phoenix.pid != before
    running.until("its rate", lambda line: _rate(line, phoenix) is not None)
    # Between the two there is a cycle without rates; its row may still be the old process's when the sample came first.
    rows = [domain(line, phoenix) for line in running.all()[seen:]]
    assert any(row is None or {row[name] for name in RATES} == {None} for row in rows)
    _right(running, phoenix)
    _sane(running, rest)


def test_a_reused_pid_is_another_machine(rig: Rig) -> None:
    last = pathlib.Path("/proc/sys/kernel/ns_last_pid")
    try:
        last.write_text(last.read_text())  # its mode lets everybody write, the kernel does not
    except OSError:
        unavailable("needs root and a kernel with checkpoint/restore, to choose a PID")
    rest, old = rig.machine("rest"), rig.machine("old")
    running = rig.watch(rest, old, options=["--vm=new"])
    running.until("both", lambda line: None not in (_rate(line, rest), _rate(line, old)))
    eventually("counters worth mixing up", lambda: old.on_cpu_s() > 0.5)
    pid = old.pid
    old.kill()
    folder = rig.folder / "new"
    folder.mkdir()

    def reborn() -> Machine | None:
        assert not alive(pid)
        last.write_text(str(pid - 1))
        machine = Machine(folder, "new")
        if machine.pid != pid:
            machine.kill()
            return None
        return machine

    seen = len(running.lines)
    new = eventually("a machine with the same PID", reborn)
    assert new is not None
    rig.callback(new.kill)
    line = running.until("the new machine", lambda line: domain(line, new) is not None, since=seen)
    row = domain(line, new)
    assert row is not None
    assert row["pid"] == pid
    assert {row[name] for name in RATES} == {None}
    assert all(domain(line, old) is None for line in running.cycles(3))
    _right(running, new)
    _sane(running, rest)


def test_a_hung_qemu_harms_only_itself(rig: Rig) -> None:
    rest, hung = rig.machine("rest"), rig.machine("hung")
    running = rig.watch(rest, hung)
    running.until("both", lambda line: None not in (_rate(line, rest), _rate(line, hung)))
    hung.signal(signal.SIGSTOP)
    running.until("a machine that gets nothing", lambda line: _rate(line, hung) == 0)
    _right(running, rest)
    hung.signal(signal.SIGCONT)
    running.until("a machine that runs again", lambda line: (_rate(line, hung) or 0) > 0)
    _right(running, hung)
    _sane(running, rest)


def _proxmox(rig: Rig, root: pathlib.Path, vmid: int, *, qmp: bool = True) -> Machine:
    """A machine that lies as Proxmox VE lays them out."""
    run, pve = root / "var/run/qemu-server", root / "etc/pve/qemu-server"
    for folder in (run, pve):
        folder.mkdir(parents=True, exist_ok=True)
    (pve / f"{vmid}.conf").write_text(f"cores: 1\nmemory: 16\nname: vm{vmid}\n")
    monitor = f"socket,id=qmp,path={run}/{vmid}.qmp,server=on,wait=off"
    arguments = ["-pidfile", f"{run}/{vmid}.pid", "-device", "virtio-balloon-pci,id=balloon0"]
    if qmp:
        arguments += ["-chardev", monitor, "-mon", "chardev=qmp,mode=control"]
    machine = rig.machine(f"vm{vmid}", arguments=arguments)
    eventually("its pid file", (run / f"{vmid}.pid").exists)
    return machine


@contextlib.contextmanager
def _mute(path: pathlib.Path) -> Iterator[list[socket.socket]]:
    """A monitor that accepts and never says a word; who came is in the list."""
    came: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    came.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield came
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in came:
                connection.close()


@pytest.mark.slow
def test_a_monitor_that_accepts_and_never_answers_harms_only_its_machine(rig: Rig) -> None:
    root = rig.folder / "pve"
    good, mute = _proxmox(rig, root, 101), _proxmox(rig, root, 102, qmp=False)
    with _mute(root / "var/run/qemu-server/102.qmp") as came:
        running = rig.proxtop(
            "--proxmox", "-p", "json", "-f", "0.5", "--verbose", environment={"PROXTOP_ROOT": str(root)}
        )
        running.until("what QMP tells of the good one", lambda line: (domain(line, good) or {}).get("ram_current"))
        eventually("a try at the mute one", lambda: came)
        for line in running.cycles(8):
            row = domain(line, mute)
            assert row is not None
            assert row["ram_current"] is None
        running.until("what /proc tells of the mute one", lambda line: _rate(line, mute) is not None)
        _right(running, good)
        _right(running, mute)
        _sane(running, good)
        # A monitor takes one client at a time, and others need it: nobody hammers one that does not answer.
        assert len(came) <= 12


def test_proc_files_that_are_not_there_leave_the_rest(rig: Rig) -> None:
    whole, poor = rig.machine("whole"), rig.machine("poor")
    tree = rig.folder / "proc"
    tree.mkdir()
    for name in ("stat", "cpuinfo", "meminfo", "1", "loadavg", "uptime", "sys"):
        (tree / name).symlink_to(f"/proc/{name}")
    (tree / str(whole.pid)).symlink_to(f"/proc/{whole.pid}")
    (tree / str(poor.pid)).mkdir()
    for path in pathlib.Path(f"/proc/{poor.pid}").iterdir():
        if path.name not in ("io", "status"):
            (tree / str(poor.pid) / path.name).symlink_to(path)
    running = rig.watch(whole, poor, options=[f"--procfs={tree}", "--cpu", "--mem", "--disk", "--io", "--pressure"])
    line = running.until("both", lambda line: None not in (_rate(line, whole), _rate(line, poor)))
    rich, lacking = domain(line, whole), domain(line, poor)
    assert rich is not None
    assert lacking is not None
    assert rich["io_RDOPS"] is not None
    assert lacking["io_RDOPS"] is None
    assert lacking["ram_rss"] is not None or rich["ram_rss"] is not None
    assert line["host"]["disk_device_reads"] is None
    assert line["host"]["cpu_user"] is not None
    _right(running, poor)
    _sane(running, whole)
