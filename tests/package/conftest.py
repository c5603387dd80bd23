"""The package, built once a run, and releases of Debian to install it in."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import unavailable
from tests.package import roots
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
def bookworm(place: pathlib.Path) -> pathlib.Path:
    """Debian 12."""
    try:
        return roots.debootstrap("bookworm", place)
    except Failed as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def trixie(place: pathlib.Path) -> pathlib.Path:
    """Debian 13, where its packages can be had."""
    try:
        return roots.debootstrap("trixie", place)
    except Failed as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def root_of(place: pathlib.Path) -> Callable[[pathlib.Path], Root]:
    """A copy on write of a base."""
    return lambda base: roots.copy(base, place)


@pytest.fixture(scope="session")
def package(place: pathlib.Path) -> pathlib.Path:
    """The package for the release that this runs on."""
    done = subprocess.run(
        ["make", "-s", "deb", f"packages={place / 'packages'}"],
        cwd=roots.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (place / "packages").glob("*.deb")
    return built
