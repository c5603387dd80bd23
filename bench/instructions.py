"""Instructions that the hot loops take, counted by valgrind's callgrind, as shares of a calibration loop's: they
depend on no clock, no load and no other program, and hardly on how Python was built.

`python -m bench.instructions` prints them beside those of bench/instructions.json; `--write` puts them there.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from bench.figures import say
from bench.loops import CALIBRATION

REFERENCE = pathlib.Path(__file__).with_name("instructions.json")
MARKS = pathlib.Path(__file__).with_name("marks.c")
ROOT = pathlib.Path(__file__).parents[1]
ALLOWED = 1.2
"""How many times the reference a loop may take: builds of Python differ by a few percent."""

_NAME = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: (\d+)", re.MULTILINE)


def count() -> dict[str, float]:
    """What each loop takes, as a share of the calibration's instructions."""
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-") as name:
        directory = pathlib.Path(name)
        marks = directory / "marks.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", marks, MARKS], check=True)
        (directory / "host").mkdir()
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", "--compress-strings=no",
            sys.executable, "-P", "-m", "bench.loops", str(marks), str(directory / "host"),
        ]  # fmt: skip
        path = os.pathsep.join((str(ROOT), str(ROOT / "services"), *sys.path))
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path}
        done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:2])}: {done.stderr[-2000:]}")
        counts = {}
        for out in directory.glob("out.*"):
            text = out.read_text()
            named, total = _NAME.search(text), _TOTAL.search(text)
            if named is not None and total is not None:
                counts[named[1]] = int(total[1])
    calibration = counts.pop(CALIBRATION)
    return {name: round(total / calibration, 4) for name, total in counts.items()}


def reference() -> dict[str, float]:
    """The committed figures."""
    loops: dict[str, float] = json.loads(REFERENCE.read_text())
    return loops


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"put them into {REFERENCE.name}")
    given = parser.parse_args()
    found = count()
    before = reference() if REFERENCE.exists() else {}
    for name, ratio in found.items():
        old = before.get(name)
        say(
            f"{name:20} {ratio * 100:6.2f} % of the calibration loop"
            + (f"   x {ratio / old:.2f} to the committed" if old else "")
        )
    if given.write:
        REFERENCE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
