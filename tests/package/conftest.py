"""The package, built once a run, and releases of Debian to install it in, partly got ready beside other tests."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.package import container, life, roots
from tests.package.roots import Failed, Root


@pytest.fixture(scope="session")
def place() -> Iterator[pathlib.Path]:
    """Where roots are."""
    reason = roots.missing()
    if reason:
        unavailable(reason)
    with roots.workspace() as folder:
        yield folder


Ahead = Mapping[str, Future[Any]]
"""What is got ready beside, by the fixture that waits for it."""


@pytest.fixture(scope="session")
def ahead(request: pytest.FixtureRequest, place: pathlib.Path) -> Iterator[Ahead]:
    """What the tests of this run will ask for, two things at a time while others run."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    found: dict[str, Future[Any]] = {}
    with ThreadPoolExecutor(2) as beside:
        for name, make in BESIDE.items():
            if name in wanted:
                found[name] = beside.submit(make, place, found)
        yield found
        beside.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def bookworm(ahead: Ahead) -> pathlib.Path:
    """Debian 12."""
    try:
        path: pathlib.Path = ahead["bookworm"].result()
    except Failed as error:
        unavailable(str(error))
    return path


@pytest.fixture(scope="session")
def root_of(place: pathlib.Path) -> Callable[[pathlib.Path], Root]:
    """A copy on write of a base."""
    return lambda base: roots.copy(base, place)


@pytest.fixture(scope="session")
def package(ahead: Ahead) -> pathlib.Path:
    """The package for the release that this runs on."""
    path: pathlib.Path = ahead["package"].result()
    return path


@pytest.fixture(scope="session")
def image(bookworm: pathlib.Path, ahead: Ahead) -> container.Image:
    """What the Dockerfile makes."""
    built: container.Image = ahead["image"].result()
    return built


@pytest.fixture(scope="session")
def on_trixie(ahead: Ahead) -> None:
    """The package's life on Debian 13, built there, where that release can be had."""
    try:
        ahead["on_trixie"].result()
    except _NoRelease as error:
        pytest.skip(str(error))


class _NoRelease(Exception):
    """A release of Debian that can't be had."""


def _bookworm(place: pathlib.Path, ahead: Ahead) -> pathlib.Path:
    return roots.debootstrap("bookworm", place)


def _package(place: pathlib.Path, ahead: Ahead) -> pathlib.Path:
    command = ["make", "-s", "deb", f"packages={place / 'packages'}"]
    done = subprocess.run(command, cwd=roots.REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "packages").glob("*.deb")
    return built


def _image(place: pathlib.Path, ahead: Ahead) -> container.Image:
    def base(name: str) -> Root:
        assert name == "debian:bookworm-slim"
        return roots.copy(ahead["bookworm"].result(), place)

    return container.build((roots.REPOSITORY / "Dockerfile").read_text(), base)


def _on_trixie(place: pathlib.Path, ahead: Ahead) -> None:
    try:
        trixie = roots.debootstrap("trixie", place)
    except Failed as error:
        raise _NoRelease(str(error)) from None
    folder = place / "trixie-newer"
    folder.mkdir()
    life.lives(roots.copy(trixie, place), life.build(roots.copy(trixie, place)), folder)


BESIDE: Mapping[str, Callable[[pathlib.Path, Ahead], Any]] = {
    "bookworm": _bookworm,
    "package": _package,
    "image": _image,
    "on_trixie": _on_trixie,
}
"""In the order in which they are begun; one may wait for those before it."""
