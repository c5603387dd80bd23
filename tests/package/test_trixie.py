"""The Debian package built and used in Debian 13, beside the tests before this one: so this is a file of its own."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_it_is_built_lives_and_goes_on_debian_13(on_trixie: None) -> None:
    """All of it happened while other tests ran: what failed there is raised here."""
