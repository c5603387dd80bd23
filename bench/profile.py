"""`make profile`: where a fleet's CPU goes, as a flame graph (py-spy), of all its processes together.

ARGS are proxtop's options (--libvirt, --proxmox, --qemu, families); without any, a generated host of 500 VMs with all
families. Where py-spy can't look into other processes, cProfile's table of the hot loops is printed instead.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pathlib
import pstats
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from bench.figures import note, say
from bench.fleet import FAMILIES
from bench.loops import CALIBRATION, Loops
from bench.thousand import NODE, Mover, tmpfs
from bench.tree import Host
from tests.e2e.running import Proxtop

VMS = 500
RATE_HZ = 500
TIMES = 200
MOST_LINES = 40


def main() -> int:
    """0; 1 where nothing could be recorded."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=15, help="how long to look: %(default)s")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("profile.svg"), help="%(default)s")
    given, options = parser.parse_known_args()
    spy = pathlib.Path(sys.executable).with_name("py-spy")
    if shutil.which(spy) is not None and _recorded(spy, given.seconds, given.output, options):
        say(f"{given.output}: open it in a browser; width is time, each worker is a tower of its own")
        return 0
    note("py-spy is not here or may not look into other processes; the hot loops by cProfile instead")
    _loops()
    return 0


def _recorded(spy: pathlib.Path, seconds: int, output: pathlib.Path, options: Sequence[str]) -> bool:
    with _host(options) as arguments, Proxtop(*arguments, "-p", "json", "-f", "1") as proxtop:
        proxtop.lines(3, timeout=60)
        command = [
            str(spy), "record", "--subprocesses", "--native", "--rate", str(RATE_HZ),
            "--duration", str(seconds), "--output", str(output), "--pid", str(proxtop.process.pid),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode or not output.exists():
            note(done.stderr.strip()[-300:])
            return False
        return True


@contextlib.contextmanager
def _host(options: Sequence[str]) -> Iterator[Sequence[str]]:
    """proxtop's arguments: those given, else for a generated host, which lasts as long."""
    if options:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-", dir=tmpfs()) as directory:
        host = Host(pathlib.Path(directory), VMS)
        mover = Mover(host)
        mover.start()
        try:
            roots = ("--procfs", str(host.procfs), "--sysfs", str(host.sysfs), "--node", NODE)
            yield ("--qemu", *roots, *FAMILIES)
        finally:
            mover.stop()
            host.close()


def _loops() -> None:
    with tempfile.TemporaryDirectory(prefix="proxtop-bench-", dir=tmpfs()) as directory:
        loops = Loops(pathlib.Path(directory), cycles=TIMES)
        profile = cProfile.Profile()
        with profile:
            for body in (body for name, body in loops.all().items() if name != CALIBRATION):
                for _ in range(TIMES):
                    body()
        pstats.Stats(profile).sort_stats("tottime").print_stats(MOST_LINES)


if __name__ == "__main__":
    sys.exit(main())
