"""`proxprofiler plot`: a picture of a profile."""

from __future__ import annotations

import argparse

from proxprofiler import files
from proxtop.profiler.metrics import MEASURES

HELP = """\
Usage:
  proxprofiler plot PROFILE        Draw its transition matrix, its forecast and its period tree

PROFILE is a file of JSON profiles, a state directory, or - for standard input. Needs matplotlib: pip install
'proxtop[plot]'.

Options:
  -o, --output=        The picture: NAME.svg, NAME.png or NAME.pdf
      --metric=        The metric: cpu, cpu_used, mem, disk, net or io (default: the first that was learnt)
      --steps=         Steps of the forecast (default: 60)
      --vm=            The VM, where there are several: a name or UUID
  -p, --printer=       text or json: how it says what it drew (default: text)
  -h, --help           Show this help message
"""

FORMATS = ("svg", "png", "pdf")


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("-o", "--output")
    parser.add_argument("--metric", choices=tuple(MEASURES))
    parser.add_argument("--steps", default="60")


def run(given: argparse.Namespace) -> list[str]:
    """Draws, and says what."""
    if len(given.files) != 1:
        raise ValueError("give one PROFILE; see proxprofiler plot --help")
    if given.output is None or given.output.rpartition(".")[2] not in FORMATS:
        raise ValueError("-o: give the picture's name, ending in .svg, .png or .pdf")
    if not given.steps.isdecimal() or not 1 <= int(given.steps) <= 100_000:
        raise ValueError(f"--steps: {given.steps!r} is not a number from 1 to 100000")
    found = files.profiles(given.files, given.vm)
    if len(found) > 1:
        names = ", ".join(profile.vm or profile.name for profile in found[:8])
        raise ValueError(f"{given.files[0]} has {len(found)} VMs; choose one with --vm: {names}")
    profile = found[0]
    learnt = [series for series in profile.series.values() if series.root.total()]
    chosen = [series for series in learnt if given.metric in (None, series.metric)]
    if not chosen:
        raise ValueError(f"{given.files[0]}: nothing was learnt of {given.metric or 'any metric'} yet")
    try:
        from proxprofiler import picture
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing; pip install 'proxtop[plot]' brings it") from None
    try:
        picture.draw(profile, chosen[0], int(given.steps), given.output)
    except OSError as error:
        raise ValueError(f"{given.output}: {error.strerror}") from None
    return [f"{profile.vm or profile.name} {chosen[0].metric}: {given.output}"]
