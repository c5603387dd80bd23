"""Settings out of words: the options of profiles, for a command line and for a configuration alike."""

from __future__ import annotations

import argparse
import re

from proxtop.profiler.settings import Settings, SettingsError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DEFAULT = Settings()


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a profile's settings and --state-dir to a parser."""
    for name in (
        "--states", "--buffersize", "--history", "--filterstddevs", "--periodsize", "--phase-likelihood",
        "--phase-history", "--state-dir",
    ):  # fmt: skip
        parser.add_argument(name)
    parser.add_argument("--fixedbound", action="store_true")


def settings_of(given: argparse.Namespace, interval: float) -> Settings:
    """The settings among what that parser read, for samples that come every so many seconds; SettingsError for what
    can't be."""
    if given.state_dir == "":
        raise SettingsError("--state-dir: the value is empty; give a directory or leave the option out")
    return Settings(
        states=_whole("--states", given.states, _DEFAULT.states),
        buffersize=_whole("--buffersize", given.buffersize, _DEFAULT.buffersize),
        history=_whole("--history", given.history, _DEFAULT.history),
        filterstddevs=_number("--filterstddevs", given.filterstddevs, _DEFAULT.filterstddevs),
        fixedbound=given.fixedbound,
        periodsize=_sizes(given.periodsize),
        phase_likelihood=_number("--phase-likelihood", given.phase_likelihood, _DEFAULT.phase_likelihood),
        phase_history=_whole("--phase-history", given.phase_history, _DEFAULT.phase_history),
        interval=interval,
    ).checked()


def seconds(option: str, text: str) -> float:
    """The seconds of 60, 60s, 5m, 1.5h or 1d."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text, re.ASCII)
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.2 <= value <= 366 * 86400:
        raise SettingsError(f"{option}: {text!r} is no time; give e.g. 60s, 5m or plain seconds")
    return value


def _whole(option: str, text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is no whole number; give e.g. {default}") from None


def _number(option: str, text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is no number; give e.g. 3 or 0.5") from None


def _sizes(text: str | None) -> tuple[int, ...]:
    return tuple(_whole("--periodsize", part, 24) for part in text.split(",")) if text is not None else ()
