"""Profiles as text: JSON lines for programs, lines of fields for people and awk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from proxtop.model import Sample, Snapshot, Stamp
from proxtop.printers import Printer
from proxtop.profiler.document import document
from proxtop.profiler.profile import Profile
from proxtop.profiler.profiler import Profiler, ordered
from proxtop.view import Selection, View
from proxtopd.profiles import ProfileStore

_FIELDS = (
    "UUID", "name", "metric", "unit", "steps", "min", "max", "state", "likelihood", "anomaly", "expected", "entropy",
)  # fmt: skip


def json_line(profile: Profile) -> bytes:
    """`{"profile": …}`, as the Go original wraps each VM's."""
    return orjson.dumps({"profile": document(profile)}, option=orjson.OPT_APPEND_NEWLINE)


def text_header(states: int) -> bytes:
    """The names of the fields of `text_lines`."""
    return ("\t".join((*_FIELDS, *(f"share_{state}" for state in range(states)))) + "\n").encode()


def text_lines(profile: Profile) -> list[bytes]:
    """A line of fields for each metric; shares of time in percent, unknown is -."""
    raw = document(profile)
    lines = []
    for root in raw["roottx"]:
        shares = [100 * level["stationary"] for level in root["levels"]]
        fields = [
            raw["name"], raw["vm"], root["metric"], root["unit"], root["steps"], root["stats"]["min"],
            root["stats"]["max"], root["state"], root["likelihood"], root["anomaly"], root["expected"],
            root["entropy"], *shares,
        ]  # fmt: skip
        lines.append(("\t".join(map(_field, fields)) + "\n").encode())
    return lines


def _field(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


class ProfilePrinter(Printer):
    """Takes cycles, and every `every_s` seconds gives the profiles of all VMs that came by since the last time."""

    def __init__(self, view: View, name: str, profiler: Profiler, every_s: float, store: ProfileStore | None) -> None:
        super().__init__(view)
        self._text = name == "text"
        self._profiler = profiler
        self._every_s = every_s
        self._store = store
        self._snapshot: Snapshot | None = None
        self._begun: float | None = None
        self._now = 0.0
        self._times: dict[str, float] = {}
        """The newest cycle of each host: every host has a clock of its own, and that may be set back."""
        self._seen: set[str] = set()

    def header(self) -> bytes:
        return text_header(self._profiler.settings.states) if self._text else b""

    def select(self, snapshot: Snapshot) -> Selection:
        self._snapshot = snapshot
        return super().select(snapshot)

    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        assert self._snapshot is not None
        self._now = stamp.cycle / 1000
        wanted = set(selection.vm.ids)
        self._profiler.feed(stamp.node, self._now, self._snapshot, wanted)
        self._seen |= wanted
        if self._begun is None or self._now < self._times.get(stamp.node, self._now):
            self._begun = self._now
        self._times[stamp.node] = self._now
        if not self._every_s <= self._now - self._begun:
            return []
        due = self._due()
        self._seen |= wanted  # an end right after shows them whole once more
        return due

    def end(self) -> bytes:
        return b"".join(self._due())

    def _due(self) -> list[bytes]:
        self._begun = self._now
        for profile in self._profiler.gone():
            self.keep([profile])
        fresh = [profile for name, profile in self._profiler.profiles.items() if name in self._seen]
        self._seen.clear()
        self.keep(fresh)
        return rendered(fresh, text=self._text)

    def close(self) -> None:
        """Keeps all that is known."""
        self.keep(self._profiler.profiles.values())

    def keep(self, profiles: Iterable[Profile]) -> None:
        """Writes profiles to the state directory, where there is one."""
        if self._store is not None:
            for profile in profiles:
                self._store.save(profile)


def rendered(profiles: Iterable[Profile], *, text: bool) -> list[bytes]:
    """The lines of these profiles that have something to tell, by the VMs' names."""
    lines: list[bytes] = []
    for profile in ordered(profiles):
        if profile.series:
            lines += text_lines(profile) if text else [json_line(profile)]
    return lines
