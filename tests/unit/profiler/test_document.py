"""The document is the Go original's, and read back it is the profile that it was."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtop.profiler.document import DocumentError, document, percents, profile_of
from proxtop.profiler.profile import Profile
from proxtop.profiler.usual import ALARM
from tests.unit.profiler.chains import chain_settings, fed, feed

TXMATRIX = {"metric", "transitions", "stats"}
STATS = {"min", "max", "stddev", "avg", "count", "stddevsum"}


def rich() -> Profile:
    """Two metrics, two phases, a tree of two levels, a history of two."""
    chance = random.Random(11)
    settings = chain_settings(history=2, periodsize=(2, 3, 5), phase_likelihood=0.3, buffersize=2)
    profile = fed(chance.choices(range(4), (8, 1, 0, 1), k=300), settings)
    feed(profile, chance.choices(range(4), (0, 1, 8, 2), k=300))
    time = profile.time or 0.0
    for number in range(1, 400):
        values = {"cpu": chance.uniform(0, 30), "net": 1e9 * chance.random() ** 3, "mem": None}
        profile.put(time + number, values, {"cpu": (0.0, 100.0), "net": None, "mem": None})
    profile.vm, profile.node, profile.vcpus = "web", "pve1", 2
    return profile


@cache
def rich_document() -> dict[str, Any]:
    found = orjson.loads(orjson.dumps(document(rich())))
    assert isinstance(found, dict)
    return found


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(rich_document())


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=64))
def test_whole_percents_add_up_to_100_and_are_within_1_of_the_truth(counts: list[int]) -> None:
    found = percents(counts)
    if not sum(counts):
        assert found == [0] * len(counts)
        return
    assert sum(found) == 100
    for count, percent in zip(counts, found, strict=True):
        assert abs(percent - 100 * count / sum(counts)) < 1
        assert count or not percent


def test_the_remainders_go_to_the_largest() -> None:
    assert percents([1, 1, 1]) == [34, 33, 33]
    assert percents([1, 2, 4]) == [14, 29, 57]


def test_the_fields_are_the_originals(raw: dict[str, Any]) -> None:
    assert {"name", "roottx", "periodTree", "phases", "settings"} <= raw.keys()
    assert raw["schema"] == 1
    assert {"buffersize", "states", "history", "filterstddevs", "fixbound", "periodsize", "phaseChangeLikeliness",
            "phaseChangeHistory", "phaseChangeHistoryFadeout"} <= raw["settings"].keys()  # fmt: skip
    assert type(raw["settings"]["filterstddevs"]) is int  # the original's reader takes nothing else
    root = raw["periodTree"]["root"]
    assert {"UUID", "maxChilds", "maxCounts", "children", "txmatrix"} <= root.keys()
    assert raw["phases"]["tx"]["metric"] == "phasetx"
    for matrix in [*raw["roottx"], *root["txmatrix"], *raw["phases"]["phases"][0]]:
        assert matrix.keys() >= TXMATRIX
        assert matrix["stats"].keys() == STATS
        for key, step in matrix["transitions"].items():
            assert all(part.isdecimal() for part in key.split("-"))
            assert {"nextProbs", "probability"} <= step.keys()
            assert all(isinstance(percent, int) for percent in (*step["nextProbs"], step["probability"]))


def matrices(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """All of a document."""
    found = [*raw["roottx"], raw["phases"]["tx"]]
    for phase in raw["phases"]["phases"]:
        found += phase
    nodes = [raw["periodTree"]["root"]]
    while nodes:
        node = nodes.pop()
        found += node["txmatrix"]
        nodes += node["children"]
    return found


def test_every_row_adds_up_to_100_and_so_do_the_shares_of_each_length(raw: dict[str, Any]) -> None:
    every = matrices(raw)
    assert len(every) > 20
    for matrix in every:
        shares: dict[int, int] = {}
        for key, step in matrix["transitions"].items():
            assert sum(step["nextProbs"]) == 100
            length = key.count("-")
            shares[length] = shares.get(length, 0) + step["probability"]
        assert set(shares.values()) <= {100}


def test_the_tree_has_the_shape_that_was_asked_for_and_its_root_holds_all(raw: dict[str, Any]) -> None:
    root = raw["periodTree"]["root"]
    assert root["maxChilds"] == 2
    assert root["maxCounts"] == 30
    assert [len(child["children"]) for child in root["children"]] == [3, 3]
    assert [leaf["maxCounts"] for child in root["children"] for leaf in child["children"]] == [5] * 6
    assert root["txmatrix"][0]["transitions"] == raw["roottx"][0]["transitions"]
    numbers = [root["UUID"]] + [n["UUID"] for child in root["children"] for n in (child, *child["children"])]
    assert len(set(numbers)) == 9


def test_a_document_read_back_is_the_same_profile(raw: dict[str, Any]) -> None:
    again = orjson.loads(orjson.dumps(document(profile_of(raw))))
    for one, other in ((raw, again),):
        other["likelihood"], other["anomaly"] = one["likelihood"], one["anomaly"]
        for a, b in zip(one["roottx"], other["roottx"], strict=True):
            b["likelihood"], b["anomaly"] = a["likelihood"], a["anomaly"]
    assert again == raw


def test_a_profile_read_back_goes_on_where_it_stopped() -> None:
    settings = chain_settings(history=2, phase_likelihood=0.3)
    chance = random.Random(2)
    states = chance.choices(range(4), k=400)
    whole = fed(states, settings)
    part = profile_of(json.loads(json.dumps(document(fed(states[:250], settings)))))
    feed(part, states[250:])
    with whole.complete(), part.complete():
        for order in range(3):
            assert list(whole.series["cpu"].root.rows(order)) == list(part.series["cpu"].root.rows(order))
    assert part.gaps == 0


def test_a_profile_read_back_knows_what_is_usual() -> None:
    chance = random.Random(6)
    states = [state for _ in range(60) for state in (*chance.choices([0, 1], (95, 5), k=40), 3, 3, 3)]
    whole = fed(states, chain_settings())
    again = profile_of(json.loads(json.dumps(document(whole))))
    one, other = whole.series["cpu"].rarities, again.series["cpu"].rarities
    assert one.count > 2000
    assert (one.count, one.mean, one.deviation) == (other.count, other.mean, other.deviation)
    for state in (0, 0, 0, 0, 3, 3, 3):
        feed(again, [state])
        assert again.anomaly is not None and again.anomaly < ALARM
    feed(again, [2] * 5)
    assert again.anomaly is not None and again.anomaly >= ALARM


def test_a_profile_in_its_wrapping_is_read_too(raw: dict[str, Any]) -> None:
    assert profile_of({"profile": raw}).name == raw["name"]


@pytest.mark.parametrize("wrong", [None, [], 3, {}, {"profile": 3}, {"roottx": []}, {"roottx": [], "schema": 99}])
def test_what_is_no_profile_is_said(wrong: Any) -> None:
    with pytest.raises(DocumentError):
        profile_of(wrong)


@pytest.mark.parametrize("field", ["count", "stddevsum"])
@pytest.mark.parametrize("part", ["stats", "rarity", "novelty"])
def test_a_number_or_sum_of_squares_below_zero_is_damage(part: str, field: str) -> None:
    broken = copy.deepcopy(rich_document())
    broken["roottx"][0][part][field] = -1
    with pytest.raises(DocumentError, match="damaged"):
        profile_of(broken)


@settings(max_examples=200)
@given(seed=st.integers(0, 1 << 32))
def test_a_damaged_document_is_said_and_never_anything_else(seed: int) -> None:
    chance = random.Random(seed)
    broken = copy.deepcopy(rich_document())
    place: Any = broken
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.25:
            place[key] = chance.choice([None, "x", -1, 1.5, [], {}, 1 << 80, True])
            break
        place = inner
    with contextlib.suppress(DocumentError):
        document(profile_of(broken))
