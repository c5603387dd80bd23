"""The Debian package in real systems: it installs, upgrades, keeps edited configuration, is purged without a rest."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.package.life import lives
from tests.package.roots import Root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Copy = Callable[[pathlib.Path], Root]


def test_it_lives_and_goes_on_debian_12(
    bookworm: pathlib.Path, package: pathlib.Path, root_of: Copy, tmp_path: pathlib.Path
) -> None:
    lives(root_of(bookworm), package, tmp_path)


def test_without_libvirt_all_but_its_connector_works(
    bookworm: pathlib.Path, package: pathlib.Path, root_of: Copy
) -> None:
    root = root_of(bookworm)
    root.put(package, "/proxtop.deb")
    root.install("/proxtop.deb")
    assert "not installed" in root.run("dpkg -s libvirt0", check=False)
    assert '"domains":[]' in root.run("proxtop --runs=1 --printer=json --cpu 2> /dev/null")
    told = root.run("proxtop --libvirt --runs=1 --printer=json || echo status $?")
    assert "libvirt0" in told and told.endswith("\nstatus 2\n") and len(told.splitlines()) == 2
