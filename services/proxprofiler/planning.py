"""`proxprofiler plan`: how many of these VMs fit a host."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import orjson

from proxprofiler import files
from proxprofiler.table import number, percent, table
from proxtop.profiler.periods import Periods
from proxtop.profiler.plan import MOST_VMS, Fit, Points, demands, fit
from proxtop.profiler.profile import Profile

HELP = """\
Usage:
  proxprofiler plan PROFILES…      How many of these VMs fit a host

PROFILES are files of JSON profiles, state directories, or - for standard input; of each VM the last profile counts.
The VMs are taken in turn, again and again, until they want more than the host has for a larger share of the time than
--risk allows: at the worst time of the day or week, where the profiles have a period tree.

Options:
      --cores=         Cores of the host, for cpu (used and waited for)
      --memory=        Memory of the host: 64G, 512M
      --net=           Link speed of the host, both ways together counted twice: 10G, 1000M (bits a second)
      --disks=         Devices of the host, for disk (busy time)
      --risk=          Share of the time in which less than all is there: 1% or 0.01 (default: 1%)
      --vm=            Only these VMs: names or UUIDs, * ? [] match; comma-separated or repeated
  -p, --printer=       text or json (default: text)
  -h, --help           Show this help message
"""

_NAMED = 5
_FACTORS = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a host has: `capacity` in `unit`s, wanted by a metric; `scale` makes the metric's values units."""

    metric: str
    capacity: float
    unit: str
    scale: float


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    for name in ("--cores", "--memory", "--net", "--disks", "--risk"):
        parser.add_argument(name)


def run(given: argparse.Namespace) -> list[str]:
    """A line for each resource, and what it comes to."""
    if not given.files:
        raise ValueError("no PROFILES given; see proxprofiler plan --help")
    resources = _resources(given)
    if not resources:
        raise ValueError("what does the host have? give --cores, --memory, --net or --disks")
    risk = _risk(given.risk)
    vms = files.profiles(given.files, given.vm)
    if len({(profile.settings.periodsize, profile.settings.step_s) for profile in vms}) > 1:
        raise ValueError("these profiles have different period trees; plan with profiles of the same --periodsize")
    fits = [(resource, fit(_demands(vms, resource), resource.capacity, risk)) for resource in resources]
    return [_json(vms, risk, fits)] if given.printer == "json" else _text(vms, risk, fits)


def _resources(given: argparse.Namespace) -> list[Resource]:
    found = []
    if given.cores is not None:
        found.append(Resource("cpu", _amount("--cores", given.cores), "cores", 0.01))
    if given.memory is not None:
        found.append(Resource("mem", _size("--memory", given.memory, 1024) / 1024**3, "GB", 1 / 1024**2))
    if given.net is not None:
        found.append(Resource("net", 2 * _size("--net", given.net, 1000) / 8e6, "MB/s", 1e-6))
    if given.disks is not None:
        found.append(Resource("disk", _amount("--disks", given.disks), "devices", 0.01))
    return found


def _demands(vms: list[Profile], resource: Resource) -> list[list[Points]]:
    found = []
    for profile in vms:
        scale = resource.scale
        if resource.metric == "cpu":
            if not profile.vcpus:
                raise ValueError(
                    f"{profile.vm or profile.name}: how many vCPUs it has is not known; leave it out by --vm"
                )
            scale *= profile.vcpus
        points = demands(profile, resource.metric, scale)
        if points is None:
            raise ValueError(
                f"{profile.vm or profile.name}: its profile has no {resource.metric}; profile it with that, or leave it"
                " out by --vm"
            )
        found.append(points)
    return found


def _amount(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"{option}: {text!r} is no number above 0; give e.g. 16")
    return value


def _size(option: str, text: str, base: int) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:i?B|bit)?", text)
    if match is None or not float(match[1]):
        raise ValueError(f"{option}: {text!r} is no amount; give e.g. 64G or 512M")
    power = _FACTORS[match[2]] if match[2] else 0
    return float(match[1]) * float(base**power)


def _risk(text: str | None) -> float:
    try:
        value = 0.01 if text is None else float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError(f"--risk: {text!r} is no share of the time between 0 and 1; give e.g. 1% or 0.01")
    return value


def _json(vms: list[Profile], risk: float, fits: list[tuple[Resource, Fit]]) -> str:
    raw = {
        "risk": risk,
        "vms": [{"name": profile.name, "vm": profile.vm} for profile in vms],
        "fit": min(found.vms for _, found in fits),
        "resources": [
            {
                "metric": resource.metric, "capacity": resource.capacity, "unit": resource.unit, "fit": found.vms,
                "risk": found.risk, "nextRisk": found.next_risk, "mean": found.mean, "worst": _when(vms[0], found),
            }
            for resource, found in fits
        ],
    }  # fmt: skip
    return orjson.dumps(raw).decode()


def _text(vms: list[Profile], risk: float, fits: list[tuple[Resource, Fit]]) -> list[str]:
    rows = []
    for resource, found in fits:
        rows.append(
            [
                resource.metric, f"{number(resource.capacity)} {resource.unit}",
                f"{found.vms}" if found.next_risk is not None else f"{found.vms} and more",
                percent(found.risk, 2), "-" if found.next_risk is None else percent(found.next_risk, 2),
                f"{number(found.mean)} {resource.unit} ({100 * found.mean / resource.capacity:.0f} %)",
                _when(vms[0], found) or "-",
            ]
        )  # fmt: skip
    head = ["resource", "the host has", "VMs that fit", "risk", "with one more", "wanted on average", "worst at"]
    least, found = min(fits, key=lambda entry: entry[1].vms)
    return [*table(head, rows), "", _conclusion(vms, risk, found, least)]


def _conclusion(vms: list[Profile], risk: float, found: Fit, least: Resource) -> str:
    first, bounded = vms[0].vm or vms[0].name, f"limited by {least.metric}, at a risk of {percent(risk, 2)}"
    if found.vms == 0:
        return f"Not one fits: {first} alone wants more {least.metric} than the host has."
    if found.vms == MOST_VMS:
        return f"{MOST_VMS:,} and more fit."
    if len(vms) == 1:
        return f"{found.vms} VMs like {first} fit, {bounded}."
    times, rest = divmod(found.vms, len(vms))
    more = ", ".join(profile.vm or profile.name for profile in vms[:rest])
    more = more if rest <= _NAMED else f"the first {rest}"
    if times == 0:
        what = f"only {more} fit{'s' if rest == 1 else ''}"
    else:
        what = f"each fits {times} times" + (f", and {more} once more" if rest else "")
    return f"Of these {len(vms)} VMs {what}, {found.vms} VM{'s' if found.vms > 1 else ''} in all, {bounded}."


def _when(profile: Profile, found: Fit) -> str | None:
    if found.leaf is None:
        return None
    return Periods(profile.settings.periodsize, profile.settings.step_s).label(found.leaf)
