"""The command line of proxprofiler: proxtop's own options, and those of profiles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxtop import __version__
from proxtop.options import APPLICATION, COLLECTING, OptionError, Options, options_of, parser_of
from proxtop.profiler.arguments import declare, seconds, settings_of
from proxtop.profiler.settings import Settings, SettingsError

PRINTERS = ("json", "text")

HELP = f"""\
Usage:
  proxprofiler [OPTIONS]           Profile the VMs of this host, or of a bus
  proxprofiler predict PROFILE     What each VM will do next
  proxprofiler compare A B         How far profiles are from one another
  proxprofiler plan PROFILES…      How many of these VMs fit a host
  proxprofiler plot PROFILE        A picture of a profile

Makes statistical profiles of virtual machines: how each goes from state to state. `proxprofiler plan --help` and so on
tell the rest.

Profiler Options:
      --states=             Number of discrete states (default: 4)
      --buffersize=         Buffer size for profiling (default: 10)
      --history=            History depth (default: 1)
      --filterstddevs=      Filter outliers by std deviations (default: -1)
      --fixedbound          Use fixed bounds for states
      --periodsize=         Comma-separated list of period sizes; the last is steps in a leaf: 7,24,180
      --outputFreq=         Output frequency (default: 60s)
      --phase-likelihood=   Share of its usual likelihood below which a phase may end (default: 0, one phase)
      --phase-history=      Transitions by which phases are told apart (default: 10)
      --state-dir=          Directory that keeps the profiles over restarts
      --input=              Read recorded cycles, JSON lines or CSV of proxtop, instead of watching; - is standard input

{APPLICATION}
{COLLECTING}
Output:
  -p, --printer=       Output format: json, text (default: json; text on a terminal)
  -o, --output=        Output destination: stdout, file, tcp, udp (default: stdout)
      --target=        For 'file': path; for 'tcp'/'udp': host:port
      --vm=            Only these VMs: names or UUIDs, * ? [] match; comma-separated or repeated

Help Options:
  -h, --help           Show this help message
"""


@dataclass(frozen=True, slots=True)
class Profiling:
    """What the user asked for: what to watch and where to (`watch`), how to profile, and the seconds between two
    profiles. `recorded` is the file of --input."""

    watch: Options
    settings: Settings
    every_s: float
    state_dir: str | None
    recorded: str | None


def parse(argv: Sequence[str]) -> Profiling:
    """The options of a command line; exits with 2 on a wrong one, 0 after -h and -v."""
    parser = parser_of("proxprofiler", without=("--human", "--netdev", "--storedev"))
    declare(parser)
    for name in ("--outputFreq", "--input"):
        parser.add_argument(name)
    given = parser.parse_args(argv)
    if given.help:
        sys.stdout.write(HELP)
        parser.exit(0)
    if given.version:
        sys.stdout.write(f"proxprofiler {__version__}\n")
        parser.exit(0)
    if given.printer is not None and given.printer not in PRINTERS:
        parser.error(f"--printer: profiles come as json or text, not as {given.printer!r}; give one of the two")
    watch = options_of(parser, given)
    try:
        if given.input is not None and (watch.bus is not None or watch.runs != -1):
            raise OptionError("--input: recorded cycles need neither --bus nor --runs; drop them")
        if given.input == "":
            raise OptionError("--input: the value is empty; give a file, or - for standard input")
        settings = settings_of(given, watch.frequency)
        every = seconds("--outputFreq", given.outputFreq if given.outputFreq is not None else "60s")
    except (OptionError, SettingsError) as error:
        parser.error(str(error))
    printer = given.printer or ("text" if watch.output == "stdout" and sys.stdout.isatty() else "json")
    return Profiling(replace(watch, printer=printer), settings, every, given.state_dir, given.input)
