"""The package under a real systemd, first process of a Debian 12 guest: installed, killed, reloaded, upgraded, removed.

The tests follow one another on one guest, as an administrator's days do.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.lab import missing
from tests.lab.host import wait_for
from tests.package.life import newer
from tests.package.machine import Machine, booted
from tests.package.roots import Root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READERS = ("proxtop", "proxprofiler")
SERVICES = ("proxtopd", *READERS, "proxtop-agg")
CLUSTER = "ipc:///run/proxtop-agg/subscribe.sock"
SLOW_S = 90.0
"""The guest's processor is emulated: what takes a second elsewhere takes ten."""

SINK = """\
import socket
listening = socket.create_server(("127.0.0.1", 5000))
with open("/run/received", "wb", buffering=0) as file:
    while True:
        connection, _ = listening.accept()
        while data := connection.recv(65536):
            file.write(data)
"""


@pytest.fixture(scope="module")
def system(
    bookworm: pathlib.Path, package: pathlib.Path, place: pathlib.Path, root_of: Callable[[pathlib.Path], Root]
) -> Iterator[Machine]:
    """Debian 12 with what the package depends on, and with the package and a newer one as files in /."""
    if reason := missing():
        unavailable(reason)
    root = root_of(bookworm)
    root.put(package, "/proxtop.deb")
    folder = place / "machine"
    folder.mkdir()
    root.put(newer(package, folder), "/newer.deb")
    (folder / "sink.py").write_text(SINK)
    root.put(folder / "sink.py", "/sink.py")
    root.install("/proxtop.deb", "libvirt0")
    root.run("apt-get purge -q -y proxtop && ldconfig")
    with booted(folder, root.frozen(), 240) as machine:
        yield machine


def dpkg(system: Machine, arguments: str) -> None:
    system.run(f"dpkg {arguments}", timeout=240)


def shown(system: Machine, unit: str, *names: str) -> list[str]:
    """Properties of a unit as systemd sees it."""
    text = system.run(f"systemctl show {unit} {' '.join(f'-p {name}' for name in names)}", timeout=60)
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return [found[name] for name in names]


def workers(system: Machine) -> dict[str, dict[str, Any]]:
    """`proxtopd status` by the name of the worker; empty while nobody answers."""
    text = system.run("proxtopd status --json 2> /dev/null || true", timeout=60)
    return {row["worker"]: row for row in json.loads(text)["workers"]} if text.startswith("{") else {}


def healthy(system: Machine) -> dict[str, dict[str, Any]]:
    """The workers, once all run and have a cycle behind them."""

    def well() -> dict[str, dict[str, Any]]:
        found = workers(system)
        return found if found and all(row["state"] == "running" for row in found.values()) else {}

    return wait_for("all workers to run", well, SLOW_S)


def cycle(system: Machine, bus: str = "/run/proxtop") -> dict[str, Any]:
    """One cycle, read from that bus by a member of the group without any privilege."""
    reader = "setpriv --reuid=nobody --regid=nogroup --groups=proxtop --bounding-set=-all --no-new-privs"
    command = f"{reader} proxtop --bus={bus} --runs=1 --printer=json --cpu --io --host 2> /dev/null"
    text = wait_for("a cycle", lambda: system.run(f"{command} || true", timeout=60), SLOW_S)
    found: dict[str, Any] = json.loads(text)
    return found


def pid_of(system: Machine) -> int:
    return int(shown(system, "proxtopd", "MainPID")[0])


def test_installing_it_starts_the_fleet(system: Machine) -> None:
    dpkg(system, "-i /proxtop.deb")
    assert shown(system, "proxtopd", "ActiveState", "UnitFileState", "NRestarts") == ["active", "enabled", "0"]
    assert set(healthy(system)) >= {"broker", "connector", "lookup", "aggregator", "cpu", "io", "host"}
    found = cycle(system)
    assert (found["node"], found["host"]["host_name"]) == ("hypervisor", "hypervisor")
    assert found["host"]["cpu_cores"] == 2
    for name in (*READERS, "proxtop-agg"):
        assert shown(system, name, "ActiveState", "UnitFileState") == ["inactive", "disabled"]


def test_systemds_own_view_of_it(system: Machine) -> None:
    problem, watchdog, group = shown(system, "proxtopd", "StatusText", "WatchdogUSec", "ControlGroup")
    assert (watchdog, group) == ("30s", "/system.slice/proxtopd.service")
    assert problem.endswith("workers run")
    assert system.run("systemctl --failed --plain --no-legend | grep prox || true") == ""
    for name, most in (("proxtopd", 2.8), ("proxtop", 1.5), ("proxprofiler", 1.5), ("proxtop-agg", 1.5)):
        last = system.run(f"systemd-analyze security --no-pager {name} | tail -n 1", timeout=60)
        assert float(last.split(": ")[1].split()[0]) <= most, last


def test_every_process_has_the_privileges_that_it_is_to_have(system: Machine) -> None:
    both = (1 << 19) | (1 << 2)  # SYS_PTRACE, DAC_READ_SEARCH
    for name, row in healthy(system).items():
        text = system.run(f"cat /proc/{row['pid']}/status")
        status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        assert int(status["CapEff"], 16) == (both if name == "io" else 0), name
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", name
        assert status["Uid"].split()[0] == system.run("id -u proxtop").strip(), name
    assert "Permission denied" in system.run(
        "setpriv --reuid=nobody --regid=nogroup --clear-groups ls /run/proxtop 2>&1 || true"
    )


def test_what_the_sandbox_forbids_is_forbidden(system: Machine) -> None:
    """In the namespace of the fleet: the system can't be written, homes and devices are not there."""
    inside = f"nsenter -t {pid_of(system)} -m"
    system.run("touch /home/secret /tmp/secret")
    assert system.run(f"{inside} ls /home /tmp 2>&1 || true").count("secret") == 0
    assert "Read-only file system" in system.run(f"{inside} touch /etc/new /usr/new 2>&1 || true")
    assert system.run(f"{inside} ls /dev/vda 2>&1 || true").endswith("No such file or directory\n")
    system.run(f"{inside} touch /run/proxtop/new && rm /run/proxtop/new")


def test_families_that_are_left_out_have_no_worker(system: Machine) -> None:
    """All that follows starts this fleet again and again: half of it takes half the time."""
    system.run("echo PROXTOP_FAMILIES=cpu,io,host >> /etc/proxtop.conf; systemctl reload proxtopd", timeout=60)
    left = {"broker", "connector", "lookup", "aggregator", "cpu", "io", "host"}
    wait_for("the others' end", lambda: set(workers(system)) == left, SLOW_S)
    healthy(system)


def test_a_killed_worker_is_replaced(system: Machine) -> None:
    before = healthy(system)["cpu"]["pid"]
    system.run(f"kill -9 {before}")
    wait_for("another cpu worker", lambda: workers(system).get("cpu", {}).get("pid") not in (None, before), SLOW_S)
    healthy(system)
    assert shown(system, "proxtopd", "NRestarts") == ["0"]


def test_a_killed_fleet_is_started_again_by_systemd(system: Machine) -> None:
    before = pid_of(system)
    old = {row["pid"] for row in healthy(system).values()}
    system.run(f"kill -9 {before}")
    wait_for("a restart", lambda: shown(system, "proxtopd", "NRestarts") == ["1"], SLOW_S)
    wait_for("the unit", lambda: shown(system, "proxtopd", "ActiveState") == ["active"], SLOW_S)
    assert pid_of(system) != before
    assert old.isdisjoint(row["pid"] for row in healthy(system).values())
    assert cycle(system)["node"] == "hypervisor"


def test_a_reload_takes_changes_in_and_refuses_mistakes(system: Machine) -> None:
    before = pid_of(system)
    system.run("echo PROXTOP_TARGET=127.0.0.1:5000 >> /etc/proxtop.conf; systemctl reload proxtopd", timeout=60)
    system.run("echo PROXTOP_INTERVALL=2 >> /etc/proxtop.conf")
    assert system.run("systemctl reload proxtopd 2> /dev/null || echo refused", timeout=60) == "refused\n"
    assert shown(system, "proxtopd", "ActiveState", "MainPID") == ["active", str(before)]
    assert "PROXTOP_INTERVALL" in system.run("journalctl -u proxtopd -n 20 --no-pager")
    system.run("sed -i /INTERVALL/d /etc/proxtop.conf; systemctl reload proxtopd", timeout=60)
    assert "profiler" not in healthy(system)


def test_profiles_are_kept_where_the_configuration_says(system: Machine) -> None:
    system.run("echo PROXTOP_PROFILER=--state-dir=/var/lib/proxtop/profiles >> /etc/proxtop.conf")
    system.run("systemctl reload proxtopd", timeout=60)
    wait_for("the profiler", lambda: workers(system).get("profiler", {}).get("state") == "running", SLOW_S)
    assert system.run("stat -c %U /var/lib/proxtop/profiles") == "proxtop\n"
    system.run("sed -i /PROFILER/d /etc/proxtop.conf; systemctl reload proxtopd", timeout=60)
    wait_for("its end", lambda: "profiler" not in workers(system), SLOW_S)


def test_the_readers_services_send_what_the_fleet_measures(system: Machine) -> None:
    system.run("systemd-run -q --unit=sink python3.11 /sink.py", timeout=60)
    system.run(f"systemctl start {' '.join(READERS)}", timeout=60)
    received = wait_for(
        "a cycle at the sink", lambda: system.run("head -n 1 /run/received 2> /dev/null || true"), SLOW_S
    )
    assert json.loads(received)["node"] == "hypervisor"
    for name in READERS:
        assert shown(system, name, "ActiveState", "NRestarts", "User") == ["active", "0", "proxtop"]
    assert system.run("stat -c %U:%a /var/lib/proxprofiler") == "proxtop:750\n"


def test_the_aggregators_service_hears_a_hypervisor_through_its_door(system: Machine) -> None:
    """Step by step as docs/operations.md has it, hypervisor and aggregator on one machine."""
    system.run("proxtop keys new agg1 --user=proxtop-agg && proxtop keys show agg1 > /agg1.pub", timeout=60)
    system.run("proxtop keys new hypervisor --user=proxtop && proxtop keys trust /agg1.pub", timeout=60)
    for line in ("=tcp://127.0.0.1:7654", "_KEY=/etc/proxtop/hypervisor.key", "_TRUSTED=/etc/proxtop/trusted"):
        system.run(f"echo PROXTOP_DOOR{line} >> /etc/proxtop.conf")
    system.run("proxtopd check > /dev/null && systemctl reload proxtopd", timeout=60)
    system.run("proxtop keys show hypervisor > /etc/proxtop/hypervisor.pub", timeout=60)
    lines = ('name = "agg1"', 'key = "/etc/proxtop/agg1.key"', "[[hypervisors]]", 'node = "hypervisor"',
             'address = "tcp://127.0.0.1:7654"', 'key = "/etc/proxtop/hypervisor.pub"')  # fmt: skip
    system.run("".join(f"echo '{line}' >> /etc/proxtop/agg.toml;" for line in lines))
    system.run("setpriv --reuid=proxtop-agg --regid=proxtop --init-groups proxtop-agg check > /dev/null", timeout=60)
    system.run("systemctl enable --now proxtop-agg 2> /dev/null", timeout=60)
    assert cycle(system, CLUSTER)["host"]["host_name"] == "hypervisor"
    before, user = shown(system, "proxtop-agg", "MainPID", "User")
    assert user == "proxtop-agg"
    system.run(f"kill -9 {before}")
    wait_for("a restart", lambda: shown(system, "proxtop-agg", "NRestarts", "ActiveState") == ["1", "active"], SLOW_S)
    assert cycle(system, CLUSTER)["node"] == "hypervisor"
    system.run("echo nonsense >> /etc/proxtop/agg.toml")
    assert system.run("systemctl reload proxtop-agg 2> /dev/null || echo refused", timeout=60) == "refused\n"
    system.run("sed -i /nonsense/d /etc/proxtop/agg.toml; systemctl reload proxtop-agg", timeout=60)
    status = json.loads(system.run("proxtop-agg status --json", timeout=60))
    assert status["hosts"]["hypervisor"]["state"] == "running"


def test_an_upgrade_restarts_what_runs_and_keeps_what_was_edited(system: Machine) -> None:
    before = {name: shown(system, name, "MainPID") for name in SERVICES}
    dpkg(system, "-i --force-confold /newer.deb")
    for name, pid in before.items():
        wait_for(name, lambda name=name: shown(system, name, "ActiveState") == ["active"], SLOW_S)  # type: ignore[misc]
        assert shown(system, name, "MainPID") != pid
    assert "PROXTOP_TARGET=127.0.0.1:5000\n" in system.run("cat /etc/proxtop.conf")
    healthy(system)
    assert cycle(system, CLUSTER)["node"] == "hypervisor"


def test_a_wrong_configuration_stops_it_with_one_line_and_no_restarts(system: Machine) -> None:
    system.run("echo NONSENSE >> /etc/proxtop.conf; ! systemctl restart proxtopd 2> /dev/null", timeout=60)
    assert shown(system, "proxtopd", "ActiveState", "ExecMainStatus") == ["failed", "2"]
    said = system.run("journalctl -u proxtopd -n 20 --no-pager -o cat")
    assert len([line for line in said.splitlines() if line.startswith("proxtopd: /etc/proxtop.conf line ")]) == 1
    assert "Traceback" not in said
    system.run("sed -i /NONSENSE/d /etc/proxtop.conf; systemctl start proxtopd", timeout=60)
    healthy(system)


def test_removed_it_is_stopped_and_purged_it_is_gone(system: Machine) -> None:
    pids = {shown(system, name, "MainPID")[0] for name in SERVICES}
    pids |= {str(row["pid"]) for row in healthy(system).values()}
    dpkg(system, "-r proxtop")
    assert system.run(f"ls -d {' '.join(f'/proc/{pid}' for pid in pids)} 2> /dev/null || true") == ""
    assert shown(system, "proxtopd", "LoadState") == ["not-found"]
    assert system.run("ls -d /run/proxtop* 2> /dev/null || true") == ""
    dpkg(system, "-P proxtop")
    left = "find / -xdev -name '*prox[tp]*' ! -path '/proxtop.deb' ! -path '/var/log/journal/*' ! -path '/sys/*'"
    assert system.run(left, timeout=60) == ""
    assert system.run("systemctl list-unit-files 'prox*' --no-legend; getent passwd proxtop proxtop-agg || true") == ""
