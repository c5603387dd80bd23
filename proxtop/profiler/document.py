"""A profile as a JSON document and back: the Go original's fields under its names, and ours beside them.

`schema` counts what a reader must know about: it goes up when a field of ours changes its meaning. Whole percents add
up to exactly 100 in each row (largest remainder). `counts` beside them are what they are made from, so that a document
read back is the profile that it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proxtop.profiler.markov import Counts, Past
from proxtop.profiler.metrics import MEASURES
from proxtop.profiler.periods import Periods
from proxtop.profiler.profile import Profile
from proxtop.profiler.series import Series
from proxtop.profiler.settings import Settings
from proxtop.profiler.summary import summary
from proxtop.profiler.usual import Running, Usual

SCHEMA = 1

Object = dict[str, Any]


def percents(counts: list[int]) -> list[int]:
    """Whole percents that add up to 100, each within 1 of the exact one (largest remainder; of equal ones the first);
    zeros without counts."""
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    floors = [100 * count // total for count in counts]
    rest = sorted(range(len(counts)), key=lambda place: (-(100 * counts[place] % total), place))
    for place in rest[: 100 - sum(floors)]:
        floors[place] += 1
    return floors


def document(profile: Profile) -> Object:
    """The profile, complete with what is held back until later."""
    with profile.complete():
        series = _ordered(profile)
        return {
            "schema": SCHEMA,
            "name": profile.name,
            "vm": profile.vm,
            "node": profile.node,
            "vcpus": profile.vcpus,
            "since": profile.since,
            "time": profile.time,
            "gaps": profile.gaps,
            "likelihood": profile.likelihood,
            "anomaly": profile.anomaly,
            "roottx": [_root(one) for one in series],
            "periodTree": {"root": _tree(profile, series)},
            "phases": _phases(profile, series),
            "settings": _settings(profile.settings),
        }


def _ordered(profile: Profile) -> list[Series]:
    places = {name: number for number, name in enumerate(MEASURES)}
    return sorted(profile.series.values(), key=lambda one: places.get(one.metric, len(places)))


def _settings(settings: Settings) -> Object:
    return {
        "buffersize": settings.buffersize,
        "states": settings.states,
        "history": settings.history,
        "filterstddevs": int(stddevs) if (stddevs := settings.filterstddevs).is_integer() else stddevs,
        "fixbound": settings.fixedbound,
        "periodsize": list(settings.periodsize),
        "phaseChangeLikeliness": settings.phase_likelihood,
        "phaseChangeHistory": settings.phase_history,
        "phaseChangeHistoryFadeout": False,
        "interval": settings.interval,
    }


def _transitions(counts: Counts, table: int = 0) -> Object:
    """Every past that was seen, of every length from 1; the shares of those of one length add up to 100."""
    found: Object = {}
    for order in range(1, counts.layout.history + 1):
        rows = list(counts.rows(order, table))
        shares = percents([sum(row) for _, row in rows])
        for (past, row), share in zip(rows, shares, strict=True):
            found[_key(past)] = {"nextProbs": percents(row), "probability": share, "counts": row}
    return found


def _key(past: Past) -> str:
    return "-".join(map(str, past))


def _stats(one: Series) -> Object:
    low, high = one.bounds or (None, None)
    return {
        "min": low,
        "max": high,
        "stddev": one.samples.deviation,
        "avg": one.samples.mean if one.samples.count else None,
        "count": one.samples.count,
        "stddevsum": one.samples.m2,
    }


def _matrix(one: Series, counts: Counts, table: int = 0) -> Object:
    return {"metric": one.metric, "transitions": _transitions(counts, table), "stats": _stats(one)}


def _root(one: Series) -> Object:
    found = summary(one)
    step_s = one.settings.step_s
    measure = MEASURES.get(one.metric)
    return {
        **_matrix(one, one.root),
        "unit": measure.unit if measure else "",
        "bounds": "fixed" if one.fixed else "observed",
        "observed": {"min": one.lowest, "max": one.highest},
        "filtered": one.filtered,
        "unknown": one.unknown,
        "steps": one.steps,
        "state": _key(one.past) if one.past else None,
        "likelihood": one.likelihood,
        "anomaly": one.anomaly,
        "rarity": _usual(one.rarities),
        "novelty": {**_usual(one.novelties), "cells": one.density.rows()},
        "expected": found.expected,
        "entropy": found.entropy,
        "levels": [
            {
                "min": level.low,
                "max": level.high,
                "count": level.count,
                "sum": one.moments[3 * state + 1],
                "sumsquares": one.moments[3 * state + 2],
                "mean": level.mean,
                "stddev": level.deviation,
                "share": level.share,
                "stationary": level.stationary,
                "sojourn": None if level.sojourn is None else level.sojourn * step_s,
            }
            for state, level in enumerate(found.levels)
        ],
    }


def _usual(one: Usual) -> Object:
    return {"avg": one.mean, "count": one.count, "stddevsum": one.m2, "halfbits": list(one.bins)}


def _tree(profile: Profile, series: list[Series]) -> Object:
    """The nodes from the root down; each holds what its leaves hold together, the root all that was counted."""
    periods = Periods(profile.settings.periodsize, profile.settings.step_s)
    numbers = iter(range(1 << 30))

    def node(level: int, first: int, leaves: int) -> Object:
        fanout = periods.fanout[level] if level < len(periods.fanout) else 0
        each = leaves // fanout if fanout else 0
        steps = leaves * periods.sizes[-1] if periods.fanout else 0
        found: Object = {"UUID": next(numbers), "maxChilds": fanout, "maxCounts": steps, "txmatrix": []}
        found["children"] = [node(level + 1, first + child * each, each) for child in range(fanout)]
        for one in series:
            if level == 0:
                found["txmatrix"].append(_matrix(one, one.root))
            elif one.leaves is not None:
                counts = Counts(profile.settings.states, profile.settings.history)
                for leaf in range(first, first + leaves):
                    counts.merge(one.leaves, leaf)
                if counts.total():
                    found["txmatrix"].append(_matrix(one, counts))
        return found

    return node(0, 0, periods.leaves)


def _phases(profile: Profile, series: list[Series]) -> Object:
    phases = profile.phases
    if not profile.settings.phase_likelihood:
        return {"phases": [[_matrix(one, one.root) for one in series]], "tx": _phase_tx({}, 1), "current": 0}
    found = []
    for phase in range(len(phases.sizes)):
        found.append([_matrix(one, one.phases[phase]) for one in series if len(one.phases) > phase])
    return {"phases": found, "tx": _phase_tx(phases.moves, len(found)), "current": phases.current,
            "sizes": list(phases.sizes)}  # fmt: skip


def _phase_tx(moves: Any, phases: int) -> Object:
    rows = {before: [moves.get((before, after), 0) for after in range(phases)] for before in range(phases)}
    seen = {before: row for before, row in rows.items() if any(row)}
    shares = percents([sum(row) for row in seen.values()])
    total = sum(map(sum, seen.values()))
    return {
        "metric": "phasetx",
        "transitions": {
            str(before): {"nextProbs": percents(row), "probability": share, "counts": row}
            for (before, row), share in zip(seen.items(), shares, strict=True)
        },
        "stats": {"min": 0, "max": phases - 1, "stddev": 0.0, "avg": None, "count": total, "stddevsum": 0.0},
    }


class DocumentError(ValueError):
    """A document that is no profile of ours; the text says why."""


def profile_of(raw: Any) -> Profile:
    """The profile in a document, or in `{"profile": …}`; DocumentError where it is none."""
    if isinstance(raw, dict) and isinstance(raw.get("profile"), dict):
        raw = raw["profile"]
    if not isinstance(raw, dict) or "roottx" not in raw:
        raise DocumentError("no profile: roottx is missing")
    if raw.get("schema") != SCHEMA:
        raise DocumentError(f"schema {raw.get('schema')!r} is not {SCHEMA}: made by another version or program")
    try:
        return _read(raw)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DocumentError(f"damaged: {type(error).__name__}: {error}") from None


def _read(raw: Object) -> Profile:
    settings = _settings_of(raw["settings"])
    profile = Profile(_is(str, raw["name"]), settings)
    profile.vm, profile.node = _is(str, raw["vm"]), _is(str, raw["node"])
    profile.vcpus = None if raw["vcpus"] is None else _is(int, raw["vcpus"])
    profile.since, profile.time = _number(raw["since"]), _number(raw["time"])
    profile.gaps = _is(int, raw["gaps"])
    phases = raw["phases"]
    if settings.phase_likelihood:
        profile.phases.current = _is(int, phases["current"])
        profile.phases.sizes = [_is(int, size) for size in phases["sizes"]]
        if not 0 <= profile.phases.current < len(profile.phases.sizes) == len(phases["phases"]):
            raise ValueError("phases without their sizes")
        for before, step in phases["tx"]["transitions"].items():
            for after, count in enumerate(step["counts"]):
                if not 0 <= int(before) < len(profile.phases.sizes) > after:
                    raise ValueError("a move between phases that there are not")
                if count:
                    profile.phases.moves[int(before), after] = _is(int, count)
    for root in raw["roottx"]:
        series = _series(root, settings)
        profile.series[series.metric] = series
        for node, leaf in _leaves(raw["periodTree"]["root"], settings):
            for matrix in node["txmatrix"]:
                if matrix["metric"] == series.metric and series.leaves is not None:
                    _fill(series.leaves, matrix["transitions"], leaf)
        for number, matrices in enumerate(phases["phases"] if settings.phase_likelihood else ()):
            series.phases.append(Counts(settings.states, settings.history))
            for matrix in matrices:
                if matrix["metric"] == series.metric:
                    _fill(series.phases[number], matrix["transitions"])
    return profile


def _settings_of(raw: Object) -> Settings:
    return Settings(
        states=_is(int, raw["states"]),
        buffersize=_is(int, raw["buffersize"]),
        history=_is(int, raw["history"]),
        filterstddevs=float(raw["filterstddevs"]),
        fixedbound=_is(bool, raw["fixbound"]),
        periodsize=tuple(_is(int, size) for size in raw["periodsize"]),
        phase_likelihood=float(raw["phaseChangeLikeliness"]),
        phase_history=_is(int, raw["phaseChangeHistory"]),
        interval=float(raw["interval"]),
    ).checked()


def _series(raw: Object, settings: Settings) -> Series:
    series = Series(_is(str, raw["metric"]), settings)
    stats = raw["stats"]
    series.bounds = None if stats["min"] is None else (float(stats["min"]), float(stats["max"]))
    series.fixed = raw["bounds"] == "fixed"
    _running(series.samples, stats)
    _running(series.rarities, raw["rarity"])
    series.rarities.restore([_is(int, count) for count in raw["rarity"].get("halfbits", ())])
    if "novelty" in raw:  # not in the files of earlier versions: learnt from now on
        _running(series.novelties, raw["novelty"])
        series.novelties.restore([_is(int, count) for count in raw["novelty"]["halfbits"]])
        series.density.restore([[_is(int, count) for count in row] for row in raw["novelty"]["cells"]])
    series.lowest, series.highest = _number(raw["observed"]["min"]), _number(raw["observed"]["max"])
    series.filtered, series.unknown = _is(int, raw["filtered"]), _is(int, raw["unknown"])
    series.steps = _is(int, raw["steps"])
    _fill(series.root, raw["transitions"])
    if len(raw["levels"]) != settings.states:
        raise ValueError("levels that are not as many as the states")
    for state, level in enumerate(raw["levels"]):
        series.moments[3 * state] = level["count"]
        series.moments[3 * state + 1] = level["sum"]
        series.moments[3 * state + 2] = level["sumsquares"]
    series.past = _past(raw["state"], settings) if raw["state"] is not None else ()
    return series


def _running(running: Running, kept: Object) -> None:
    running.count, running.m2 = _is(int, kept["count"]), float(kept["stddevsum"])
    running.mean = float(kept["avg"] or 0.0)
    if running.count < 0 or not running.m2 >= 0:
        raise ValueError("a number of values, or a sum of squares, below 0")


def _past(key: str, settings: Settings) -> Past:
    past = tuple(map(int, key.split("-")))
    if len(past) > settings.history or not all(0 <= state < settings.states for state in past):
        raise ValueError(f"{key!r} is no past of {settings.history} of {settings.states} states")
    return past


def _fill(counts: Counts, transitions: Object, table: int = 0) -> None:
    """Every transition has a last state before it, so what any state was followed by is the sum over those."""
    alone = [0] * counts.layout.states
    for key, step in transitions.items():
        past = _past_of(key, counts)
        if len(step["counts"]) != counts.layout.states:
            raise ValueError("a row of another length")
        for state, count in enumerate(step["counts"]):
            if count:
                counts.put(past, state, _is(int, count), table)
                if len(past) == 1:
                    alone[state] += count
    for state, count in enumerate(alone):
        counts.put((), state, count, table)


def _past_of(key: str, counts: Counts) -> Past:
    return _past(key, Settings(states=counts.layout.states, history=counts.layout.history))


def _leaves(root: Object, settings: Settings) -> Iterator[tuple[Object, int]]:
    """The tree's leaves with their numbers."""
    nodes = [root]
    for _ in settings.periodsize[:-1]:
        nodes = [child for node in nodes for child in node["children"]]
    if settings.leaves:
        if len(nodes) != settings.leaves:
            raise ValueError("a tree of another shape")
        yield from zip(nodes, range(settings.leaves), strict=True)


def _is(kind: Callable[..., Any], value: Any) -> Any:
    if value.__class__ is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _number(value: Any) -> float | None:
    if value is not None and value.__class__ not in (int, float):
        raise ValueError(f"{value!r} is no number")
    found: float | None = value
    return found
