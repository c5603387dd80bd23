"""What each process of a fleet may do, held against the table in docs/security.md; who may watch, publish, control."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from proxtop.bus import endpoints
from proxtopd.registry import KINDS
from tests.conftest import unavailable
from tests.faults import reach
from tests.faults.rig import PROXTOP, ROOT, Machine, Rig
from tests.faults.supervised import PROXTOPD, Supervised

USER, GROUP = "nobody", "nogroup"
"""What every Debian has: the workers' user and group here."""

MEMBER = ("setpriv", "--reuid=daemon", "--regid=daemon", f"--groups={GROUP}")
STRANGER = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")

SUPERVISORS = {"setuid", "setgid", "setpcap", "kill", "sys_ptrace", "dac_read_search"}
"""What systemd's unit leaves to proxtopd."""

_NUMBERS = {
    "chown": 0, "dac_override": 1, "dac_read_search": 2, "fowner": 3, "fsetid": 4, "kill": 5, "setgid": 6, "setuid": 7,
    "setpcap": 8, "sys_ptrace": 19,
}  # fmt: skip
"""linux/capability.h"""


def _table() -> dict[str, tuple[str, str, set[str]]]:
    """(user, group, capabilities) by process, as docs/security.md has them."""
    found = {}
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1] in ("root", "proxtop"):
            user, group = ({"proxtop": USER}.get(cells[1], "root"), {"proxtop": GROUP}.get(cells[2], "root"))
            found[cells[0]] = user, group, set() if cells[3] == "\N{EN DASH}" else set(cells[3].lower().split())
    return found


def _status(pid: int) -> dict[str, list[str]]:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: rest.split() for key, _, rest in (line.partition(":") for line in lines)}


def _held(pid: int, row: tuple[str, str, set[str]], what: str) -> None:
    """Asserts that a worker may what its row says, exactly, and can't ever have more."""
    user, group, capabilities = row
    status = _status(pid)
    mask = sum(1 << _NUMBERS[name] for name in capabilities)
    assert {int(uid) for uid in status["Uid"]} == {pwd.getpwnam(user).pw_uid}, what
    assert {int(gid) for gid in status["Gid"]} == {_gid(group)}, what
    assert {int(gid) for gid in status["Groups"]} <= {_gid(group)}, what
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind][0], 16) == mask, (what, kind)
    assert status["NoNewPrivs"] == ["1"], what


def _gid(group: str) -> int:
    import grp

    return grp.getgrnam(group).gr_gid


class Privileged:
    """A fleet that root started with the unit's six capabilities and no more."""

    def __init__(
        self, rig: Rig, *settings: str, environment: dict[str, str] | None = None, bus: pathlib.Path | None = None
    ) -> None:
        rig.folder.chmod(0o755)
        self.private = rig.folder / "private"  # where others' own fleets may be
        self.private.mkdir()
        self.private.chmod(0o1777)
        kept = ",".join(["-all", *(f"+{name}" for name in sorted(SUPERVISORS))])
        # what systemd-tmpfiles makes: without CAP_CHOWN proxtopd can't
        bus = bus or rig.folder / "bus"
        bus.mkdir(mode=0o750)
        os.chown(bus, pwd.getpwnam(USER).pw_uid, _gid(GROUP))
        bounded = ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--ambient-caps=-all"]
        self.prefix = reach.prefix()
        self.fleet = Supervised(
            rig.folder, *settings, run=bus, prefix=[*self.prefix, *bounded], environment=environment,
            account=(f"PROXTOP_USER={USER}", f"PROXTOP_GROUP={GROUP}"),
        )  # fmt: skip
        rig.callback(self.fleet.close)

    def by(self, who: Sequence[str], *command: str) -> subprocess.CompletedProcess[str]:
        """A command as somebody else."""
        words = [*self.prefix, *who, *command]
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, cwd="/",
            env=os.environ | {"XDG_RUNTIME_DIR": str(self.private)},
        )  # fmt: skip


def _require() -> None:
    if os.geteuid() != 0:
        unavailable("needs root: it starts workers as another user")
    for tool in ("setpriv", "unshare"):
        if shutil.which(tool) is None:
            unavailable(f"needs {tool} (Debian package util-linux)")
    try:
        reach.prefix()
    except RuntimeError as error:
        unavailable(str(error))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def privileged(shared_rig: Rig) -> Iterator[tuple[Privileged, Machine]]:
    _require()
    machine = shared_rig.machine("busy")
    target = shared_rig.folder / "out"
    target.mkdir()
    shutil.chown(target, USER)
    fleet = Privileged(
        shared_rig,
        f"PROXTOP_PRINTER_FILE=json file {target}/cycles",
        f"PROXTOP_PROFILER=--state-dir={target}/profiles",
        f"PROXTOP_DOOR=tcp://127.0.0.1:{_free_port()}",
    )
    fleet.fleet.up()
    yield fleet, machine


def test_every_process_may_exactly_what_the_table_says(privileged: tuple[Privileged, Machine]) -> None:
    fleet = privileged[0].fleet
    table = _table()
    assert {kind.name for kind in KINDS} <= table.keys()
    pids = fleet.up()
    assert {"printer" if name.startswith("printer-") else name for name in pids} == {kind.name for kind in KINDS}
    for name, pid in pids.items():
        _held(pid, table["printer" if name.startswith("printer-") else name], name)
    user, group, capabilities = table["proxtopd, supervisord"]
    assert (user, group, capabilities) == ("root", "root", SUPERVISORS)
    mask = sum(1 << _NUMBERS[name] for name in capabilities)
    for pid in (fleet.process.pid, fleet.supervisord()):
        status = _status(pid)
        assert status["Uid"] == ["0"] * 4 and status["Gid"] == ["0"] * 4
        assert int(status["CapEff"][0], 16) == int(status["CapBnd"][0], 16) == mask


def test_io_of_another_users_process_is_there_and_nothing_is_missing(privileged: tuple[Privileged, Machine]) -> None:
    fleet, machine = privileged[0].fleet, privileged[1]
    snapshot = fleet.until("the machine", lambda found: machine.uuid in found.tables["vm"].ids and not found.stale)
    table = snapshot.tables["vm"]
    place = table.ids.index(machine.uuid)
    for name in ("io_rchar", "cpu_total", "ram_rss"):
        assert table.columns[name][place] is not None, name
    assert "io" not in snapshot.degraded


def test_what_belongs_to_root_is_roots(privileged: tuple[Privileged, Machine]) -> None:
    fleet = privileged[0].fleet
    for path in (fleet.own, *fleet.own.rglob("*")):
        found = path.stat(follow_symlinks=False)
        assert (found.st_uid, found.st_mode & 0o022) == (0, 0), path
    for name in ("supervisord.conf", "supervisor.sock", "control.sock"):
        assert (fleet.own / name).stat().st_mode & 0o077 == 0, name


def _connects(path: pathlib.Path | str) -> str:
    return (
        "import socket, sys\n"
        f"try: socket.socket(socket.AF_UNIX).connect({str(path)!r})\n"
        "except PermissionError: print('refused')\n"
        "else: print('connected')\n"
    )


def test_members_may_watch_workers_alone_publish_and_others_do_neither(privileged: tuple[Privileged, Machine]) -> None:
    fleet, machine = privileged
    bus = fleet.fleet.run
    publish = endpoints.publish(str(bus)).removeprefix("ipc://")
    subscribe = endpoints.subscribe(str(bus)).removeprefix("ipc://")
    control = endpoints.control(str(bus))
    worker = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups")
    for who, path, told in (
        (worker, publish, "connected"), (worker, subscribe, "connected"), (worker, control, "refused"),
        (MEMBER, subscribe, "connected"), (MEMBER, publish, "refused"), (MEMBER, control, "refused"),
        (STRANGER, subscribe, "refused"), (STRANGER, publish, "refused"), (STRANGER, control, "refused"),
    ):  # fmt: skip
        done = fleet.by(who, sys.executable, "-P", "-c", _connects(path))
        assert done.stdout == told + "\n", (who, path, done.stderr)
    line = ["--bus", f"ipc://{subscribe}", "-p", "json", "-r", "1", "-f", "0.5"]
    seen = fleet.by(MEMBER, str(PROXTOP), *line)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert machine.uuid in {row["UUID"] for row in json.loads(seen.stdout)["domains"]}
    refused = fleet.by(STRANGER, str(PROXTOP), *line)
    assert refused.returncode == 2
    assert re.search(r"no permission to use .*join group proxtop", refused.stderr)


def test_a_member_sees_the_status_and_may_not_control(privileged: tuple[Privileged, Machine]) -> None:
    fleet = privileged[0]
    settings = [f"--config={fleet.fleet.path}", *fleet.fleet.settings]
    shown = fleet.by(MEMBER, str(PROXTOPD), "status", "--json", *settings)
    assert shown.returncode == 0, shown.stderr
    rows = {row["worker"]: row for row in json.loads(shown.stdout)["workers"]}
    assert {name: row["pid"] for name, row in rows.items()} == fleet.fleet.pids()
    assert rows["io"]["user"] == USER and rows["io"]["state"] == "running"
    for who, told in ((MEMBER, "no permission to control"), (STRANGER, "no permission to control")):
        done = fleet.by(who, str(PROXTOPD), "restart", "cpu", *settings)
        assert done.returncode == 1
        assert told in done.stderr
    assert fleet.by(STRANGER, str(PROXTOPD), "status", *settings).returncode == 1


def test_on_proxmox_the_connector_is_root_without_a_capability_and_is_heard(rig: Rig) -> None:
    _require()
    root = rig.folder / "pve"
    for path in ("etc/pve/qemu-server", "var/run/qemu-server"):
        (root / path).mkdir(parents=True)
    fleet = Privileged(rig, "PROXTOP_FAMILIES=host", "PROXTOP_CONNECTOR=", environment={"PROXTOP_ROOT": str(root)})
    fleet.fleet.up()
    snapshot = fleet.fleet.until("a snapshot", lambda found: True)
    assert snapshot.connector == "proxmox"
    pids = fleet.fleet.pids()
    _held(pids["connector"], _table()["connector (Proxmox VE)"], "connector")
    _held(pids["lookup"], _table()["lookup"], "lookup")


local = pytest.mark.skipif(
    os.geteuid() != 0 or pathlib.Path(endpoints.LOCAL).exists(),
    reason=f"needs root and a host without {endpoints.LOCAL}",
)


@local
def test_proxtop_attaches_to_the_hosts_proxtopd_and_without_permission_starts_its_own(rig: Rig) -> None:
    _require()
    bus = pathlib.Path(endpoints.LOCAL)
    rig.callback(shutil.rmtree, bus, ignore_errors=True)
    rig.callback(shutil.rmtree, endpoints.own(str(bus)), ignore_errors=True)
    machine = rig.machine("local")
    fleet = Privileged(rig, "PROXTOP_FAMILIES=cpu,host", bus=bus)
    fleet.fleet.up()
    options = ("-p", "json", "-r", "1", "-f", "1", "--cpu")
    for who, told in (
        ((), ""),
        (MEMBER, ""),
        (STRANGER, "no permission to use /run/proxtop/subscribe.sock (join group proxtop); started a private fleet"),
    ):
        done = fleet.by(who, str(PROXTOP), *options)
        assert done.returncode == 0, done.stderr
        assert machine.uuid in {row["UUID"] for row in json.loads(done.stdout)["domains"]}
        assert told in done.stderr and bool(told) == bool(done.stderr), done.stderr
