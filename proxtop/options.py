"""The command line of proxtop: arguments → Options. A wrong one is one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from proxtop import __version__, catalog
from proxtop.bus import endpoints

RECORD_PRINTERS = ("text", "json", "csv", "prometheus")
PRINTERS = ("ncurses", "tui", *RECORD_PRINTERS)
OUTPUTS = ("stdout", "file", "tcp", "udp")
CONNECTORS = ("proxmox", "libvirt", "qemu")
MIN_FREQUENCY = 0.2
MAX_FREQUENCY = 86400.0

APPLICATION = """\
Application Options:
  -v, --version        Show version
  -f, --frequency=     Frequency (in seconds) for collecting metrics, from 0.2 (default: 2)
  -r, --runs=          Amount of collection runs (default: -1, infinite)
  -c, --connection=    Connection URI to libvirt daemon (default: qemu:///system)
      --procfs=        Path to the proc filesystem (default: /proc)
      --sysfs=         Path to the sys filesystem (default: /sys; none with another --procfs)
      --node=          Name of the host, where it is not this one; with --bus that host alone
      --verbose        Enable verbose output with additional fields, and a log on stderr
      --bus=           Attach to a fleet: ipc:///run/proxtop/subscribe.sock or tcp://host:port
      --key=           With --bus=tcp://…: the file of our own keys (proxtop keys new)
      --server-key=    With --bus=tcp://…: the other end's public key, or a file with it
      --insecure       With --bus=tcp://…: no keys, though it is not on this machine
"""

COLLECTING = """\
Hypervisor Selection:
      --proxmox        Force Proxmox VE connector (auto-detected by default)
      --libvirt        Force libvirt connector (auto-detected by default)
      --qemu           Force the connector for QEMU processes without a manager

Collectors (default: cpu, mem, disk, net, io):
      --cpu            Enable CPU metrics
      --mem            Enable memory metrics
      --disk           Enable disk metrics
      --net            Enable network metrics
      --io             Enable I/O metrics (requires root)
      --pressure       Enable PSI metrics (requires kernel 4.20+)
      --host           Enable host identification metrics
"""

HELP = f"""\
Usage:
  proxtop [OPTIONS]

Watches virtual machines on KVM and Proxmox VE from the hypervisor.

{APPLICATION}
{COLLECTING}
Output:
  -p, --printer=       Output format: ncurses (or tui), text, json, csv, prometheus
                       (default: ncurses on a terminal, else text)
  -o, --output=        Output destination: stdout, file, tcp, udp (default: stdout)
      --target=        For 'file': path; for 'tcp'/'udp': host:port
      --vm=            Only these VMs: names or UUIDs, * ? [] match; comma-separated or repeated
      --netdev=        Network devices that the host figures stand for (default: physical ones)
      --storedev=      Storage devices that the host figures stand for (default: physical disks)
  -H, --human          Human-readable units (KB, MB, GB) in text

Help Options:
  -h, --help           Show this help message
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. None is 'not said': the printer then is the default one, the connector is detected, the
    connection is the libvirt connector's own default. `sysfs` is None where another host's /proc came without its /sys.
    `target` of tcp and udp is host:port, see `host_port`."""

    frequency: float = 2.0
    runs: int = -1
    connection: str | None = None
    procfs: str = "/proc"
    sysfs: str | None = "/sys"
    node: str | None = None
    verbose: bool = False
    bus: str | None = None
    key: str | None = None
    server_key: str | None = None
    connector: str | None = None
    families: tuple[str, ...] = catalog.DEFAULT_FAMILIES
    printer: str | None = None
    output: str = "stdout"
    target: str | None = None
    vms: tuple[str, ...] = ()
    netdev: tuple[str, ...] = ()
    storedev: tuple[str, ...] = ()
    human: bool = False


class OptionError(ValueError):
    """An option that can't be served: what, where, and what to do instead."""


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line (without the program's name); exits with 2 on a wrong one, 0 after -h and -v."""
    parser = parser_of("proxtop")
    given = parser.parse_args(argv)
    if given.help:
        sys.stdout.write(HELP)
        parser.exit(0)
    if given.version:
        sys.stdout.write(f"proxtop {__version__}\n")
        parser.exit(0)
    return options_of(parser, given)


def options_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    """The options among what a parser of `parser_of` has read; a wrong one is the parser's error."""
    try:
        for value in (value for value in vars(given).values() if isinstance(value, str)):
            value.encode()
        return _checked(given)
    except UnicodeEncodeError as error:
        parser.error(f"{error.object!r} is not UTF-8; give a value that is")
    except (OptionError, endpoints.EndpointError) as error:
        parser.error(str(error))


def of(argv: Sequence[str]) -> Options:
    """The options of words whose names are known to be right; OptionError for a wrong value."""
    return _checked(parser_of("proxtop").parse_args(argv))


def host_port(target: str) -> tuple[str, int]:
    """(host, port) of 'host:port' or '[IPv6]:port'; OptionError for anything else."""
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>[0-9]{1,5})", target, re.ASCII
    )
    if match is None or not 0 < int(match["port"]) < 65536:
        raise OptionError(f"--target: {target!r} is not host:port; give e.g. 192.168.1.100:5000 or [::1]:5000")
    return match["v6"] or match["host"], int(match["port"])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        name = self.prog
        self.exit(2, f"{name}: {line}\n" if ";" in line else f"{name}: {line}; see {name} --help\n")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """One that does not ask the terminal for its width at each option that is added: the help is a text of ours."""
    return argparse.HelpFormatter(prog, width=80)


def parser_of(program: str, without: Collection[str] = ()) -> argparse.ArgumentParser:
    """A parser of all options of proxtop but some, for a program that has more of its own: an error is one line and
    status 2."""
    parser = _Parser(prog=program, add_help=False, allow_abbrev=False, formatter_class=_formatter)

    def add(flags: Sequence[str], action: str) -> None:
        if flags[-1] in without:
            parser.set_defaults(**{flags[-1].removeprefix("--"): None})
        else:
            parser.add_argument(*flags, action=action)

    for flags in (("-h", "--help"), ("-v", "--version"), ("--verbose",), ("-H", "--human"), ("--insecure",)):
        add(flags, "store_true")
    for flags in (
        ("-f", "--frequency"),
        ("-r", "--runs"),
        ("-c", "--connection"),
        ("--procfs",),
        ("--sysfs",),
        ("--node",),
        ("--bus",),
        ("--key",),
        ("--server-key",),
        ("-p", "--printer"),
        ("-o", "--output"),
        ("--target",),
    ):
        add(flags, "store")
    for name in ("--vm", "--netdev", "--storedev"):
        add((name,), "append")
    for name in CONNECTORS:
        parser.add_argument(f"--{name}", action="append_const", const=name, dest="connectors")
    for name, family in catalog.FAMILIES.items():
        parser.add_argument(family.option, action="append_const", const=name, dest="families")
    return parser


def _checked(given: argparse.Namespace) -> Options:
    for name in ("connection", "procfs", "sysfs", "bus", "key", "server_key", "target"):
        if getattr(given, name) == "":
            raise OptionError(f"--{name.replace('_', '-')}: the value is empty; give one or leave the option out")
    connectors = list(dict.fromkeys(given.connectors or ()))
    if len(connectors) > 1:
        raise OptionError(f"--{connectors[0]} and --{connectors[1]}: only one connector at a time; drop one of them")
    if given.bus is not None:
        _check_bus_alone(given, connectors)
    bus = endpoints.parse(given.bus) if given.bus else None
    _check_keys(given, bus)
    procfs = given.procfs or "/proc"
    asked = given.families or ()
    return Options(
        frequency=_frequency(given.frequency),
        runs=_runs(given.runs),
        connection=given.connection,
        procfs=procfs if given.bus else _proc(procfs),
        sysfs=_sys(given.sysfs) if given.sysfs else "/sys" if procfs == "/proc" else None,
        node=node(given.node) if given.node is not None else None,
        verbose=given.verbose,
        bus=bus,
        key=given.key,
        server_key=given.server_key,
        connector=connectors[0] if connectors else None,
        families=tuple(name for name in catalog.FAMILIES if name in asked) or catalog.DEFAULT_FAMILIES,
        printer=_one_of("--printer", given.printer, PRINTERS) if given.printer is not None else None,
        output=(output := _one_of("--output", given.output if given.output is not None else "stdout", OUTPUTS)),
        target=_target(output, given.target),
        vms=_list("--vm", given.vm),
        netdev=_list("--netdev", given.netdev),
        storedev=_list("--storedev", given.storedev),
        human=bool(given.human),
    )


def _check_bus_alone(given: argparse.Namespace, connectors: list[str]) -> None:
    said = [f"--{name}" for name in ("connection", "procfs", "sysfs") if getattr(given, name) is not None]
    for option in [f"--{name}" for name in connectors] + said:
        raise OptionError(f"--bus and {option}: a running fleet has its own connector and roots; drop one of the two")


def _check_keys(given: argparse.Namespace, bus: str | None) -> None:
    """Keys and a network address belong together; without keys a network can be read and forged by anybody."""
    said = [option for option in ("key", "server_key", "insecure") if getattr(given, option)]
    if bus is None or not bus.startswith("tcp:"):
        for option in said:
            raise OptionError(f"--{option.replace('_', '-')}: belongs to --bus=tcp://host:port; drop it")
    elif given.insecure:
        if len(said) > 1:
            raise OptionError("--insecure: says that there are no keys; drop it or them")
    elif len(said) == 1:
        raise OptionError("--key and --server-key: one without the other shuts nobody out; give both")
    elif not said and not endpoints.is_loopback(bus):
        raise OptionError(
            f"--bus {bus}: over a network, without keys, anybody can read and forge it; "
            "give --key and --server-key (see `proxtop keys --help`), or --insecure"
        )


def _frequency(text: str | None) -> float:
    try:
        value = 2.0 if text is None else float(text)
    except ValueError:
        value = math.nan
    if not MIN_FREQUENCY <= value <= MAX_FREQUENCY:  # NaN neither
        raise OptionError(f"--frequency: {text!r} is no number of seconds from 0.2 to 86400; give e.g. 2 or 0.5")
    return value


def _runs(text: str | None) -> int:
    try:
        value = -1 if text is None else int(text)
    except ValueError:
        value = 0
    if value != -1 and value < 1:
        raise OptionError(f"--runs: {text!r} is not a number of runs; give 1 or more, or -1 for no end")
    return value


def _proc(path: str) -> str:
    if not os.access(f"{path}/stat", os.R_OK):
        raise OptionError(
            f"--procfs: {path!r} has no readable file 'stat', so it is no proc filesystem; give one's mount point"
        )
    return path


def _sys(path: str) -> str:
    if not _is_directory(path):
        raise OptionError(f"--sysfs: {path!r} is not a directory; give the mount point of a sys filesystem")
    return path


def _is_directory(path: str) -> bool:
    return os.access(f"{path}/.", os.F_OK)


def node(name: str) -> str:
    """The name of a host; OptionError for what can't be one."""
    if not name or "/" in name or not name.isprintable() or len(name.encode()) > 255:
        raise OptionError(f"--node: {name!r} is not a host name; give one without '/' and control characters")
    return name


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise OptionError(f"{option}: there is no {value!r}; give one of {', '.join(known)}")
    return value


def _target(output: str, target: str | None) -> str | None:
    if output == "stdout":
        if target is not None:
            raise OptionError("--target: stdout needs none; add --output=file, tcp or udp, or drop it")
        return None
    if target is None:
        wanted = "--target=PATH" if output == "file" else "--target=HOST:PORT"
        raise OptionError(f"--output={output}: a target is missing; add {wanted}")
    if output == "file":
        if _is_directory(target):
            raise OptionError(f"--target: {target!r} is a directory; give the path of a file")
        return target
    host_port(target)
    return target


def _list(option: str, values: list[str] | None) -> tuple[str, ...]:
    parts = tuple(part for value in values or () for part in value.split(","))
    if not all(parts):
        raise OptionError(f"{option}: a name is empty; give names separated by single commas")
    return parts
