"""The settings file: view, columns and their order, sort, units, thresholds. Reading never fails: a line says why."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxtop import catalog
from proxtop.tui import views
from proxtop.tui.state import Sort, State
from proxtop.tui.theme import THRESHOLDS


@dataclass(frozen=True, slots=True)
class Settings:
    """What a settings file says. `warning` is one line about what it says wrong; the defaults stand then."""

    state: State
    thresholds: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(THRESHOLDS))
    warning: str = ""


class SettingsError(ValueError):
    """A settings file that says something which can't be."""


def path(environ: Mapping[str, str]) -> Path:
    """Where the file is: proxtop/proxtop.toml in XDG_CONFIG_HOME, by default ~/.config. An XDG_CONFIG_HOME that is
    not absolute does not count (XDG Base Directory Specification)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME") or "/", ".config")
    return root / "proxtop" / "proxtop.toml"


def load(file: Path, state: State) -> Settings:
    """The state with what the file says; the state as it is, and a warning, where the file is broken."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return Settings(state)
    except OSError as error:
        return Settings(state, warning=f"settings: {file}: {error.strerror}; the defaults stand")
    try:
        data = tomllib.loads(raw.decode())
        return Settings(_state(data, state), _thresholds(data))
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError, UnicodeDecodeError and SettingsError are ValueErrors
        reason = " ".join(str(error).split())
        return Settings(state, warning=f"settings: {file}: {reason}; the defaults stand")


def _state(data: Mapping[str, Any], state: State) -> State:
    view = data.get("view", state.view)
    if not isinstance(view, str) or view not in views.VIEWS:
        raise SettingsError(f"there is no view {view!r}")
    units = data.get("units", "human" if state.human else "plain")
    if units not in ("human", "plain"):
        raise SettingsError(f"units are 'human' or 'plain', not {units!r}")
    sorts: dict[str, Sort] = {}
    columns: dict[str, tuple[str, ...]] = {}
    host: dict[str, tuple[str, ...]] = {}
    sections = data.get("views", {})
    if not isinstance(sections, dict):
        raise SettingsError("[views] is no table")
    for name, section in sections.items():
        if name not in views.VIEWS or not isinstance(section, dict):
            raise SettingsError(f"there is no view {name!r}")
        known = {metric.name for metric in views.columns(name, tuple(catalog.FAMILIES))}
        panel = {metric.name for metric in views.host_fields(name, tuple(catalog.FAMILIES))}
        if "columns" in section:
            columns[name] = _names(section["columns"], known, f"views.{name}.columns")
        if "host" in section:
            host[name] = _names(section["host"], panel, f"views.{name}.host")
        if "sort" in section:
            (column,) = _names([section["sort"]], known, f"views.{name}.sort")
            descending = section.get("descending", True)
            if not isinstance(descending, bool):
                raise SettingsError(f"views.{name}.descending is true or false")
            sorts[name] = Sort(column, descending)
    return replace(state, view=view, human=units == "human", sorts=sorts, fields=columns, host=host)


def _names(value: Any, known: set[str], where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SettingsError(f"{where} is no list of names")
    strange = [name for name in value if name not in known]
    if strange:
        raise SettingsError(f"{where}: there is no field {strange[0]!r}")
    return tuple(dict.fromkeys(value))


def _thresholds(data: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    given = data.get("thresholds", {})
    if not isinstance(given, dict):
        raise SettingsError("[thresholds] is no table")
    own: dict[str, tuple[float, float]] = {}
    for name, pair in given.items():
        numbers = isinstance(pair, list) and len(pair) == 2 and all(type(value) in (int, float) for value in pair)
        if not numbers or not pair[0] <= pair[1]:
            raise SettingsError(f"thresholds.{name}: give [warning, alarm], the lower first")
        try:
            own[name] = (float(pair[0]), float(pair[1]))
        except OverflowError:
            raise SettingsError(f"thresholds.{name}: no value can be as large as that") from None
    return {**own, **{name: limits for name, limits in THRESHOLDS.items() if name not in own}}


def dump(state: State, thresholds: Mapping[str, tuple[float, float]]) -> str:
    """The text of a file that says all this."""
    lines = ["# proxtop's screen; written by the key W, and read at its start", f'view = "{state.view}"',
             f'units = "{"human" if state.human else "plain"}"']  # fmt: skip
    for name in views.VIEWS:
        section = []
        if name in state.sorts:
            sort = state.sorts[name]
            section += [f"sort = {_quoted(sort.column)}", f"descending = {str(sort.descending).lower()}"]
        for key, chosen in (("columns", state.fields), ("host", state.host)):
            if name in chosen:
                section.append(f"{key} = [{', '.join(map(_quoted, chosen[name]))}]")
        if section:
            lines += ["", f"[views.{name}]", *section]
    lines += ["", "# metric (* matches anything) = [warning, alarm], in the metric's unit", "[thresholds]"]
    lines += [f"{_quoted(name)} = [{_number(low)}, {_number(high)}]" for name, (low, high) in thresholds.items()]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """As short as it can be, but the same number when it is read again."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def save(file: Path, state: State, thresholds: Mapping[str, tuple[float, float]]) -> str:
    """Writes the file, whole or not at all; returns a line that says where, or why not."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(dump(state, thresholds), encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        return f"settings: {file}: {error.strerror}"
    return f"settings written to {file}"
