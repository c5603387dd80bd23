"""A hypervisor of the tests: `python -m tests.agg.hypervisor JSON`, the first process of its own PID namespace, in a
network namespace of its own. It starts real guests and a real proxtopd that watches them, and does what it is told on
its standard input: `stop` and `start` the fleet, `end` a guest, `expect` one from another host, `migrate` one there."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.faults.rig import Machine, eventually
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
        machines.append(_machine(place, name, identity))
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
        elif line.startswith("expect "):
            _, name, identity, address = line.split()
            place = folder / f"guest-{name}"
            place.mkdir(exist_ok=True)
            machines.append(_machine(place, name, identity, "-incoming", address))
        elif line.startswith("migrate "):
            _, name, address = line.split()
            migrate(folder / f"guest-{name}" / "monitor", address)
        sys.stdout.write("done\n")
        sys.stdout.flush()
    fleet.terminate()
    fleet.wait()
    for machine in machines:
        machine.kill()


def _machine(place: pathlib.Path, name: str, identity: str, *more: str) -> Machine:
    monitor = ("-qmp", f"unix:{place}/monitor,server=on,wait=off", *more)
    return Machine(place, name, identity=identity, busy=name.startswith("busy"), arguments=monitor)


def migrate(monitor: pathlib.Path, address: str) -> None:
    """Has a guest's QEMU send it to another host; returns when it is there."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as talk:
        talk.connect(str(monitor))
        lines = talk.makefile("rwb")

        def say(command: str, **arguments: str) -> dict[str, object]:
            lines.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            lines.flush()
            while True:
                answer = json.loads(lines.readline())
                if "return" in answer or "error" in answer:
                    assert "error" not in answer, answer
                    returned: dict[str, object] = answer["return"]
                    return returned

        lines.readline()
        say("qmp_capabilities")
        say("migrate", uri=address)

        def ended() -> bool:
            status = say("query-migrate").get("status")
            assert status not in ("failed", "cancelled"), status
            return status == "completed"

        eventually("the end of the migration", ended)


if __name__ == "__main__":
    main(sys.argv[1:])
