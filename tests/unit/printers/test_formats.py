"""What the printers write: golden files (`PROXTOP_UPDATE_GOLDEN=1` writes them anew), and any name and value."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import FAMILIES, STAMP, samples, snapshot

from proxtop import catalog
from proxtop.catalog.__main__ import markdown
from proxtop.model import Sample, Snapshot, Table
from proxtop.printers import PRINTERS, create
from proxtop.view import View

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parent / "golden"
ODD = ["007", "nan", "web", "web-01", 'a "b", c\td\\', "über\x1b[31m\u2028x", "=1+1", ""]

VALUES = st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=8))
NAMES = st.lists(st.text(max_size=12), max_size=4)


def filled(names: list[str], values: list[object]) -> Snapshot:
    """A snapshot of VMs of these names, its numbers overlaid with these values."""
    shown = snapshot(names)
    tables = dict(shown.tables)
    for scope in ("host", "vm"):
        table = tables[scope]
        columns = dict(table.columns)
        for place, name in enumerate(n for n in columns if n not in ("name", "pid", "vmid")):
            if values:
                columns[name] = [values[(place + row) % len(values)] for row in range(len(table.ids))]  # type: ignore[misc]
        tables[scope] = Table(table.ids, columns)
    return replace(shown, tables=tables)


def whole(name: str, view: View, shown: Snapshot, counters: dict[str, Sample] | None = None) -> bytes:
    printer = create(name, view)
    record = printer.render(shown, STAMP, counters or {})
    return printer.header() + record


@pytest.mark.parametrize("printer", PRINTERS)
@pytest.mark.parametrize("verbose", [False, True], ids=["default", "verbose"])
def test_the_bytes_are_the_golden_ones(printer: str, verbose: bool) -> None:
    view = View(FAMILIES, verbose=verbose) if verbose else View()
    shown = replace(snapshot(["web", "db"]), stale={"io": "no permission"}, degraded={"disk": "1 VM does not answer"})
    counters = samples(shown) if printer == "prometheus" and verbose else None
    data = whole(printer, view, shown, counters)
    path = GOLDEN / f"{printer}-{'verbose' if verbose else 'default'}"
    if os.environ.get("PROXTOP_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert data == path.read_bytes()


def test_the_documentation_of_metrics_is_the_generated_one() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == markdown()


@given(NAMES, st.lists(VALUES, max_size=7))
def test_json_parses_whatever_the_names_and_values(names: list[str], values: list[object]) -> None:
    data = whole("json", View(FAMILIES, verbose=True), filled(names, values))
    assert data.count(b"\n") == 1
    record = json.loads(data, parse_constant=pytest.fail)
    assert [domain["name"] for domain in record["domains"]] == sorted(names)
    assert (record["time"], record["node"], record["cycle"]) == (1700000002.013, "web", STAMP.cycle)


def test_json_keeps_types() -> None:
    record = json.loads(whole("json", View(), snapshot(["007", "nan"])))
    first = record["domains"][0]
    assert first["name"] == "007"
    assert isinstance(first["cpu_cores"], int)
    assert isinstance(first["cpu_total"], float)
    assert None in first.values()


def test_json_survives_what_json_has_no_word_for() -> None:
    shown = filled(["a\udcff"], [math.nan, math.inf, 1 << 70, "\ud800"])
    record = json.loads(whole("json", View(FAMILIES), shown))
    assert record["domains"][0]["name"] == "a?"


def test_verbose_json_has_the_parts() -> None:
    record = json.loads(whole("json", View(FAMILIES, verbose=True), snapshot(["a", "b"], parts=2)))
    domain = record["domains"][1]
    assert [disk["disk"] for disk in domain["disks"]] == ["vda", "vdb"]
    assert [nic["nic"] for nic in domain["nics"]] == ["tap0", "tap1"]
    assert [vcpu["vcpu"] for vcpu in domain["vcpus"]] == [0, 1]
    assert [thread["role"] for thread in domain["threads"]] == ["emulator", "vhost"]
    assert [device["device"] for device in record["host"]["devices"]] == ["sda", "sdb", "dm-0"]
    assert [interface["interface"] for interface in record["host"]["interfaces"]] == ["eth0", "eth1", "vmbr0"]
    assert domain["vmid"] == 101
    assert "stale" not in record


def test_json_is_split_into_whole_objects() -> None:
    view = View(FAMILIES, verbose=True)
    shown = snapshot([f"vm-{number:02}" for number in range(40)])
    full = json.loads(create("json", view).render(shown, STAMP))
    pieces = create("json", view).parts(shown, STAMP, 20_000)
    assert max(map(len, pieces)) <= 20_000
    objects = [json.loads(piece) for piece in pieces]
    assert [(o["part"], o["parts"]) for o in objects] == [(n + 1, len(objects)) for n in range(len(objects))]
    assert [domain for o in objects for domain in o["domains"]] == full["domains"]
    for key in ("devices", "interfaces"):
        assert [row for o in objects for row in o["host"].pop(key)] == full["host"].pop(key)
    assert all(
        (o["time"], o["node"], o["cycle"], o["host"]) == (full["time"], "web", STAMP.cycle, full["host"])
        for o in objects
    )


def test_a_domain_too_large_for_a_piece_goes_without_its_arrays() -> None:
    pieces = create("json", View(["cpu"], verbose=True)).parts(snapshot(["big"], vcpus=200), STAMP, 4000)
    (domain,) = [domain for piece in pieces for domain in json.loads(piece)["domains"]]
    assert domain["truncated"] is True
    assert domain["cpu_cores"] == 1000
    assert "vcpus" not in domain


@given(NAMES, st.lists(VALUES, max_size=7))
def test_csv_parses_back_to_the_same_names(names: list[str], values: list[object]) -> None:
    data = whole("csv", View(FAMILIES), filled(names, values)).decode()
    header, *rows = csv.reader(io.StringIO(data, newline=""), strict=True)
    assert len(set(header)) == len(header)
    assert all(len(row) == len(header) for row in rows)
    assert [row[4] for row in rows] == (sorted(names) or [""])
    assert not {"nan", "inf", "-inf"} & {cell for row in rows for cell in row[5:] if cell not in values}


def test_csv_values_are_those_of_json() -> None:
    view = View(FAMILIES, verbose=True)
    shown = snapshot(["b", "a"])
    rows = csv.DictReader(io.StringIO(whole("csv", view, shown).decode(), newline=""))
    record = json.loads(whole("json", view, shown))
    for row, domain in zip(rows, record["domains"], strict=True):
        for metric in view.metrics("vm"):
            expected = domain[metric.name]
            assert row[metric.name] == ("" if expected is None else str(expected))
        assert row["host_cpu_cores"] == str(record["host"]["cpu_cores"])


@given(NAMES, st.lists(VALUES, max_size=7))
def test_text_has_a_cell_for_every_field(names: list[str], values: list[object]) -> None:
    data = whole("text", View(FAMILIES), filled(names, values)).decode()
    lines = data.split("\n")
    assert lines.pop() == ""
    host_names, vm_names, host, *vms = (line.split("\t") for line in lines)
    assert len(host) == len(host_names)
    assert len(vms) == len(names)
    assert all(len(row) == len(vm_names) for row in vms)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", data)
    assert vm_names[:2] == ["UUID", "name"]


def test_text_without_host_metrics_has_no_host_lines() -> None:
    lines = whole("text", View(["io"]), snapshot(["a"])).decode().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["UUID", "00000000-0000-0000-0000-000000000000"]


def test_human_units() -> None:
    shown = snapshot(["a"])
    shown.tables["vm"].columns.update(
        {"ram_total": [2 << 20], "disk_mbread": [0.5], "net_receivedBytes": [1536.0], "cpu_total": [12.345]}
    )
    shown.tables["host"].columns.update({"net_host_speed": [10000], "cpu_curfreq": [3200.0], "ram_Total": [64 << 20]})
    printer = create("text", View(human=True))
    host, vm = printer.render(shown, STAMP).decode().splitlines()
    assert {"10.0Gbit/s", "3.2GHz", "64.0GB"} <= set(host.split("\t"))
    assert {"2.0GB", "512.0KB/s", "1.5KB/s", "12.3"} <= set(vm.split("\t"))


SERIES = re.compile(r'([a-z_:][a-z0-9_:]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def exposition(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The series of an exposition; fails on what is no exposition, on a series said twice and on one without a type."""
    series = {}
    typed = set()
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            typed.add(line.split(" ")[2])
            continue
        match = SERIES.fullmatch(line)
        assert match, line
        assert match[1] in typed
        labels = tuple(
            (key, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value))
            for key, value in LABEL.findall(match[2])
        )
        assert (match[1], labels) not in series
        series[match[1], labels] = float(match[3])
    return series


@given(NAMES, st.lists(VALUES, max_size=7))
def test_prometheus_parses_whatever_the_names_and_values(names: list[str], values: list[object]) -> None:
    shown = filled(names, values)
    series = exposition(whole("prometheus", View(FAMILIES, verbose=True), shown, samples(shown)).decode())
    assert all(math.isfinite(value) for value in series.values())
    found = {dict(labels)["name"] for name, labels in series if name == "proxtop_vcpu_total_ratio"}
    assert found == set(names)


def test_prometheus_uses_base_units() -> None:
    shown = snapshot(["a"])
    shown.tables["vm"].columns.update(
        {"ram_total": [2], "disk_mbread": [1.5], "cpu_total": [50.0], "disk_lat_rd": [4.0]}
    )
    series = {name: value for (name, _), value in exposition(whole("prometheus", View(), shown).decode()).items()}
    assert series["proxtop_vm_ram_total_bytes"] == 2048
    assert series["proxtop_vm_disk_read_bytes_per_second"] == 1.5 * (1 << 20)
    assert series["proxtop_vm_cpu_total_ratio"] == 0.5
    assert series["proxtop_vm_disk_lat_rd_seconds"] == 0.004


def test_prometheus_counters_are_exact_and_in_base_units() -> None:
    shown = snapshot(["a"], vcpus=1)
    uuid = shown.tables["vm"].ids[0]
    cpu = Sample("cpu", {"vcpu": Table([f"{uuid}/0", "other/0"], {"run_ns": [1 << 60, 1], "wait_ns": [None, 1]})}, 2.0)
    series = exposition(whole("prometheus", View(["cpu"]), shown, {"cpu": cpu}).decode())
    found = {key: value for key, value in series.items() if key[0].endswith("_total")}
    labels = (("node", "web"), ("uuid", uuid), ("name", "a"), ("vcpu", "0"))
    assert found == {("proxtop_vcpu_run_seconds_total", labels): (1 << 60) / 1e9}


def test_prometheus_has_no_counters_of_a_family_without_values_in_this_cycle() -> None:
    shown = snapshot(["a"])
    counters = samples(shown)
    view = View(["io", "psi"])
    for stale, there in (({}, True), ({"io": "no sample in this cycle"}, False)):
        series = exposition(whole("prometheus", view, replace(shown, stale=stale), counters).decode())
        names = {name for name, _ in series if name.endswith("_total")}
        assert ("proxtop_vm_io_syscr_total" in names) is there
        assert "proxtop_vm_psi_some_cpu_seconds_total" in names


def test_promtool_finds_nothing_to_mend() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool must be installed in CI (Debian: prometheus)")
        pytest.skip("promtool is not installed (Debian: prometheus)")
    shown = snapshot(ODD)
    for place, metric in enumerate(catalog.metrics("vm", FAMILIES, verbose=True)):
        shown.tables["vm"].columns[metric.name] = [place] * len(ODD)  # no metric may hide behind an unknown value
    for scope, table in shown.tables.items():
        for metric in catalog.metrics(scope, FAMILIES, verbose=True):  # type: ignore[arg-type]
            if metric.kind != "info":
                table.columns[metric.name] = [7] * len(table.ids)
    data = whole("prometheus", View(FAMILIES, verbose=True), shown, samples(shown))
    result = subprocess.run([promtool, "check", "metrics"], input=data, capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")


@pytest.mark.parametrize("printer", ["text", "csv", "prometheus"])
def test_lines_are_never_torn_apart(printer: str) -> None:
    view = View()
    shown = snapshot([f"a\nb,{number}" for number in range(50)])
    pieces = create(printer, view).parts(shown, STAMP, 2000)
    assert max(map(len, pieces)) <= 2000
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) == create(printer, view).render(shown, STAMP)
    if printer == "csv":
        assert all(len(row) > 10 for piece in pieces for row in csv.reader(io.StringIO(piece.decode(), newline="")))


def test_what_is_missing_is_told() -> None:
    printer = create("text", View(storedev=["sdz"]))
    printer.render(snapshot(["a"]), STAMP)
    assert printer.missing == ("--storedev=sdz",)
