"""The hot loops on a small generated host, each run a fixed number of times between two marks: `python -m bench.loops
MARKS.so DIRECTORY` under valgrind's callgrind; see bench/instructions.py."""

from __future__ import annotations

import ctypes
import gc
import pathlib
import sys
from collections.abc import Callable, Mapping
from functools import partial

import msgpack

from bench.tree import Host
from proxtop import catalog
from proxtop.bus import topics
from proxtop.bus.frames import decode, encode, prepare
from proxtop.bus.ids import IdsReader, IdsWriter
from proxtop.collectors import load
from proxtop.connectors.base import Settings
from proxtop.connectors.qemu import QemuConnector
from proxtop.join import Joiner
from proxtop.kernel.files import Files
from proxtop.lookup import Lookup
from proxtop.model import Sample, Stamp
from proxtop.printers.json import JsonPrinter
from proxtop.view import View

VMS = 25
TIMES = 8
WARM = 3
CALIBRATION = "calibration"
FAMILIES = ("cpu", "mem", "disk", "net", "io", "psi", "host")


class _Row:
    """What the calibration loop makes many of."""

    __slots__ = ("key", "numbers")

    def __init__(self, key: str, numbers: list[int]) -> None:
        self.key = key
        self.numbers = numbers

    def rate(self, place: int, seconds: float) -> float | None:
        return None if seconds <= 0 else self.numbers[place] / seconds


def calibration() -> int:
    """Fixed work of the same kind as the loops': what Python itself takes in this build. Calls, attributes, rows turned
    into columns, bytes into numbers, msgpack; nothing of proxtop's."""
    rows = []
    for number in range(100):
        fields = b"12345678 987654321 1234567".split()
        rows.append(_Row(f"row {number}/0", [int(field) for field in fields]))
    owners = {row.key.partition("/")[0]: place for place, row in enumerate(rows)}
    columns = {str(place): [row.rate(place, 1.5) for row in rows] for place in range(3)}
    turned = [list(column) for column in zip(*columns.values(), strict=True)]
    known = [value for row in turned for value in row if value is not None and value.__class__ is float]
    numbers = list(map(int, b" ".join(b"%d" % (row * 1234567) for row in range(2000)).split()))
    packed = msgpack.unpackb(msgpack.packb([[float(number), number, str(number)] for number in numbers[:500]]))
    return len(owners) + len(known) + sum(map(len, columns.values())) + numbers.count(7) + len(packed)


class Loops:
    """What there is to be run, by name."""

    def __init__(self, directory: pathlib.Path, cycles: int = WARM + TIMES) -> None:
        """`cycles` can be joined."""
        self._host = Host(directory, VMS)
        self._files = Files(str(self._host.procfs), str(self._host.sysfs))
        settings = Settings(procfs=str(self._host.procfs), sysfs=str(self._host.sysfs))
        self._connector = QemuConnector(settings)
        self._domains = self._connector.discover()
        self._lookup = Lookup(settings.procfs, settings.sysfs)
        for files in (self._files, self._lookup._files):  # kept open, as those of a real /proc are
            files._lasting = frozenset({directory.stat().st_dev})
        self._inventory = self._lookup.inventory(self._domains)
        assert len(self._inventory.vms) == VMS and len(self._inventory.vms[0].vcpus) == 2
        self._cycle = 0
        self._joiner = Joiner(FAMILIES, 1.0)
        self._joiner.inventory("node", self._inventory)
        self._ids, self._read = IdsWriter(), IdsReader()
        self._printer = JsonPrinter(View(catalog.FAMILIES))
        self._samples = iter([self._sampled() for _ in range(2 + cycles)])
        self.join()
        self.join()
        self._frame = encode(topics.SNAPSHOT, "", self._stamp(), self._snapshot, self._ids)

    def all(self) -> Mapping[str, Callable[[], object]]:
        """Each loop's body."""
        stamp, files, inventory = self._stamp(), self._files, self._inventory
        sampling: dict[str, Callable[[], object]] = {
            f"sample {name}": partial(load(name), inventory, {}, files) for name in ("cpu", "mem", "net", "io", "psi")
        }
        return {
            CALIBRATION: calibration,
            **sampling,
            "look up": lambda: self._lookup.inventory(self._domains),
            "join and derive": self.join,
            "encode a snapshot": lambda: encode(topics.SNAPSHOT, "", stamp, self._snapshot, self._ids),
            "decode a snapshot": lambda: decode(self._frame, self._read),
            "print JSON": lambda: self._printer.render(self._snapshot, stamp),
        }

    def join(self) -> None:
        """The next cycle; the first one is only a base."""
        self._cycle += 1000
        for sample in next(self._samples):
            self._joiner.sample(self._stamp(), sample, self._cycle / 1000)
        closed = self._joiner.close(self._cycle / 1000)
        if closed is not None:
            self._snapshot = closed.snapshot

    def _sampled(self) -> list[Sample]:
        self._host.step()
        return [load(name)(self._inventory, {}, self._files) for name in FAMILIES]

    def _stamp(self) -> Stamp:
        return Stamp("node", 1, 1, self._cycle, self._cycle / 1000, self._cycle / 1000)


def main(marks: str, directory: str) -> None:
    """Runs all loops."""
    library = ctypes.CDLL(marks)
    prepare()
    loops = Loops(pathlib.Path(directory))
    gc.collect()
    gc.disable()
    for name, body in loops.all().items():
        for _ in range(WARM):
            body()
        library.begin()
        for _ in range(TIMES):
            body()
        library.end(name.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
