"""`proxprofiler predict`: what each VM will do next."""

from __future__ import annotations

import argparse
from math import log

import orjson

from proxprofiler import files
from proxprofiler.table import amount, duration, percent, table
from proxtop.profiler.discretise import edges
from proxtop.profiler.forecast import Outlook, forecast
from proxtop.profiler.markov import Past
from proxtop.profiler.metrics import MEASURES, unit_of
from proxtop.profiler.profile import Profile
from proxtop.profiler.series import Series

HELP = """\
Usage:
  proxprofiler predict PROFILE…    How probable each state is at each of the next steps

PROFILE is a file of JSON profiles, a state directory, or - for standard input; of each VM the last profile counts. A
step is a buffer: --buffersize samples. The forecast goes on from the profile's last states and, with a period tree, by
the time of each step.

Options:
      --steps=         Steps ahead (default: 10); text shows up to 24 of them
      --state=         Begin at these states instead, the last one last: 3 or 0-3
      --metric=        Only this metric: cpu, cpu_used, mem, disk, net or io
      --vm=            Only these VMs: names or UUIDs, * ? [] match; comma-separated or repeated
  -p, --printer=       text or json (default: text)
  -h, --help           Show this help message
"""

MOST_STEPS = 1_000_000
_SHOWN = 24


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--steps", default="10")
    parser.add_argument("--state")
    parser.add_argument("--metric", choices=tuple(MEASURES))


def run(given: argparse.Namespace) -> list[str]:
    """The forecast of every VM and metric."""
    if not given.files:
        raise ValueError("no PROFILE given; see proxprofiler predict --help")
    if not given.steps.isdecimal() or not 1 <= int(given.steps) <= MOST_STEPS:
        raise ValueError(f"--steps: {given.steps!r} is not a number from 1 to {MOST_STEPS}")
    lines: list[str] = []
    for profile in files.profiles(given.files, given.vm):
        for series in profile.series.values():
            if given.metric in (None, series.metric) and series.root.total():
                past = _past(given.state, series) if given.state is not None else series.past
                steps = _outlooks(profile, series, past, int(given.steps), every=given.printer == "json")
                if given.printer == "json":
                    lines.append(_json(profile, series, past, steps))
                else:
                    lines += [*([""] if lines else []), *_text(profile, series, past, steps)]
    if not lines:
        what = f" of {given.metric}" if given.metric else ""
        raise ValueError(f"{', '.join(given.files)}: no transition{what} has been seen yet; profile for longer")
    return lines


def _past(text: str, series: Series) -> Past:
    parts = text.split("-")
    states, history = series.settings.states, series.settings.history
    if not all(part.isdecimal() and int(part) < states for part in parts) or len(parts) > history:
        raise ValueError(
            f"--state: {text!r} is not up to {history} states from 0 to {states - 1}, as this profile has; give e.g. 0"
        )
    return tuple(map(int, parts))


def _outlooks(profile: Profile, series: Series, past: Past, steps: int, *, every: bool) -> list[Outlook]:
    """All steps, or as many as one can look at: the first ones, and more sparsely what is far away."""
    shown = set(range(1, steps + 1)) if every or steps <= _SHOWN else _spread(steps)
    return [one for one in forecast(series, steps, time=profile.time, past=past) if one.step in shown]


def _spread(steps: int) -> set[int]:
    ratio = log(steps) / (_SHOWN - 1)
    found = {round(2.718281828459045 ** (ratio * number)) for number in range(_SHOWN)}
    return {*found, steps}


def _json(profile: Profile, series: Series, past: Past, steps: list[Outlook]) -> str:
    raw = {
        "name": profile.name, "vm": profile.vm, "metric": series.metric, "unit": unit_of(series.metric),
        "time": profile.time, "state": "-".join(map(str, past)) or None,
        "levels": [edges(state, *(series.bounds or (0.0, 0.0)), series.settings.states)
                   for state in range(series.settings.states)],
        "steps": [{"step": one.step, "after": one.after_s, "probabilities": one.chances, "expected": one.expected}
                  for one in steps],
    }  # fmt: skip
    return orjson.dumps(raw).decode()


def _text(profile: Profile, series: Series, past: Past, steps: list[Outlook]) -> list[str]:
    states, unit = series.settings.states, unit_of(series.metric)
    ends = [edges(state, *(series.bounds or (0.0, 0.0)), states) for state in range(states)]
    heads = [f"{state}: to {amount(high, unit)}" for state, (_, high) in enumerate(ends)]
    now = f"now in state {'-'.join(map(str, past))}" if past else "its state now is not known"
    title = f"{profile.vm or profile.name}  {series.metric} from {amount(ends[0][0], unit)}, {now}"
    rows = [
        [
            str(one.step), f"in {duration(one.after_s)}", *(percent(chance) for chance in one.chances),
            amount(one.expected, unit),
        ]
        for one in steps
    ]  # fmt: skip
    return [title, *table(["step", "", *heads, "expected"], rows, left=2)]
