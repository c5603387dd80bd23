"""`proxprofiler compare`: how far profiles are from one another."""

from __future__ import annotations

import argparse

import orjson

from proxprofiler import files
from proxprofiler.table import amount, table
from proxtop.profiler.compare import differences
from proxtop.profiler.metrics import unit_of
from proxtop.profiler.profile import Profile

HELP = """\
Usage:
  proxprofiler compare A B         The VMs that both have; or the one VM of A with the one of B

A and B are files of JSON profiles, state directories, or - for standard input; of each VM the last profile counts.
The distance is 0 for the same behaviour and 1 for nothing in common; the shift says by how much the values moved.

Options:
      --vm=            Only these VMs: names or UUIDs, * ? [] match; comma-separated or repeated
  -p, --printer=       text or json (default: text)
  -h, --help           Show this help message
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(given: argparse.Namespace) -> list[str]:
    """A line for each VM and metric, the farthest first."""
    if len(given.files) != 2:
        raise ValueError(f"two files are to be compared, not {len(given.files)}; see proxprofiler compare --help")
    found = []
    for one, other in _pairs(given):
        if one.settings.states != other.settings.states:
            raise ValueError(
                f"{one.vm or one.name}: {one.settings.states} states here, {other.settings.states} there;"
                " compare profiles of the same --states"
            )
        found += [(one, other, difference) for difference in differences(one, other)]
    if not found:
        raise ValueError(f"{given.files[0]}, {given.files[1]}: no metric that both have learnt")
    found.sort(key=lambda entry: -entry[2].distance)
    if given.printer == "json":
        return [
            orjson.dumps(
                {
                    "name": one.name, "vm": one.vm, "other": other.name, "metric": difference.metric,
                    "distance": difference.distance, "shift": difference.shift, "means": difference.means,
                }
            ).decode()
            for one, other, difference in found
        ]  # fmt: skip
    rows = []
    for one, other, difference in found:
        unit = unit_of(difference.metric)
        name = one.vm or one.name
        rows.append(
            [
                name if one.name == other.name else f"{name} : {other.vm or other.name}", difference.metric,
                f"{difference.distance:.3f}", amount(difference.shift, unit),
                *(amount(mean, unit) for mean in difference.means),
            ]
        )  # fmt: skip
    return table(["VM", "metric", "distance", "shift", "mean in A", "mean in B"], rows, left=2)


def _pairs(given: argparse.Namespace) -> list[tuple[Profile, Profile]]:
    first, second = (files.profiles([path], given.vm) for path in given.files)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    others = {profile.name: profile for profile in second}
    pairs = [(profile, others[profile.name]) for profile in first if profile.name in others]
    if not pairs:
        raise ValueError(
            f"{given.files[0]} has {len(first)} VMs, {given.files[1]} {len(second)}, and none in common;"
            " name one of each with --vm, in files of their own"
        )
    return pairs
