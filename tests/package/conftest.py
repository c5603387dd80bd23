"""The package, built once a run, and releases of Debian to install it in, partly got ready beside other tests."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.package import life, roots
from tests.package.roots import Failed, Root


@pytest.fixture(scope="session")
def place() -> Iterator[pathlib.Path]:
    """Where roots are."""
    reason = roots.missing()
    if reason:
        unavailable(reason)
    with roots.workspace() as folder:
        yield folder


@pytest.fixture(scope="session")
def ahead(request: pytest.FixtureRequest, place: pathlib.Path) -> Iterator[dict[str, Future[Any]]]:
    """What the tests of this run will ask for of BESIDE, got ready one after the other while others run."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor(1) as beside:
        yield {name: beside.submit(make, place) for name, make in BESIDE.items() if name in wanted}
        beside.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def bookworm(place: pathlib.Path, ahead: dict[str, Future[Any]]) -> pathlib.Path:
    """Debian 12."""
    try:
        return roots.debootstrap("bookworm", place)
    except Failed as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def root_of(place: pathlib.Path) -> Callable[[pathlib.Path], Root]:
    """A copy on write of a base."""
    return lambda base: roots.copy(base, place)


@pytest.fixture(scope="session")
def package(ahead: dict[str, Future[Any]]) -> pathlib.Path:
    """The package for the release that this runs on."""
    path: pathlib.Path = ahead["package"].result()
    return path


@pytest.fixture(scope="session")
def on_trixie(ahead: dict[str, Future[Any]]) -> None:
    """The package's life on Debian 13, built there, where that release can be had."""
    try:
        ahead["on_trixie"].result()
    except NoRelease as error:
        pytest.skip(str(error))


class NoRelease(Exception):
    """A release of Debian that can't be had."""


def _package(place: pathlib.Path) -> pathlib.Path:
    command = ["make", "-s", "deb", f"packages={place / 'packages'}"]
    done = subprocess.run(command, cwd=roots.REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "packages").glob("*.deb")
    return built


def _on_trixie(place: pathlib.Path) -> None:
    try:
        trixie = roots.debootstrap("trixie", place)
    except Failed as error:
        raise NoRelease(str(error)) from None
    folder = place / "trixie-newer"
    folder.mkdir()
    life.lives(roots.copy(trixie, place), life.build(roots.copy(trixie, place)), folder)


BESIDE: dict[str, Callable[[pathlib.Path], Any]] = {"package": _package, "on_trixie": _on_trixie}
"""By the fixture that waits for it."""
