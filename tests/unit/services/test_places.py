"""The directories of a supervised fleet: what is made, and what is left alone."""

from __future__ import annotations

import os
import pathlib

import pytest

from proxtopd import places
from proxtopd.configuration import ConfigurationError
from proxtopd.places import Places


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Places:
    return Places(f"{tmp_path}/bus", f"{tmp_path}/busd", f"{tmp_path}/busd/log")


def test_who_is_refused_has_touched_nothing_of_the_fleet_that_runs(here: Places, tmp_path: pathlib.Path) -> None:
    lock = places.prepare(here, None)
    (tmp_path / "bus" / "subscribe.sock").touch()
    (tmp_path / "bus").chmod(0o711)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(places.Held, match=f"PID {os.getpid()}"):
        places.prepare(Places(here.run, here.own, f"{tmp_path}/elsewhere"), None)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "bus").stat().st_mode & 0o777 == 0o711
    os.close(lock)
    os.close(places.prepare(here, None))


def test_a_directory_that_holds_something_else_is_not_taken_for_a_bus(here: Places, tmp_path: pathlib.Path) -> None:
    bus = tmp_path / "bus"
    (bus / "precious").mkdir(parents=True)
    bus.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"bus: holds 'precious', so .* PROXTOP_RUN"):
        places.prepare(here, None)
    assert bus.stat().st_mode & 0o777 == 0o755
    (bus / "precious").rmdir()
    (bus / "workers").mkdir()  # what a bus leaves
    os.close(places.prepare(here, None))
    assert bus.stat().st_mode & 0o777 == 0o700


def test_logs_are_found_wherever_those_of_an_earlier_fleet_went(here: Places, tmp_path: pathlib.Path) -> None:
    elsewhere = Places(here.run, here.own, f"{tmp_path}/elsewhere")
    for now in (elsewhere, here, elsewhere, here):
        os.close(places.prepare(now, None))
        pathlib.Path(now.log("cpu")).write_text(now.logs)
        assert pathlib.Path(here.own, "log", "cpu.log").read_text() == now.logs


def test_workers_get_at_their_setups_whatever_the_umask_is(here: Places) -> None:
    before = os.umask(0o077)
    try:
        os.close(places.prepare(here, None))
    finally:
        os.umask(before)
    for path in (here.own, os.path.dirname(here.setup("cpu"))):
        assert os.stat(path).st_mode & 0o777 == 0o755
