"""The configuration of a fleet: flat PROXTOP_KEY=value lines, which systemd's EnvironmentFile= reads the same way.

A key is one row of KEYS: its name, what it is without a value, how it is checked, and what it means. A worker sees the
keys that its row of registry.KINDS names, and is replaced by a reload only when one of those changed.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from proxtop import options
from proxtop.bus import endpoints
from proxtop.catalog import FAMILIES
from proxtop.profiler import arguments
from proxtop.profiler.settings import Settings, SettingsError

PATH = "/etc/proxtop.conf"
PROFILER = "PROXTOP_PROFILER"
PRINTER = "PROXTOP_PRINTER_"
"""What the key of each printer begins with; the rest is its name."""

DOOR = "PROXTOP_DOOR"
DOOR_KEYS = ("PROXTOP_DOOR_KEY", "PROXTOP_DOOR_TRUSTED", "PROXTOP_DOOR_INSECURE")
"""The keys of the door to the network, and what goes with it."""

_LINE = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.ASCII | re.DOTALL)
_PLAIN = re.compile(r"[\w/.+,@:~-]+")
_PRINTER_NAME = re.compile(r"[A-Z0-9_]{1,40}", re.ASCII)
_LONGEST_SOCKET = "d/supervisor.sock.4194304"
"""What supervisord binds before it takes its id off: beside the bus, longer than any socket in it."""

_LEVELS = ("info", "debug")
_FLAGS = ("--verbose", "--human", *(family.option for family in FAMILIES.values()))
_CHOICES = ("--vm=", "--netdev=", "--storedev=")
"""The options of proxtop that a printer takes."""


class ConfigurationError(ValueError):
    """A configuration that can't be used: what, where (file and line), and what to do instead. `problems` are all that
    were found, the first of them its text."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the configuration; `check` raises ConfigurationError with what is wrong with a value."""

    name: str
    default: str
    check: Callable[[str], object]
    help: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """Checked values by key; those that nobody set have their defaults. `given` are the keys that somebody set."""

    values: Mapping[str, str]
    given: frozenset[str]

    def __getitem__(self, key: str) -> str:
        return self.values[key]

    @property
    def interval(self) -> float:
        """Seconds between cycles."""
        return float(self["PROXTOP_INTERVAL"])

    @property
    def families(self) -> tuple[str, ...]:
        """The families in their lasting order."""
        return _families(self["PROXTOP_FAMILIES"])

    @property
    def run(self) -> str:
        """The directory of the bus."""
        return os.path.normpath(self["PROXTOP_RUN"])

    @property
    def node(self) -> str:
        """The name of the host."""
        return self["PROXTOP_NODE"] or os.uname().nodename

    @property
    def printers(self) -> dict[str, str]:
        """The printers by the name of their worker: printer-logstash for PROXTOP_PRINTER_LOGSTASH."""
        return {
            "printer-" + key.removeprefix(PRINTER).lower().replace("_", "-"): value
            for key, value in self.values.items()
            if key.startswith(PRINTER) and value
        }


def printer_options(text: str) -> options.Options:
    """What a printer is told: FORMAT OUTPUT TARGET, then options of proxtop that choose what it prints."""
    words = text.split()
    if len(words) < 3:
        raise ConfigurationError(f"{text!r} is not FORMAT OUTPUT TARGET; give e.g. json tcp 192.168.1.100:5000")
    name, output, target, *rest = words
    if name not in options.RECORD_PRINTERS:
        raise ConfigurationError(f"there is no format {name!r}; give one of {', '.join(options.RECORD_PRINTERS)}")
    if output not in ("file", "tcp", "udp"):
        raise ConfigurationError(f"there is no output {output!r}; give one of file, tcp, udp")
    if output == "file" and not target.startswith("/"):
        raise ConfigurationError(f"{target!r} is not the whole path of a file; give one that begins with /")
    for word in rest:
        if word not in _FLAGS and not word.startswith(_CHOICES):
            raise ConfigurationError(f"{word!r} is no option of a printer; there are {' '.join((*_FLAGS, *_CHOICES))}")
    try:
        return options.of([f"--printer={name}", f"--output={output}", f"--target={target}", *rest])
    except options.OptionError as error:
        raise ConfigurationError(str(error)) from None


def profiler_options(text: str, interval: float) -> tuple[Settings, str | None]:
    """(settings, state directory) of the profiler: what proxprofiler would be told."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ConfigurationError(message)

    parser = Parser(add_help=False, allow_abbrev=False)
    arguments.declare(parser)
    given = parser.parse_args([word for word in text.split() if word != "on"])
    if given.state_dir is not None and not given.state_dir.startswith("/"):
        raise ConfigurationError(f"--state-dir: {given.state_dir!r} is not a whole path; give one that begins with /")
    try:
        return arguments.settings_of(given, interval), given.state_dir
    except SettingsError as error:
        raise ConfigurationError(str(error)) from None


def _profiler(value: str) -> None:
    profiler_options(value, 2.0)


def read(path: str | None, settings: Sequence[str] = ()) -> Configuration:
    """The configuration in that file (None: /etc/proxtop.conf, if there is one) with KEY=value words on top of it.
    ConfigurationError names file, line and key of each thing that is wrong."""
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    text = _text(PATH if path is None else path, needed=path is not None)
    lines = [(f"{path or PATH} line {number}", line) for number, line in enumerate(text.splitlines(), 1)]
    for where, line in lines:
        try:
            if (pair := _pair(line, where)) is None:
                continue
            if pair[0] in places:
                raise ConfigurationError(f"{where}: {pair[0]}: is there twice; keep one of them")
            places[pair[0]] = where
            found[pair[0]] = _checked(*pair, where)
        except ConfigurationError as error:
            problems += error.problems
    for setting in settings:
        try:
            match = _LINE.fullmatch(setting)
            if match is None:
                raise ConfigurationError(f"{setting!r} is not PROXTOP_KEY=value")
            places[match["key"]] = "command line"
            found[match["key"]] = _checked(match["key"], match["value"], "command line")
        except ConfigurationError as error:
            problems += error.problems
    values = {key.name: key.default for key in KEYS} | found
    if not problems and (problem := _open_door(values)) is not None:
        where = next(places[key] for key in (DOOR, *DOOR_KEYS) if key in places)
        problems.append(f"{where}: {DOOR}: {problem}")
    if problems:
        raise ConfigurationError(*problems)
    return Configuration(values, frozenset(key for key, value in found.items() if value))


def _open_door(values: Mapping[str, str]) -> str | None:
    """What is wrong with a door that anybody could come through; what is in its files the worker itself looks at: they
    belong to its user."""
    address = values[DOOR]
    key, trusted, insecure = (values[name] for name in DOOR_KEYS)
    if bool(key) != bool(trusted):
        return "PROXTOP_DOOR_KEY and PROXTOP_DOOR_TRUSTED go together; set both"
    if address and not key and insecure != "yes" and not endpoints.is_loopback(address):
        return (
            f"{address}: without keys anybody in the network can read this bus; set PROXTOP_DOOR_KEY and "
            "PROXTOP_DOOR_TRUSTED (see `proxtop keys --help`), or PROXTOP_DOOR_INSECURE=yes"
        )
    return None


def _text(path: str, *, needed: bool) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        if not needed:
            return ""
        raise ConfigurationError(f"{path}: there is no such file; give another --config, or leave it out") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; make it readable, or give another --config") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text; save it as such") from None


def _pair(line: str, where: str) -> tuple[str, str] | None:
    """Key and value of a line, None for a comment; what systemd would read otherwise is refused."""
    line = line.strip()
    if not line or line[0] in "#;":
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ConfigurationError(f"{where}: {line!r} is not KEY=value (no blanks round the =, no export)")
    key, value = match["key"], match["value"].strip()
    if len(value) >= 2 and value[0] in "\"'" and value[-1] == value[0]:
        value = value[1:-1]
    if any(char in value for char in "\"'\\`$") or not value.isprintable():
        raise ConfigurationError(f"{where}: {key}: quotes inside, backslashes, ` and $ mean something else to systemd")
    return key, value


def _checked(key: str, value: str, where: str) -> str:
    known = {entry.name: entry for entry in KEYS}
    entry = known.get(key)
    try:
        if entry is not None:
            if value:
                entry.check(value)
            return value or entry.default
        if key.startswith(PRINTER):
            if not _PRINTER_NAME.fullmatch(key.removeprefix(PRINTER)):
                raise ConfigurationError("a printer's name has letters A-Z, digits and _")
            if value:
                printer_options(value)
            return value
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {key}: {error}") from None
    near = difflib.get_close_matches(key, [*known, PRINTER + "NAME"], 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)} and {PRINTER}NAME"
    raise ConfigurationError(f"{where}: {key}: there is no such key; {hint}")


def _interval(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not options.MIN_FREQUENCY <= number <= options.MAX_FREQUENCY:
        raise ConfigurationError(f"{value!r} is no number of seconds from 0.2 to 86400")
    return number


def _families(value: str) -> tuple[str, ...]:
    asked = [name.strip() for name in value.split(",")]
    for name in asked:
        if name not in FAMILIES:
            raise ConfigurationError(f"there is no family {name!r}; give some of {','.join(FAMILIES)}")
    return tuple(name for name in FAMILIES if name in asked)


def _one_of(*names: str) -> Callable[[str], object]:
    def check(value: str) -> None:
        if value not in names:
            raise ConfigurationError(f"there is no {value!r}; give one of {', '.join(names)}")

    return check


def _plain(value: str) -> None:
    _directory(value)
    if not _PLAIN.fullmatch(value):
        raise ConfigurationError(
            f"{value!r} has characters that supervisord can't have; letters, digits and ._+,@:~- do"
        )


def _directory(value: str) -> None:
    if not value.startswith("/"):
        raise ConfigurationError(f"{value!r} is not the whole path of a directory; give one that begins with /")


def _file(value: str) -> None:
    if not value.startswith("/"):
        raise ConfigurationError(f"{value!r} is not the whole path of a file; give one that begins with /")


def _procfs(value: str) -> None:
    _directory(value)
    if not os.access(f"{value}/stat", os.R_OK):
        raise ConfigurationError(f"{value!r} has no readable file 'stat', so it is no proc filesystem")


def _sysfs(value: str) -> None:
    _directory(value)
    if not os.path.isdir(value):
        raise ConfigurationError(f"{value!r} is not a directory; give the mount point of a sys filesystem")


def _run(value: str) -> None:
    _plain(value)
    if os.path.normpath(value) in ("/", "//"):  # POSIX keeps two
        raise ConfigurationError("the root directory can't be a bus; give e.g. /run/proxtop")
    if len((os.path.normpath(value) + _LONGEST_SOCKET).encode()) > endpoints.MAX_IPC_PATH:
        raise ConfigurationError("the path is too long for a socket; give a shorter one")


def _node(value: str) -> None:
    try:
        options.node(value)
    except options.OptionError as error:
        raise ConfigurationError(str(error).removeprefix("--node: ")) from None


def _target(value: str) -> None:
    try:
        options.host_port(value)
    except options.OptionError as error:
        raise ConfigurationError(str(error).removeprefix("--target: ")) from None


def _door(value: str) -> None:
    try:
        endpoints.parse_tcp(value, DOOR, listening=True)
    except endpoints.EndpointError as error:
        raise ConfigurationError(str(error).removeprefix(f"{DOOR} ")) from None


def _account(value: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", value, re.ASCII):
        raise ConfigurationError(f"{value!r} is not the name of a user or group")


def _anything(value: str) -> None:
    """Whoever uses it checks it."""


KEYS = (
    Key("PROXTOP_INTERVAL", "2", _interval, "seconds between cycles, 0.2 to 86400"),
    Key("PROXTOP_FAMILIES", ",".join(FAMILIES), _families, "what is collected"),
    Key("PROXTOP_CONNECTOR", "", _one_of(*options.CONNECTORS), "libvirt, proxmox or qemu; else it is found out"),
    Key("PROXTOP_URI", "", _anything, "URI of libvirt, where it is not qemu:///system"),
    Key("PROXTOP_PROCFS", "/proc", _procfs, "where the host's /proc is"),
    Key("PROXTOP_SYSFS", "/sys", _sysfs, "where the host's /sys is"),
    Key("PROXTOP_NODE", "", _node, "name of the host, where it is not this one's"),
    Key(PROFILER, "", _profiler, "profiles of the VMs: on, or options of proxprofiler such as --state-dir=; else none"),
    Key("PROXTOP_RUN", endpoints.LOCAL, _run, "directory of the bus; proxtopd's own is beside it, with a d at its end"),
    Key("PROXTOP_USER", "proxtop", _account, "the user that workers run as, where proxtopd is started by root"),
    Key("PROXTOP_GROUP", "proxtop", _account, "the group whose members may watch"),
    Key("PROXTOP_CONTROL_GROUP", "", _account, "a group whose members may control the fleet; else root alone"),
    Key("PROXTOP_LOGS", "", _plain, "directory of the workers' logs"),
    Key("PROXTOP_LOG_LEVEL", "info", _one_of(*_LEVELS), "info or debug"),
    Key(DOOR, "", _door, "tcp://host:port where readers over the network connect"),
    Key("PROXTOP_DOOR_KEY", "", _file, "the door's own keys, a file of the workers' user"),
    Key("PROXTOP_DOOR_TRUSTED", "", _file, "the list of the keys that are let in"),
    Key("PROXTOP_DOOR_INSECURE", "no", _one_of("yes", "no"), "yes: anybody in the network may read"),
    Key("PROXTOP_TARGET", "", _target, "host:port to which proxtop.service sends; proxtopd itself does not use it"),
)
