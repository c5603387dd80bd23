"""Keys on disk, and the command that makes them: nobody else reads them, and what is damaged lets nobody in."""

from __future__ import annotations

import os
import pathlib
import pwd
import stat
import subprocess

import pytest
import zmq

from proxtop.bus import keys
from proxtop.bus.keys import KeyProblem
from tests.faults.rig import PROXTOP

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
OTHER = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"


def test_a_new_pair_is_for_its_owner_alone_and_comes_back(tmp_path: pathlib.Path) -> None:
    before = os.umask(0o000)
    try:
        made = keys.create(str(tmp_path / "pve1.key"), "pve1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pve1.key").stat().st_mode) == 0o600
    assert keys.load(str(tmp_path / "pve1.key")) == made
    assert zmq.curve_public(made.secret) == made.public
    assert made.secret.decode() not in repr(made)


def test_a_key_file_is_never_overwritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pve1.key"
    keys.create(str(path), "pve1")
    before = path.read_bytes()
    with pytest.raises(KeyProblem, match="there already"):
        keys.create(str(path), "pve1")
    link = tmp_path / "link.key"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyProblem):
        keys.create(str(link), "link")
    assert path.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o777])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: pathlib.Path, mode: int) -> None:
    path = tmp_path / "pve1.key"
    keys.create(str(path), "pve1")
    path.chmod(mode)
    with pytest.raises(KeyProblem, match=r"pve1\.key: its mode .* too open; chmod 600"):
        keys.load(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_key_file_of_another_user_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pve1.key"
    keys.create(str(path), "pve1", owner=(65534, 65534))
    with pytest.raises(KeyProblem, match="belongs to user 65534"):
        keys.load(str(path))
    assert _run(tmp_path, "show", "pve1").stdout.startswith("pve1 ")  # root may look


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "", lambda text: "\0\xff", lambda text: text.replace("secret", "secrets"),
        lambda text: text[:-10], lambda text: text.replace('name = "', 'name = "../'),
        lambda text: text.replace('public = "', 'public = "x'), lambda text: text + text,
        lambda text: "\n".join([*text.splitlines()[:2], f'public = "{KEY}"', text.splitlines()[3]]),
        lambda text: text + "#" * (2 << 20), lambda text: text + "x = " + "1" * 5000,
        lambda text: text + "x = " + "[" * 5000,
    ],
)  # fmt: skip
def test_a_damaged_key_file_is_one_line_that_names_it(tmp_path: pathlib.Path, damage: object) -> None:
    path = tmp_path / "pve1.key"
    keys.create(str(path), "pve1")
    path.write_text(damage(path.read_text()), encoding="latin-1")  # type: ignore[operator]
    with pytest.raises(KeyProblem) as problem:
        keys.load(str(path))
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_the_list_binds_each_key_to_one_name(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / keys.TRUSTED)
    assert keys.trust(path, "agg1", KEY.encode())
    assert not keys.trust(path, "agg1", KEY.encode())
    assert keys.trust(path, "agg1", OTHER.encode())
    assert keys.trusted(path) == {KEY.encode(): "agg1", OTHER.encode(): "agg1"}
    third = zmq.curve_keypair()[0]
    assert keys.trust(path, "agg2", third)
    with pytest.raises(KeyProblem, match="bound to agg2"):
        keys.trust(path, "agg1", third)
    assert keys.revoke(path, "agg1") == 2
    assert keys.trusted(path) == {third: "agg2"}
    assert keys.revoke(path, "agg1") == 0


@pytest.mark.parametrize(
    "line", ["agg2", f"agg2 {KEY[:-1]}", f"agg2 {KEY} more", f"../x {OTHER}", f"agg9 {KEY}", "\xff"]
)
def test_a_list_with_one_bad_line_is_no_list(tmp_path: pathlib.Path, line: str) -> None:
    path = tmp_path / keys.TRUSTED
    path.write_text(f"# comment\n\nagg1 {KEY}\n{line}\n", encoding="latin-1")
    path.chmod(0o644)
    with pytest.raises(KeyProblem, match=str(path)):
        keys.trusted(str(path))
    before = path.read_bytes()
    with pytest.raises(KeyProblem):
        keys.trust(str(path), "agg3", OTHER.encode())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [keys.TRUSTED]


def test_a_list_that_others_may_write_or_that_is_none_lets_nobody_in(tmp_path: pathlib.Path) -> None:
    path = tmp_path / keys.TRUSTED
    path.write_text(f"agg1 {KEY}\n")
    path.chmod(0o664)
    with pytest.raises(KeyProblem, match="chmod 644"):
        keys.trusted(str(path))
    with pytest.raises(KeyProblem, match="No such file"):
        keys.trusted(str(tmp_path / "nothing"))
    with pytest.raises(KeyProblem, match="no file"):
        keys.trusted(str(tmp_path))


@pytest.mark.parametrize("text", ["", "x", KEY[:-1], KEY + "0", "~" * 40, "#" * 40, "ä" * 40, "\n" * 40])
def test_what_is_no_key_is_told(text: str) -> None:
    with pytest.raises(KeyProblem, match="is no key"):
        keys.public_key(text)


def _run(directory: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROXTOP), "keys", *words, *([] if "-h" in words else [f"--directory={directory}"])]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_from_new_keys_to_trust_and_back(tmp_path: pathlib.Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    made = _run(here, "new", "agg1")
    assert (made.returncode, made.stderr) == (0, "")
    assert _run(here, "show", "agg1").stdout == made.stdout
    file = tmp_path / "agg1.pub"
    file.write_text(made.stdout)
    assert _run(there, "new", "pve1").returncode == 0
    assert "is let in now" in _run(there, "trust", str(file)).stdout
    name, key = made.stdout.split()
    assert _run(there, "trust", name, key).stdout == "agg1 is let in already\n"
    listed = _run(there, "show").stdout
    assert f"agg1 {key}  # is let in" in listed
    assert "pve1" in listed
    assert keys.load(str(there / "pve1.key")).secret.decode() not in listed
    assert _run(there, "revoke", "agg1").returncode == 0
    assert "agg1" not in _run(there, "show").stdout


def test_the_keys_of_another_user_are_where_that_user_gets_whatever_the_umask_is(tmp_path: pathlib.Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    before = os.umask(0o077)
    try:
        assert _run(tmp_path / "theirs", "new", "a", f"--user={user}").returncode == 0
        assert _run(tmp_path / "own", "new", "a").returncode == 0
    finally:
        os.umask(before)
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "theirs" / "a.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


def test_what_was_written_into_the_list_by_hand_stays_and_a_link_to_it(tmp_path: pathlib.Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "trusted"
    shared.write_text(f"# the rack in Berlin\r\n  pve1\t{KEY}\n\n# nobody else\n")
    shared.chmod(0o644)
    link.symlink_to(shared)
    other, _ = zmq.curve_keypair()
    assert keys.trust(str(link), "pve2", other)
    assert keys.revoke(str(link), "pve1") == 1
    assert link.is_symlink()
    assert shared.read_text() == f"# the rack in Berlin\n\n# nobody else\npve2 {other.decode()}\n"


def test_what_show_prints_of_who_is_let_in_is_taken_too(tmp_path: pathlib.Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert _run(here, "trust", "agg1", KEY).returncode == 0
    file = tmp_path / "agg1.pub"
    file.write_text(_run(here, "show", "agg1").stdout)
    done = _run(there, "trust", str(file))
    assert (done.stdout, done.stderr) == ("agg1 is let in now\n", "")
    file.write_text(file.read_text() * 2)
    assert _run(there, "trust", str(file)).returncode == 2


@pytest.mark.parametrize(
    "key", ["-:6a0VEV3.Ng4-jVY*GJ9[%hMLfxIU@PdF0KA}3l", "--6a0VEV3.Ng4-jVY*GJ9[%hMLfxIU@PdF0KA}3l"]
)
def test_a_key_that_begins_as_an_option_does_is_a_key(tmp_path: pathlib.Path, key: str) -> None:
    done = _run(tmp_path, "trust", "agg1", key)
    assert (done.stdout, done.stderr) == ("agg1 is let in now\n", "")
    assert f"agg1 {key}  #" in _run(tmp_path, "show").stdout


@pytest.mark.parametrize(
    "words",
    [
        (), ("newer",), ("new", "a", "b"), ("new", "../x"), ("new", "x", "--user=nobody-at-all"), ("trust", "agg1"),
        ("trust", "agg1", "KEY"), ("trust", "a/b", KEY), ("revoke", "nobody"), ("revoke",), ("show", "nobody"),
        ("show", "--user=root"), ("show", "--nothing"),
    ],
)  # fmt: skip
def test_nonsense_is_one_line_and_status_2(tmp_path: pathlib.Path, words: tuple[str, ...]) -> None:
    done = _run(tmp_path / "keys", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("proxtop keys: ")
    assert done.stderr.count("\n") == 1
