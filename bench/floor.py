"""The floor: a C program that reads what the family cpu reads, and does nothing else."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from collections.abc import Iterable

SOURCE = pathlib.Path(__file__).with_name("floor.c")
BARS_SET_AT_US = 0.27
"""What a read took, back to back, on the machine where the bars in seconds were set."""


def files(pids: Iterable[int]) -> list[str]:
    """The files that the family cpu reads in each pass for these QEMU processes: the host's times, and each thread's
    run-queue times."""
    tasks = [task for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return ["/proc/stat"] + [f"{task}/schedstat" for task in sorted(tasks, key=lambda task: int(task.name))]


def work_us(reads: int = 20_000, tries: int = 5) -> float:
    """What a read of a kept descriptor and the parsing of it costs in Python on this machine, back to back, in µs of
    CPU; the least of some tries."""
    descriptor = os.open("/proc/self/schedstat", os.O_RDONLY)
    found = []
    for _ in range(tries):
        begun = time.process_time()
        for _ in range(reads):
            [int(field) for field in os.pread(descriptor, 64, 0).split()]
        found.append((time.process_time() - begun) / reads * 1e6)
    os.close(descriptor)
    return min(found)


class Floor:
    """The program, compiled into that directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._program = directory / "floor"
        subprocess.run(["cc", "-O2", "-o", self._program, SOURCE], check=True)

    def run(self, paths: list[str], cycles: int, interval_ms: int) -> tuple[float, int]:
        """(seconds of CPU, reads) over that many cycles."""
        command = [str(self._program), str(cycles), str(interval_ms)]
        done = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, check=True)
        cpu, reads, _ = done.stdout.split()
        return float(cpu), int(reads)

    def read_us(self) -> float:
        """What one read costs on this machine, back to back, in µs of CPU; the least of some tries."""
        paths = ["/proc/self/schedstat"] * 1000
        return min(cpu / reads * 1e6 for cpu, reads in (self.run(paths, 50, 0) for _ in range(5)))
