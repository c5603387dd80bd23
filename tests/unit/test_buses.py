"""Which bus a client reads, by what the fleet there says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from proxtop import stream
from proxtop.attach import AttachError
from proxtop.buses import Finder
from proxtop.model import Stamp, Status
from proxtop.options import parse

BUS = "tcp://127.0.0.1:7655"


def finder(monkeypatch: pytest.MonkeyPatch, interval: float, info: dict[str, Any], *words: str) -> Finder:
    """Of a bus whose fleet says this."""
    said = Stamp("pve1", 1, 1, 0, 0.0, 0.0), Status("aggregator", "running", 1, interval, info=info)
    monkeypatch.setattr(stream, "fleet_status", lambda *_, **__: said)
    return Finder(parse([f"--bus={BUS}", *words]), lambda text: None)


def test_a_textfile_of_many_hosts_is_refused_and_that_of_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("-p", "prometheus", "--output=file", "--target=all.prom")
    with pytest.raises(AttachError, match="a textfile holds one"):
        finder(monkeypatch, 1.0, {"cluster": True}, *words).existing()
    found = finder(monkeypatch, 1.0, {"cluster": True}, *words, "--node=pve1").existing()
    assert found is not None and found.cluster


def test_an_interval_that_is_none_is_no_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = finder(monkeypatch, 0.0, {}).existing()
    assert found is not None and found.interval is None
