"""A guest that alternates between busy and idle gets the matrix that its duty cycle implies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

from tests.lab import Lab, Spec

ON_S = OFF_S = 3
FREQUENCY_S = 0.25
BUFFER = 2
STEP_S = BUFFER * FREQUENCY_S
RUNS = 240
PERIODS = RUNS * FREQUENCY_S / (ON_S + OFF_S)


@pytest.mark.slow
def test_the_matrix_is_that_of_the_duty_cycle(lab: Lab) -> None:
    (guest,) = lab.boot_bare([Spec("duty", vcpus=1, load=f"duty:{ON_S}:{OFF_S}")])
    try:
        with tempfile.TemporaryDirectory(prefix="pt") as runtime:  # a short path: sockets lie in it
            done = subprocess.run(
            [
                sys.executable, "-m", "proxprofiler", "--qemu", "--cpu", f"--vm={guest.spec.uuid}",
                f"--frequency={FREQUENCY_S}", f"--buffersize={BUFFER}", "--states=2", "--fixedbound",
                f"--runs={RUNS}", "--outputFreq=1h", "--printer=json",
            ],
            capture_output=True, text=True, timeout=110,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime},
        )  # fmt: skip
    finally:
        guest.stop()
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    raw = json.loads(line)["profile"]
    assert raw["vm"] == "duty"
    cpu = raw["roottx"][0]
    assert cpu["metric"] == "cpu"
    steps = RUNS // BUFFER
    assert steps - 5 <= cpu["steps"] < steps
    idle, busy = cpu["levels"]
    # each stretch ends once: of 6 steps in it 5 are followed by the same state
    for state, level, seconds in ((0, idle, OFF_S), (1, busy, ON_S)):
        stays = 1 - STEP_S / seconds
        row = cpu["transitions"][str(state)]["nextProbs"]
        assert row[state] == pytest.approx(100 * stays, abs=6), cpu["transitions"]
        # a stretch that begins in the middle of a step may take one step more or less
        assert level["sojourn"] == pytest.approx(seconds, abs=STEP_S), cpu
        assert level["share"] == pytest.approx(seconds / (ON_S + OFF_S), abs=1 / PERIODS), cpu
        changes = cpu["transitions"][str(state)]["counts"][1 - state]
        assert changes == pytest.approx(PERIODS, abs=1.5), cpu["transitions"]
    assert idle["mean"] < 15 and busy["mean"] > 85, cpu["levels"]
