"""A hypervisor of the tests: `python -m tests.agg.hypervisor JSON`, the first process of its own PID namespace, in a
network namespace of its own. It starts real guests and a real proxtopd that watches them, and does what it is told on
its standard input: `stop` and `start` the fleet."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

from tests.faults.rig import Machine
from tests.faults.supervised import AS_CALLER, PROXTOPD


def main(argv: Sequence[str]) -> None:
    """Runs until standard input ends."""
    told = json.loads(argv[0])
    folder = pathlib.Path(told["folder"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    machines = []
    for name, identity in told["guests"].items():
        place = folder / f"guest-{name}"
        place.mkdir(exist_ok=True)
        machines.append(Machine(place, name, identity=identity, busy=name.startswith("busy")))
    conf = folder / "proxtop.conf"
    conf.write_text("".join(f"{key}={value}\n" for key, value in told["settings"].items()))
    command = [str(PROXTOPD), f"--config={conf}", "run", *AS_CALLER]
    said = (folder / "said").open("ab")
    fleet = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line == "stop\n":
            fleet.terminate()
            fleet.wait()
        elif line == "start\n":
            fleet = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said)
        elif line.startswith("end "):
            wanted = line.split()[1]
            for machine in machines:
                if machine.name == wanted:
                    machine.kill()
        sys.stdout.write("done\n")
        sys.stdout.flush()
    fleet.terminate()
    fleet.wait()
    for machine in machines:
        machine.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
