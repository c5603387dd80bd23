"""Names that contain each other, are equal or are odd: every output stays what it is, each number with its machine."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from tests.faults.rig import Machine, Rig, proxtop

NAMES = [
    "web", "web-01", "web-01", "a b  c", "q\"uo'te", "tab\there", "com,ma", "eq=ual", "ünï☃", "esc\x1b[31mred",
    "007", "nan", "-", "back\\slash", "%s{}$(x)", "new\nline", "# HELP x", "guest=web", "\u202egnp",
]  # fmt: skip
"""Each machine has 16 MiB and as many more as its place in this list: its number tells whose row it is."""

OPTIONS = ("--qemu", "-f", "0.5", "-r", "2", "--cpu", "--mem", "--verbose")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]")
CLEANED = {"tab\there": "tab\ufffdhere", "esc\x1b[31mred": "esc\ufffd[31mred", "new\nline": "new\ufffdline"}
CLEANED["\u202egnp"] = "\ufffdgnp"


@pytest.fixture(scope="module")
def machines(shared_rig: Rig) -> dict[str, Machine]:
    """By UUID; only the first of them has anything to do."""
    made = [shared_rig.machine(name, busy=place == 0, memory_mib=16 + place) for place, name in enumerate(NAMES)]
    return {machine.uuid: machine for machine in made}


def _run(machines: dict[str, Machine], *arguments: str) -> str:
    done = proxtop(*OPTIONS, f"--vm={','.join(machines)}", *arguments)
    assert done.returncode == 0, done.stderr
    # Whatever a name does, diagnostics stay lines of our own.
    assert all(line.startswith("proxtop: ") for line in done.stderr.split("\n")[:-1]), done.stderr
    assert not CONTROL.search(done.stdout.replace("\r\n", "\n")), "a control character reached the output"
    return done.stdout


def _shown(machine: Machine) -> str:
    return CLEANED.get(machine.name, machine.name)


def test_json(machines: dict[str, Machine]) -> None:
    lines = [json.loads(line) for line in _run(machines, "-p", "json").splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert {row["UUID"] for row in line["domains"]} == machines.keys()
        for row in line["domains"]:
            machine = machines[row["UUID"]]
            assert row["name"] == _shown(machine)
            assert row["pid"] == machine.pid
            assert row["ram_total"] == machine.memory_mib * 1024
        assert [row["name"] for row in line["domains"]] == sorted(row["name"] for row in line["domains"])
    busy = {row["UUID"]: row["cpu_total"] for row in lines[1]["domains"]}
    assert max(busy, key=lambda uuid: busy[uuid] or 0) == next(iter(machines))


def test_text(machines: dict[str, Machine]) -> None:
    rows = [line.split("\t") for line in _run(machines, "-p", "text").splitlines()]
    host, fields = rows[0], rows[1]
    assert fields[:2] == ["UUID", "name"]
    assert {len(row) for row in rows[2:]} == {len(host), len(fields)}
    values = [dict(zip(fields, row, strict=True)) for row in rows[2:] if len(row) == len(fields)]
    assert len(values) == 2 * len(machines)
    for row in values:
        machine = machines[row["UUID"]]
        assert row["name"] == _shown(machine).replace("\\", "\\\\")
        assert row["ram_total"] == str(machine.memory_mib * 1024)


def test_csv(machines: dict[str, Machine]) -> None:
    rows = list(csv.DictReader(io.StringIO(_run(machines, "-p", "csv"), newline=""), strict=True))
    assert len(rows) == 2 * len(machines)
    for row in rows:
        assert None not in row
        machine = machines[row["UUID"]]
        assert row["name"] == _shown(machine)
        assert row["ram_total"] == str(machine.memory_mib * 1024)


def test_prometheus(machines: dict[str, Machine], shared_rig: Rig) -> None:
    target = shared_rig.folder / "page.prom"
    _run(machines, "-p", "prometheus", "--output=file", f"--target={target}")
    page = target.read_text()
    sample = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
    label = re.compile(r'(\w+)="((?:[^"\\\n]|\\["\\n])*)"')
    memory, names = {}, {}
    for line in page.splitlines():
        if line.startswith("# "):
            continue
        found = sample.fullmatch(line)
        assert found, line
        float(found[3])
        labels = {key: re.sub(r"\\(.)", r"\1", value) for key, value in label.findall(found[2] or "")}
        if found[1] == "proxtop_vm_ram_total_bytes":
            memory[labels["uuid"]] = float(found[3])
            names[labels["uuid"]] = labels["name"]
    assert memory == {machine.uuid: machine.memory_mib << 20 for machine in machines.values()}
    assert names == {machine.uuid: _shown(machine) for machine in machines.values()}


def test_promtool(machines: dict[str, Machine]) -> None:
    promtool = shutil.which("promtool") or pathlib.Path(".lab/bin/promtool").absolute()
    if not pathlib.Path(promtool).exists():
        pytest.skip("needs promtool (scripts/promtool fetches it)")
    page = _run(machines, "-p", "prometheus", "-r", "1")
    done = subprocess.run([promtool, "check", "metrics"], input=page, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_selects_its_machines_and_no_other(machines: dict[str, Machine]) -> None:
    for name in ("web", "web-01", "a b  c"):
        done = proxtop("--qemu", "-r", "1", "--cpu", "-p", "json", f"--vm={name}")
        shown = {row["UUID"] for row in json.loads(done.stdout.splitlines()[-1])["domains"]}
        assert shown & machines.keys() == {machine.uuid for machine in machines.values() if machine.name == name}
