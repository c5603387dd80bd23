from __future__ import annotations

import pathlib

import pytest

from proxtop.profiler.document import document
from proxtop.profiler.profile import Profile
from proxtopd.profiles import ProfileStore, StoreError
from tests.unit.profiler.chains import chain_settings, fed, feed

SETTINGS = chain_settings(history=2)


class Kept:
    """A store in a directory, and what it said."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.store = ProfileStore(str(directory), self.said.append)

    def load(self, uuid: str) -> Profile | None:
        return self.store.load(uuid, SETTINGS)

    def path(self, uuid: str) -> pathlib.Path:
        return pathlib.Path(self.store.path(uuid))


@pytest.fixture
def kept(tmp_path: pathlib.Path) -> Kept:
    return Kept(tmp_path / "new" / "state")


@pytest.fixture
def profile() -> Profile:
    return fed([0, 1, 3, 1] * 20, SETTINGS)


def test_a_profile_that_was_kept_is_found_again_and_goes_on(kept: Kept, profile: Profile) -> None:
    kept.store.save(profile)
    found = kept.load(profile.name)
    assert found is not None
    feed(found, [3])
    feed(profile, [3])
    assert document(found)["roottx"][0]["transitions"] == document(profile)["roottx"][0]["transitions"]
    assert kept.said == []


def test_a_vm_that_is_new_has_none(kept: Kept) -> None:
    assert kept.load("never-seen") is None
    assert kept.said == []


@pytest.mark.parametrize("data", [b"", b"{", b"\x00" * 4096, b"[]", b'{"schema":99,"roottx":[]}', b"\xff\xfe", b"null"])
def test_a_damaged_file_is_set_aside_with_a_warning(kept: Kept, profile: Profile, data: bytes) -> None:
    kept.path(profile.name).write_bytes(data)
    assert kept.load(profile.name) is None
    (line,) = kept.said
    assert str(kept.path(profile.name)) in line
    assert "begins anew" in line
    assert not kept.path(profile.name).exists()
    assert kept.path(profile.name).with_suffix(".json.old").read_bytes() == data
    kept.store.save(profile)
    assert kept.load(profile.name) is not None


def test_each_damaged_file_is_kept(kept: Kept, profile: Profile) -> None:
    for data in (b"one", b"two"):
        kept.path(profile.name).write_bytes(data)
        assert kept.load(profile.name) is None
    assert {path.read_bytes() for path in kept.directory.glob("*.old*")} == {b"one", b"two"}


def test_a_file_cut_short_is_set_aside(kept: Kept, profile: Profile) -> None:
    kept.store.save(profile)
    whole = kept.path(profile.name).read_bytes()
    kept.path(profile.name).write_bytes(whole[: len(whole) // 2])
    assert kept.load(profile.name) is None
    assert len(kept.said) == 1


def test_a_profile_of_other_settings_is_set_aside(kept: Kept) -> None:
    other = fed([0, 1] * 20, chain_settings(states=6, history=2))
    kept.store.save(other)
    assert kept.load(other.name) is None
    assert "other settings" in kept.said[0]


def test_a_file_with_the_profile_of_another_vm_is_set_aside(kept: Kept, profile: Profile) -> None:
    kept.store.save(profile)
    kept.path(profile.name).rename(kept.path("someone-else"))
    assert kept.load("someone-else") is None
    assert "begins anew" in kept.said[0]


def test_what_a_killed_writer_left_does_no_harm(kept: Kept, profile: Profile) -> None:
    kept.store.save(profile)
    pathlib.Path(f"{kept.path(profile.name)}.new").write_bytes(b'{"half')
    assert kept.load(profile.name) is not None
    kept.store.save(profile)
    assert kept.load(profile.name) is not None
    assert kept.said == []


def test_a_file_that_can_not_be_written_is_said_once_and_when_it_can_again(kept: Kept, profile: Profile) -> None:
    kept.path(profile.name).mkdir(parents=True)
    kept.store.save(profile)
    kept.store.save(profile)
    assert len(kept.said) == 1
    kept.path(profile.name).rmdir()
    kept.store.save(profile)
    assert len(kept.said) == 2
    assert kept.load(profile.name) is not None


def test_a_file_that_can_not_be_read_is_left_alone(kept: Kept, profile: Profile) -> None:
    kept.path(profile.name).mkdir(parents=True)
    assert kept.load(profile.name) is None
    kept.store.save(profile)
    assert len(kept.said) == 1
    assert kept.path(profile.name).is_dir()


def test_a_vm_id_is_a_file_in_the_directory_whatever_it_is(kept: Kept) -> None:
    for name in ("../../escape", "a/b", "ä☃", "x" * 300, ".."):
        profile = fed([0, 1] * 5, SETTINGS)
        profile.name = name
        kept.store.save(profile)
        assert kept.path(name).parent == kept.directory
        assert kept.path(name).is_file()
    assert kept.said == []


def test_only_one_at_a_time(kept: Kept, tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="another profiler"):
        Kept(kept.directory)
    kept.store.close()
    Kept(kept.directory)


def test_a_directory_that_can_not_be_made_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        Kept(tmp_path / "file" / "state")
