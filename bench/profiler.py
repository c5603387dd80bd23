"""What the profiler foretells, what it notices, and what it costs: `python -m bench.profiler` prints all figures,
`measure` has the most telling ones for the table of `make bench`.

Forecast: profiles of 14 days, frozen; each half hour of the 4 days after them, the chances of the states at several
distances ahead, by log-loss (bits a forecast; less is better), beside two others that know the same days: the mean
(how often each state was) and persistence (the state now, with the chance that the training days give it to be there
again, else the mean). Anomalies: the 7 days after 14 days without a change, and changes at random times in them. Cost:
snapshots off the wire into profiles, 1,000 VMs each second, CPU and memory of this process alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import log2

from bench import watch
from bench.figures import Figure, note
from bench.traces import DAY, SHAPES, STEP_S, days
from proxtop.bus import topics
from proxtop.bus.frames import decode, encode
from proxtop.bus.ids import IdsReader
from proxtop.model import Snapshot
from proxtop.profiler.discretise import state_of
from proxtop.profiler.document import document
from proxtop.profiler.forecast import forecast
from proxtop.profiler.markov import Past
from proxtop.profiler.profile import Profile
from proxtop.profiler.profiler import Profiler
from proxtop.profiler.settings import Settings
from proxtop.profiler.usual import ALARM
from proxtopd.profiler import KEEP_S
from tests.tui.recorded import many

TRAINED_DAYS, HELD_OUT_DAYS = 14, 4
WATCHED_DAYS = 7
AHEAD = (1, 15, 90, 360, 1440)
"""Steps: 20 s, 5 min, half an hour, 2 hours, 8 hours."""

EVERY = 90
SEED = 100
SETTINGS = Settings(buffersize=1, interval=STEP_S, fixedbound=True, periodsize=(7, 24, 180))
BOUNDS = (0.0, 100.0)
LEAST_CHANGE = 35.0
"""Percentage points by which a change has to move the CPU to count as one."""

WITHIN = 10
"""Buffers within which a change is to be noticed."""

CHANGES: dict[str, Callable[[float, int, random.Random], float]] = {
    "a miner takes all that is left": lambda value, step, chance: min(100.0, 93 + chance.gauss(0, 2)),
    "it hangs and does nothing": lambda value, step, chance: max(0.0, chance.gauss(0.5, 0.2)),
    "it restarts again and again": lambda value, step, chance: 90.0 if step % 2 else 2.0,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in ms a cycle (decoding, profiling, keeping) and memory in MB."""

    decode_ms: float
    feed_ms: float
    keep_ms: float
    memory_mb: float

    @property
    def share(self) -> float:
        """Of a core, at a cycle a second."""
        return (self.decode_ms + self.feed_ms + self.keep_ms) / 1000


def put(profile: Profile, points: Sequence[tuple[float, float]]) -> None:
    """Feeds the profile with a trace."""
    for moment, value in points:
        profile.put(moment, {"cpu": value}, {"cpu": BOUNDS})


def state(value: float) -> int:
    """The state of a value."""
    return state_of(value, *BOUNDS, SETTINGS.states)


def forecasts() -> dict[str, dict[int, tuple[float, float, float]]]:
    """For each kind of VM and distance: mean log-loss in bits of (the profile, persistence, the mean)."""
    found: dict[str, dict[int, tuple[float, float, float]]] = {}
    for number, (kind, shape) in enumerate(SHAPES.items()):
        points = days(shape, SEED + number, TRAINED_DAYS + HELD_OUT_DAYS)
        split = TRAINED_DAYS * DAY
        profile = Profile(kind, SETTINGS)
        put(profile, points[:split])
        states = [state(value) for _, value in points]
        mean, stays = _baselines(states[:split])
        losses: dict[int, list[tuple[float, float, float]]] = {ahead: [] for ahead in AHEAD}
        series = profile.series["cpu"]
        with profile.complete():
            for origin in range(split, len(points) - max(AHEAD), EVERY):
                past: Past = tuple(states[origin - SETTINGS.history + 1 : origin + 1])
                for one in forecast(series, max(AHEAD), time=points[origin][0], past=past):
                    if one.step in losses:
                        truth, now = states[origin + one.step], states[origin]
                        stay = stays[one.step][now]
                        same = (stay if truth == now else 0.0) + (1 - stay) * mean[truth]
                        losses[one.step].append((-log2(one.chances[truth]), -log2(same), -log2(mean[truth])))
        found[kind] = {
            ahead: tuple(statistics.fmean(column) for column in zip(*rows, strict=True))  # type: ignore[misc]
            for ahead, rows in losses.items()
        }
    return found


def _baselines(states: Sequence[int]) -> tuple[list[float], dict[int, list[float]]]:
    """(how often each state was, by distance the weight of staying for each state that makes persistence best)"""
    count = SETTINGS.states
    mean = [(states.count(one) + 0.5) / (len(states) + 0.5 * count) for one in range(count)]
    stays: dict[int, list[float]] = {}
    for ahead in AHEAD:
        stays[ahead] = []
        for now in range(count):
            after = [states[place + ahead] for place in range(len(states) - ahead) if states[place] == now]
            again = (after.count(now) + 0.5) / (len(after) + 1)
            stays[ahead].append(max(0.0, min(0.999, (again - mean[now]) / (1 - mean[now]))))
    return mean, stays


def anomalies(
    states: int = SETTINGS.states, changes: int = 360, seed: int = 200
) -> tuple[dict[str, tuple[float, float | None, int]], dict[str, float]]:
    """(by change: the share that was noticed within WITHIN buffers, the median of buffers until then, how many were
    made; by kind of VM: the share of the buffers without a change that raised an alarm)"""
    settings = replace(SETTINGS, states=states)
    wrong: dict[str, float] = {}
    delays: dict[str, list[int | None]] = {name: [] for name in CHANGES}
    chance = random.Random(9)
    each = max(1, changes // len(SHAPES) // len(CHANGES))
    for number, (name, shape) in enumerate(SHAPES.items()):
        points = days(shape, seed + number, TRAINED_DAYS + WATCHED_DAYS)
        split = TRAINED_DAYS * DAY
        profile = Profile("watched", settings)
        put(profile, points[:split])
        times = sorted(chance.sample(range(split, len(points) - 50), each * len(CHANGES)))
        kinds = list(CHANGES) * each
        chance.shuffle(kinds)
        planned = dict(zip(times, kinds, strict=True))
        alarms = 0
        for place in range(split, len(points)):
            kind = planned.get(place)
            if kind is not None and _unlike(kind, points[place : place + WITHIN]):
                delays[kind].append(_delay(copy.deepcopy(profile), kind, points[place:], chance))
            put(profile, points[place : place + 1])
            alarms += (profile.anomaly or 0.0) >= ALARM
        wrong[name] = alarms / (len(points) - split)
    found = {}
    for kind, all_of_them in delays.items():
        noticed = [delay for delay in all_of_them if delay is not None]
        found[kind] = (
            len(noticed) / max(1, len(all_of_them)), statistics.median(noticed) if noticed else None, len(all_of_them),
        )  # fmt: skip
    return found, wrong


def _unlike(kind: str, points: Sequence[tuple[float, float]]) -> bool:
    """Whether the change is one: a VM that is idle anyway does not hang, and one at its limit has nothing to give."""
    chance = random.Random(1)
    moves = [abs(CHANGES[kind](value, step, chance) - value) for step, (_, value) in enumerate(points)]
    return statistics.fmean(moves) >= LEAST_CHANGE


def _delay(profile: Profile, kind: str, points: Sequence[tuple[float, float]], chance: random.Random) -> int | None:
    """Buffers from the change to the first alarm, None where none came in time."""
    for step in range(WITHIN):
        moment, value = points[step]
        put(profile, [(moment, CHANGES[kind](value, step, chance))])
        if (profile.anomaly or 0.0) >= ALARM:
            return step + 1
    return None


def cost(vms: int = 1000, cycles: int = 200, settings: Settings | None = None) -> Cost:
    """Of so many VMs with all their metrics, each second."""
    frames = [encode(topics.SNAPSHOT, "", *many(vms, number)) for number in range(20)]
    profiler = Profiler(settings or Settings(interval=1.0), ("cpu", "mem", "disk", "net", "io"))
    ids = IdsReader()
    decoding = feeding = 0.0
    for number in range(cycles):
        start = time.process_time()
        message = decode(frames[number % len(frames)], ids)
        assert isinstance(message.body, Snapshot)
        middle = time.process_time()
        profiler.feed("bench", 1e9 + number, message.body)
        decoding, feeding = decoding + middle - start, feeding + time.process_time() - middle
    some = list(profiler.profiles.values())[:100]
    start = time.process_time()
    for profile in some:
        document(profile)
    keeping = (time.process_time() - start) / len(some) * vms / KEEP_S
    return Cost(decoding / cycles * 1000, feeding / cycles * 1000, keeping * 1000, _memory_mb())


def _memory_mb() -> float:
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def report() -> Iterator[str]:
    """The figures, as lines to read."""
    yield f"log-loss in bits a forecast, over {HELD_OUT_DAYS} days that were not learnt: profile / persistence / mean"
    for kind, losses in forecasts().items():
        for ahead, (own, same, mean) in losses.items():
            best = "  " if own <= min(same, mean) else " !"
            yield f"{kind:6} {ahead * STEP_S / 60:6.1f} min ahead {own:7.3f} {same:7.3f} {mean:7.3f}{best}"
    for states in (SETTINGS.states, 2 * SETTINGS.states):
        found, wrong = anomalies(states)
        by_kind = ", ".join(f"{kind} {100 * share:.2f} %" for kind, share in wrong.items())
        mean = statistics.fmean(wrong.values())
        yield f"{states} states: alarms in {100 * mean:.2f} % of the buffers without a change ({by_kind}); with one:"
        for kind, (share, delay, count) in found.items():
            yield f"  {kind}: {100 * share:.0f} % of {count} noticed within {WITHIN} buffers, median after {delay}"
    whole = cost()
    yield (
        f"1,000 VMs x 6 metrics each second: {100 * whole.share:.2f} % of a core (decode {whole.decode_ms:.1f},"
        f" profile {whole.feed_ms:.1f}, keep {whole.keep_ms:.1f} ms a cycle), {whole.memory_mb:.0f} MB"
    )


def measure() -> list[Figure]:
    """The most telling ones, for the table of `make bench`; the cost in a process of its own."""
    note("the profiler")
    load, section = watch.load(), "the profiler"
    found = []
    losses = forecasts()
    for ahead in AHEAD:
        own, same, mean = (sum(column) for column in zip(*(kind[ahead] for kind in losses.values()), strict=True))
        name = f"log-loss {ahead * STEP_S:,.0f} s ahead / that of persistence or the mean"
        found.append(Figure(section, name, own / min(same, mean), "", 1.0, load))
    noticed, wrong = anomalies()
    for kind, share in wrong.items():
        name = f"{kind}: buffers without a change that raise an alarm"
        found.append(Figure(section, name, 100 * share, "%", 1.0, load))
    for change, (share, _, _) in noticed.items():
        found.append(
            Figure(section, f"{change}: not noticed within {WITHIN} buffers", 100 * (1 - share), "%", 3.0, load)
        )
    done = subprocess.run(
        [sys.executable, "-m", "bench.profiler", "--cost"], capture_output=True, text=True, check=True
    )
    whole = Cost(**json.loads(done.stdout))
    name = "1,000 VMs with 6 metrics each second"
    found.append(Figure(section, f"{name}: share of a core", 100 * whole.share, "%", 5.0, load))
    found.append(Figure(section, f"{name}: memory", whole.memory_mb, "MB", 200.0, load))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cost", action="store_true", help="the cost alone, as JSON")
    if parser.parse_args().cost:
        sys.stdout.write(json.dumps(asdict(cost())) + "\n")
        return
    for line in report():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
