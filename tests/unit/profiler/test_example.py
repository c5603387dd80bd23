"""The example that docs/profiler.md works out by hand."""

from __future__ import annotations

import pytest

from proxtop.profiler.document import document
from proxtop.profiler.forecast import forecast
from proxtop.profiler.profile import Profile
from tests.unit.profiler.chains import START, chain_settings

SAMPLES = (10, 20, 70, 50, 80, 88, 20, 4, 10, 8, 40, 50)


def test_the_documented_example_is_what_comes_out() -> None:
    profile = Profile("example", chain_settings(states=3, buffersize=2))
    for number, sample in enumerate(SAMPLES, 1):
        profile.put(START + number, {"cpu": float(sample)}, {"cpu": (0.0, 90.0)})
    (root,) = document(profile)["roottx"]
    assert root["transitions"] == {
        "0": {"nextProbs": [34, 33, 33], "probability": 60, "counts": [1, 1, 1]},
        "2": {"nextProbs": [50, 0, 50], "probability": 40, "counts": [1, 0, 1]},
    }
    assert root["state"] == "1"
    with profile.complete():
        (ahead,) = forecast(profile.series["cpu"], 1, past=(2,))
    assert ahead.chances == pytest.approx((0.440, 0.119, 0.440), abs=0.001)
    assert ahead.expected == pytest.approx(42.4, abs=0.05)
