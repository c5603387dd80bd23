"""agg.toml → Config. What is wrong is one line: file, key, what to do."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxtop import options
from proxtop.bus import endpoints, keys
from proxtop.bus.keys import KeyProblem, Pair
from proxtopd.configuration import ConfigurationError, profiler_options
from proxtopd.door import DoorOptions

DEFAULT = "/etc/proxtop/agg.toml"
DIRECTORY = "/run/proxtop-agg"

_NODE = re.compile(r"[^\s/\x00-\x1f\x7f]{1,255}")
_LEAST_FRAMES = 256


class ConfigError(ValueError):
    """A configuration that can't be: which file, which key, what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What is listened to: a hypervisor's door, or another aggregator's. `nodes` are globs of the names that it may
    speak for: a hypervisor's own name alone. `key` is the public key that must answer, None for none."""

    name: str
    address: str
    key: bytes | None
    nodes: tuple[str, ...]
    tree: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """All of agg.toml. `lost`: cycles without a frame after which a host is lost; `gone`: seconds after which the VMs
    of a lost host go from the screen; `outputs`: the options of a proxtop each; `profiler`: the seconds between two
    cycles and the options of a profiler of all VMs."""

    name: str
    directory: str
    own: Pair | None
    peers: tuple[Peer, ...]
    lost: float
    gone: float
    door: DoorOptions | None
    outputs: tuple[tuple[str, ...], ...]
    insecure: bool
    profiler: tuple[float, str] | None = None

    @property
    def high_water(self) -> int:
        """Frames kept for one reader: two cycles of every host with the heartbeats that go with them, so also all that
        is said again to who comes late."""
        return _LEAST_FRAMES + 4 * sum(64 if peer.tree else 1 for peer in self.peers)


def load(path: str) -> Config:
    """The configuration in that file, with the keys that it names; ConfigError where any of it is wrong."""
    data = _data(path)
    try:
        return _config(_Section(data, ""))
    except (ConfigError, KeyProblem) as problem:
        raise ConfigError(f"{path}: {problem}") from None


def where(path: str) -> tuple[str, str]:
    """(name, directory) of the aggregator that this file configures: all that its watchers need, who may not read its
    keys."""
    top = _Section(_data(path), "")
    try:
        return top.text("name", os.uname().nodename) or "", top.text("directory", DIRECTORY) or ""
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


def _data(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: its tables or lists are too deep") from None
    except ValueError as error:  # no TOML, no UTF-8, a number of thousands of digits
        raise ConfigError(f"{path}: {error}") from None


class _Section:
    """A table of the file: values by key, of a known type; what nobody asked for is a mistake."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._data = dict(data)
        self._where = where

    def path(self, key: str) -> str:
        """The key as a reader finds it in the file."""
        return f"{self._where}{key}"

    def text(self, key: str, default: str | None = None) -> str | None:
        """A string that is not empty."""
        value: str | None = self._data.pop(key, default)
        if value is not None and not _said(value):
            raise ConfigError(f"{self.path(key)}: give a text in quotes, not {value!r}")
        return value

    def needed(self, key: str) -> str:
        """The same, which must be there."""
        value = self.text(key)
        if value is None:
            raise ConfigError(f"{self.path(key)}: is missing")
        return value

    def flag(self, key: str) -> bool:
        """true or false; false where it is not there."""
        value = self._data.pop(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.path(key)}: give true or false, not {value!r}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number within these bounds."""
        value = self._data.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ConfigError(f"{self.path(key)}: give a number from {least:g} to {most:g}, not {value!r}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._data.pop(key, [])
        if not isinstance(value, list) or not all(map(_said, value)):
            raise ConfigError(f"{self.path(key)}: give a list of texts, not {value!r}")
        return tuple(value)

    def section(self, key: str) -> _Section | None:
        """A table in it."""
        value = self._data.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ConfigError(f"{self.path(key)}: is a table: [{self.path(key)}]")
        return _Section(value, f"{self.path(key)}.")

    def sections(self, key: str) -> list[_Section]:
        """A list of tables in it."""
        value = self._data.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ConfigError(f"{self.path(key)}: is a list of tables, each with its [[{self.path(key)}]]")
        return [_Section(item, f"{self.path(key)}[{number}].") for number, item in enumerate(value, 1)]

    def end(self) -> None:
        """Nothing more is known here."""
        for key in self._data:
            raise ConfigError(f"{self.path(key)}: there is no such key; see the comments in conf/agg.toml")


def _said(value: object) -> bool:
    """Whether that is a text with something in it, which paths and command lines can have."""
    return isinstance(value, str) and value != "" and "\0" not in value


def _config(top: _Section) -> Config:
    name = _node(top, "name", top.text("name", os.uname().nodename) or "")
    directory = top.text("directory", DIRECTORY) or ""
    if not directory.startswith("/") or len(endpoints.publish(directory).encode()) > endpoints.MAX_IPC_PATH:
        raise ConfigError(f"directory: give a short absolute path, not {directory!r}")
    key = top.text("key")
    own = keys.load(key) if key else None
    insecure = top.flag("insecure")
    intervals = top.section("intervals") or _Section({}, "intervals.")
    lost, gone = intervals.number("lost", 3, 2, 100), intervals.number("gone", 60, 5, 86400)
    intervals.end()
    hypervisors = [_hypervisor(section, own, insecure) for section in top.sections("hypervisors")]
    aggregators = [_aggregator(section, own, insecure) for section in top.sections("aggregators")]
    peers = (*hypervisors, *aggregators)
    for what, values in (("node or name", [p.name for p in peers]), ("address", [p.address for p in peers])):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(f"the {what} {twice!r} stands there twice; each has its own")
    if name in (peer.name for peer in peers):
        raise ConfigError(f"name: {name!r} is one of the hosts; give the aggregator a name of its own")
    door = top.section("door")
    outputs = tuple(_output(section, endpoints.subscribe(directory)) for section in top.sections("outputs"))
    config = Config(
        name=name, directory=directory, own=own, peers=peers, lost=lost, gone=gone, door=None, outputs=outputs,
        insecure=insecure, profiler=_profiler(top.section("profiler")),
    )  # fmt: skip
    door_options = _door(door, config, key, insecure) if door else None
    top.end()
    return Config(**{**{field: getattr(config, field) for field in Config.__slots__}, "door": door_options})


def _node(section: _Section, key: str, name: str) -> str:
    if not _NODE.fullmatch(name):
        raise ConfigError(f"{section.path(key)}: {name!r} is no node name; give one without blanks and '/'")
    return name


def _reach(section: _Section, own: Pair | None, *, insecure: bool) -> tuple[str, bytes | None]:
    """(address, key) of what is listened to."""
    address, text = section.needed("address"), section.text("key")
    try:
        endpoints.parse_tcp(address, section.path("address"))
    except endpoints.EndpointError as error:
        raise ConfigError(str(error)) from None
    if text is None:
        if not insecure and not endpoints.is_loopback(address):
            raise ConfigError(
                f"{section.path('key')}: is missing; give what `proxtop keys show` prints on that host "
                "(or insecure = true at the top, and anybody can forge it)"
            )
        return address, None
    if own is None:
        raise ConfigError("key: is missing; name the aggregator's own key file (`proxtop keys new` makes one)")
    try:
        return address, keys.named_key(text)
    except KeyProblem as problem:
        raise ConfigError(f"{section.path('key')}: {problem}") from None


def _hypervisor(section: _Section, own: Pair | None, insecure: bool) -> Peer:
    node = _node(section, "node", section.needed("node"))
    address, key = _reach(section, own, insecure=insecure)
    section.end()
    return Peer(node, address, key, (_literal(node),))


def _literal(node: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", node)


def _aggregator(section: _Section, own: Pair | None, insecure: bool) -> Peer:
    name = _node(section, "name", section.needed("name"))
    address, key = _reach(section, own, insecure=insecure)
    nodes = section.texts("nodes") or ("*",)
    section.end()
    return Peer(name, address, key, nodes, tree=True)


def _door(section: _Section, config: Config, key: str | None, insecure: bool) -> DoorOptions:
    address, trusted = section.needed("address"), section.text("trusted")
    section.end()
    door = DoorOptions(
        directory=config.directory, node=config.name, interval=2.0, address=address,
        key=key if trusted else None, trusted=trusted, insecure=insecure and trusted is None,
        high_water=config.high_water,
    )  # fmt: skip
    if (problem := door.checked()) is not None:
        raise ConfigError(f"door: {problem}")
    return door


def _profiler(section: _Section | None) -> tuple[float, str] | None:
    """(interval, options) of the profiler, None without one."""
    if section is None:
        return None
    interval = section.number("interval", 2, options.MIN_FREQUENCY, options.MAX_FREQUENCY)
    words = " ".join(section.texts("options"))
    section.end()
    try:
        profiler_options(words, interval)
    except ConfigurationError as error:
        raise ConfigError(f"{section.path('options')}: {error}") from None
    return interval, words


def _output(section: _Section, bus: str) -> tuple[str, ...]:
    """The options of a proxtop that prints this bus, checked as it would check them."""
    words = list(section.texts("options"))
    section.end()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = options.parse([*words, f"--bus={bus}"])
    except SystemExit:
        raise ConfigError(f"{section.path('options')}: {_first(said.getvalue())}") from None
    if parsed.printer in (None, "ncurses", "tui") or parsed.output == "stdout":
        raise ConfigError(f"{section.path('options')}: name a --printer, and an --output other than stdout")
    if parsed.printer == "prometheus":
        raise ConfigError(f"{section.path('options')}: a textfile holds one host; let each hypervisor write its own")
    return (*words, f"--bus={bus}")


def _first(text: str) -> str:
    lines: Sequence[str] = text.splitlines() or ["can't be run"]
    return lines[0].removeprefix("proxtop: ")
