"""proxprofiler as a user runs it: on recorded cycles, on a bus, and with nonsense."""

from __future__ import annotations

import json
import math
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from proxprofiler.cli import main
from tests.tui.feed import Feed
from tests.unit.profiler.chains import START

COMMAND = (sys.executable, "-m", "proxprofiler")
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An hour and a half of two VMs each 2 s: web is idle or busy, db goes up and down."""
    chance = random.Random(1)
    path = tmp_path_factory.mktemp("recording") / "cycles.json"
    busy = False
    lines = []
    for number in range(2700):
        busy ^= chance.random() < 0.02
        web = {"UUID": "u1", "name": "web", "cpu_cores": 4, "cpu_total": 90.0 if busy else 5.0, "cpu_steal": 0.5}
        db = {"UUID": "u2", "name": "db", "cpu_cores": 2, "cpu_total": 30 + 20 * math.sin(number / 300), "cpu_steal": 1}
        cycle = round((START + 2 * number) * 1000)
        lines.append(json.dumps({"node": "pve1", "cycle": cycle, "host": {}, "domains": [web, db]}) + "\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def profiles(recording: pathlib.Path) -> pathlib.Path:
    """The profiles of that recording."""
    path = recording.with_name("profiles.json")
    assert main([f"--input={recording}", "-o", "file", f"--target={path}"]) == 0
    return path


def out(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a call that succeeds prints."""
    capfd.readouterr()
    status = main(list(arguments))
    found = capfd.readouterr()
    assert (status, found.err) == (0, "")
    return found.out


def test_a_recording_gives_a_profile_of_each_vm(profiles: pathlib.Path) -> None:
    db, web = (json.loads(line)["profile"] for line in profiles.read_text().splitlines())
    assert (db["vm"], web["vm"], web["vcpus"], web["node"]) == ("db", "web", 4, "pve1")
    assert web["settings"]["interval"] == 2.0
    assert [root["metric"] for root in web["roottx"]] == ["cpu", "cpu_used"]
    assert web["roottx"][0]["steps"] == 269
    assert web["roottx"][0]["stats"]["count"] == 2700


def test_text_has_the_same_fields_on_every_line(recording: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    head, *lines = out(capfd, f"--input={recording}", "-p", "text", "--states=3").splitlines()
    fields = head.split("\t")
    assert fields[:4] == ["UUID", "name", "metric", "unit"]
    assert fields[-3:] == ["share_0", "share_1", "share_2"]
    assert len(lines) == 4
    for line in lines:
        values = line.split("\t")
        assert len(values) == len(fields)
        assert sum(map(float, values[-3:])) == pytest.approx(100, abs=0.1)


def test_only_the_vms_and_families_that_were_asked_for(
    recording: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (line,) = out(capfd, f"--input={recording}", "--vm=w*").splitlines()
    assert json.loads(line)["profile"]["vm"] == "web"


def test_predict_goes_on_from_the_last_state(profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = out(capfd, "predict", str(profiles), "--vm=web", "--metric=cpu", "--steps=3", "--state=3")
    assert "web  cpu" in text
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["1", "2", "3"]
    raw = json.loads(out(capfd, "predict", str(profiles), "--vm=web", "--metric=cpu", "-p", "json", "--state=3"))
    assert len(raw["steps"]) == 10
    assert raw["steps"][0]["probabilities"][3] > 0.5
    for step in raw["steps"]:
        assert sum(step["probabilities"]) == pytest.approx(1)


def test_a_long_forecast_is_shown_in_part_and_given_whole(
    profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = out(capfd, "predict", str(profiles), "--vm=web", "--metric=cpu", "--steps=5000")
    assert len(text.splitlines()) <= 26
    assert text.splitlines()[-1].startswith("5000 ")
    raw = json.loads(out(capfd, "predict", str(profiles), "--vm=web", "--metric=cpu", "-p", "json", "--steps=5000"))
    assert [step["step"] for step in raw["steps"]] == list(range(1, 5001))


def test_plan_says_how_many_fit(profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = json.loads(out(capfd, "plan", str(profiles), "--cores=16", "-p", "json"))
    more = json.loads(out(capfd, "plan", str(profiles), "--cores=16", "--risk=10%", "-p", "json"))
    assert 4 < few["fit"] < more["fit"]
    assert few["resources"][0]["risk"] <= 0.01 < few["resources"][0]["nextRisk"]
    text = out(capfd, "plan", str(profiles), "--cores=16")
    assert f"{few['fit']} VMs in all, limited by cpu" in text
    assert "VMs like web fit, limited by cpu" in out(capfd, "plan", str(profiles), "--cores=16", "--vm=web")
    assert "Not one fits" in out(capfd, "plan", str(profiles), "--cores=1", "--vm=web")


def test_compare_tells_the_vms_apart(profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    db, web = profiles.read_text().splitlines(keepends=True)
    one, other = profiles.with_name("db.json"), profiles.with_name("web.json")
    one.write_text(db)
    other.write_text(web)
    same = json.loads(out(capfd, "compare", str(one), str(profiles), "-p", "json").splitlines()[0])
    apart = json.loads(out(capfd, "compare", str(one), str(other), "-p", "json").splitlines()[0])
    assert same["distance"] == 0
    assert apart["distance"] > 0.4
    assert "db : web" in out(capfd, "compare", str(one), str(other))


def test_of_many_profiles_of_a_vm_the_last_one_counts(
    profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    db, web = (json.loads(line) for line in profiles.read_text().splitlines())
    both = profiles.with_name("both.json")
    old = json.loads(json.dumps(web))
    old["profile"]["vm"] = "old-name"
    both.write_text("".join(json.dumps(raw) + "\n" for raw in (old, db, web)))
    text = out(capfd, "predict", str(both), "--metric=cpu", "--steps=1")
    assert "web  cpu" in text
    assert "old-name" not in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--states=1"], "--states"), (["--states=x"], "--states"), (["--outputFreq=soon"], "--outputFreq"),
        (["--outputFreq=0"], "--outputFreq"), (["--printer=csv"], "csv"), (["profile"], "'profile'"),
        (["--periodsize=7"], "--periodsize"), (["--periodsize=7,x"], "--periodsize"), (["--history=0"], "--history"),
        (["--phase-likelihood=2"], "--phase-likelihood"), (["--filterstddevs=few"], "--filterstddevs"),
        (["--input=/nope"], "/nope"), (["--input=/dev/null"], "/dev/null"), (["--input=/etc/passwd"], "line 1"),
        (["--input=x", "--runs=3"], "--runs"), (["--state-dir=", "--input=x"], "--state-dir"),
        (["--frequency=0"], "--frequency"), (["--bus=ipc:///nope"], "/nope"),
        (["predict"], "PROFILE"), (["predict", "/nope"], "/nope"), (["predict", "/etc/passwd"], "line 1"),
        (["predict", "GOOD", "--steps=0"], "--steps"), (["predict", "GOOD", "--state=4"], "--state"),
        (["predict", "GOOD", "--state=0-1"], "--state"), (["predict", "GOOD", "--vm=nobody"], "nobody"),
        (["predict", "GOOD", "--metric=x"], "--metric"), (["predict", "GOOD", "--metric=mem"], "mem"),
        (["plan", "GOOD"], "--cores"), (["plan", "GOOD", "--cores=0"], "--cores"),
        (["plan", "GOOD", "--memory=1G"], "mem"),
        (["plan", "GOOD", "--cores=4", "--risk=2"], "--risk"), (["plan", "GOOD", "--net=fast"], "--net"),
        (["compare", "GOOD"], "two files"), (["plot", "GOOD", "-o", "x.svg"], "--vm"),
        (["plot", "GOOD", "-o", "x.gif"], "-o"),
    ],
)  # fmt: skip
def test_nonsense_is_one_line_and_status_2(
    arguments: list[str], word: str, profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main([str(profiles) if argument == "GOOD" else argument for argument in arguments])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0
    found = capfd.readouterr()
    assert status == 2
    assert found.out == ""
    assert found.err.startswith("prox")
    assert found.err.count("\n") == 1
    assert word in found.err


def test_a_metric_that_only_another_version_knows_has_no_unit(
    profiles: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = profiles.with_name("other.json")
    other.write_text(profiles.read_text().replace('"metric":"cpu"', '"metric":"gpu"'))
    assert '"metric":"gpu","unit":""' in out(capfd, "predict", str(other), "--printer=json")
    assert "gpu" in out(capfd, "predict", str(other)) and "gpu" in out(capfd, "compare", str(other), str(other))


def loaded(state: pathlib.Path) -> dict[str, Any]:
    return {raw["vm"]: raw for raw in (json.loads(path.read_text()) for path in state.glob("*.json"))}


def steps(state: pathlib.Path) -> int:
    """The steps kept of a VM; 0 while there is none."""
    found = loaded(state)
    return int(found["web-000"]["roottx"][0]["steps"]) if "web-000" in found else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_profiles_on_a_bus_survive_whatever_ends_the_profiler(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    state = tmp_path / "state"
    with Feed(tmp_path / "bus", 3, 0.2) as feed:
        command = [*COMMAND, "--bus", feed.uri, "--frequency=0.2", "--buffersize=2", f"--state-dir={state}"]
        first = subprocess.run([*command, "--runs=12"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert (first.returncode, first.stderr) == (0, "")
        assert len(first.stdout.splitlines()) == 3  # what a run that is over has learnt
        before = steps(state)
        assert before == 5
        with subprocess.Popen([*command, "--outputFreq=1s"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["profile"]["schema"] == 1  # kept before it is shown
            process.send_signal(number)
            rest = process.stdout.read()
            assert process.wait(PATIENCE_S) in (0, 130, -signal.SIGKILL)
        if number != signal.SIGKILL:  # what was learnt up to the end is shown too
            assert {json.loads(line)["profile"]["vm"] for line in rest.splitlines()[-3:]} == loaded(state).keys()
        assert steps(state) > before
        raw = loaded(state)["web-000"]
    assert raw["gaps"] <= 1
    assert raw["roottx"][0]["stats"]["count"] > 12


def test_a_second_profiler_leaves_the_first_one_its_directory(tmp_path: pathlib.Path, recording: pathlib.Path) -> None:
    state = tmp_path / "state"
    with Feed(tmp_path / "bus", 3, 0.2) as feed:
        command = [*COMMAND, "--bus", feed.uri, "--frequency=0.2", "--buffersize=2", f"--state-dir={state}"]
        with subprocess.Popen([*command, "--outputFreq=1s"], stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + PATIENCE_S
            while not steps(state):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            second = subprocess.run(
                [*COMMAND, f"--input={recording}", f"--state-dir={state}"], capture_output=True, text=True
            )
            process.terminate()
    assert second.returncode == 2
    assert "another profiler" in second.stderr
    assert second.stderr.count("\n") == 1
