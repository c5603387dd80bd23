"""What is round the fleet: a full disk, a clock that is set, VMs that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from proxtop.model import Snapshot
from tests.faults.reliability.bench import INTERVAL_S, Bench, Row, resident_kb
from tests.faults.rig import Machine, Rig, eventually
from tests.faults.supervised import Supervised

_FAR_MS = 3_000_000


def disk_full(bench: Bench) -> Row:
    """The file system of a printer's output is full, then has room again: cycles are kept and arrive."""
    fleet = bench.fleet
    before = fleet.up()
    inside = pathlib.Path(f"/proc/{fleet.process.pid}/root{bench.lines}")
    filler = inside.with_name("filler")

    def written() -> list[int]:
        return [json.loads(line)["cycle"] for line in inside.read_text().splitlines() if line.endswith("}")]

    def act() -> None:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        eventually("the printer's word", lambda: fleet.take() or fleet.status()["printer-file"]["state"] == "degraded")
        held = len(fleet.seen)
        eventually("cycles that have to wait", lambda: fleet.take() or len(fleet.seen) > held + 2)
        filler.unlink()
        newest = fleet.seen[-1][1].cycle
        eventually("all that waited", lambda: fleet.take() or newest in written())

    row = bench.broken("the disk of a printer's output is full for some cycles", act, again=())
    assert fleet.pids() == before
    cycles = written()
    step = round(INTERVAL_S * 1000)
    assert cycles[1:] == list(range(cycles[1], cycles[-1] + 1, step)), cycles
    assert row.lost == "0 cycles"
    return Row(row.fault, "nothing: every cycle is in the file, once", "status: No space left on device", row.seconds)


def clock_stepped(rig: Rig) -> Iterator[Row]:
    """The wall clock is set by an hour, forwards and backwards (Debian's libfaketime: the machine's own is not)."""
    library = faketime()
    assert library is not None, "needs libfaketime (Debian package faketime)"
    file = rig.folder / "clock"
    file.write_text("+0")
    faked = {
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    bench = Bench(rig, environment=faked)
    fleet = bench.fleet
    before = fleet.up()
    for way, time_now in (("forwards", "+1h"), ("backwards", "+0")):
        place = len(fleet.seen)
        last = fleet.seen[-1][1].cycle
        begin = time.monotonic()
        file.write_text(time_now)
        eventually("a cycle of the new time", lambda last=last: _far(fleet, last))  # type: ignore[misc]
        fleet.until("a whole cycle", bench.whole)
        seen = fleet.seen[place:]
        first = next(came for came, stamp, it in seen if abs(stamp.cycle - last) > _FAR_MS and bench.whole(it))
        longest = max(b[0] - a[0] for a, b in zip(fleet.seen[place - 1 :], seen, strict=False))
        assert longest < 3 * INTERVAL_S, longest
        for _, _, found in seen:
            values = found.tables["vm"].columns["cpu_total"]
            assert all(value is None or 0 <= value <= 101 for value in values)
        fleet.up()
        assert fleet.pids() == before
        ill = sum(not bench.whole(found) for _, _, found in seen)
        yield Row(
            f"the wall clock is set {way} by an hour",
            f"{ill} cycles with something stale; the longest pause was {longest:.1f} s",
            "nothing",
            first - begin,
        )


def _far(fleet: Supervised, cycle: int) -> bool:
    fleet.take()
    return abs(fleet.seen[-1][1].cycle - cycle) > _FAR_MS


def vm_cycles(bench: Bench, number: int = 1000) -> Row:
    """A VM is started and ended so many times: no worker grows."""
    fleet = bench.fleet
    folder = bench.rig.folder / "churn"
    folder.mkdir(exist_ok=True)
    _churn(folder, number // 10)  # what a first few bring into memory is no growth
    eventually("the end of the first", lambda: fleet.take() or _without_churn(fleet.seen[-1][2]))
    before = {name: (resident_kb(pid), _descriptors(pid)) for name, pid in fleet.up().items()}
    begin = time.monotonic()
    _churn(folder, number - number // 10)
    seconds = time.monotonic() - begin
    fleet.until("the machine alone", lambda found: _without_churn(found) and bench.whole(found))
    after = {name: (resident_kb(pid), _descriptors(pid)) for name, pid in fleet.up().items()}
    grown = {name: after[name][0] - before[name][0] for name in before}
    held = {name: after[name][1] - before[name][1] for name in before}
    assert max(grown.values()) < 1024, grown
    assert max(held.values()) <= 0, held
    worst = max(grown, key=lambda name: grown[name])
    shown = f"most growth: {grown[worst]} kB of memory ({worst}), {max(held.values())} descriptors"
    return Row(f"a VM is started and ended {number} times (in {seconds:.0f} s)", "nothing", shown, 0.0)


def _without_churn(snapshot: Snapshot) -> bool:
    return not any(str(name).startswith("churn-") for name in snapshot.tables["vm"].columns["name"])


def _churn(folder: pathlib.Path, number: int) -> None:
    """Starts and ends QEMUs, two at a time: each lives until its vCPU's thread is there."""

    def half(side: str) -> None:
        own = folder / side
        own.mkdir(exist_ok=True)
        for _ in range(number // 2):
            Machine(own, f"churn-{side}", busy=False, memory_mib=4).kill()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(half, "ab"))


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def small_disk(rig: Rig) -> list[str]:
    """What has the fleet see a file system of 16 MB where its printer writes."""
    folder = rig.folder / "small"
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size=16m none {folder} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def faketime() -> str | None:
    """libfaketime, None where it is not installed."""
    return next(map(str, pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
