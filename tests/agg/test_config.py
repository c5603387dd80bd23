"""agg.toml: what it means, and one line for what is wrong with it."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest

from proxtop.bus import keys
from proxtop_agg import config
from proxtop_agg.config import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
HOST = f'[[hypervisors]]\nnode = "pve1"\naddress = "tcp://192.0.2.11:7654"\nkey = "{KEY}"\n'
_MOST_EXPOSURE = 1.5


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    keys.create(str(tmp_path / "agg1.key"), "agg1")
    (tmp_path / "trusted").write_text("")
    (tmp_path / "trusted").chmod(0o644)
    return tmp_path


def _load(folder: pathlib.Path, text: str, *, own: bool = True) -> config.Config:
    path = folder / "agg.toml"
    head = f'name = "agg1"\nkey = "{folder}/agg1.key"\n' if own else 'name = "agg1"\n'
    path.write_text(head + text)
    return config.load(str(path))


def test_the_example_with_its_comments_taken_away_is_a_configuration(folder: pathlib.Path) -> None:
    text = (ROOT / "conf" / "agg.toml").read_text()
    assert config.load(str(ROOT / "conf" / "agg.toml")).peers == ()
    text = re.sub(r"(?m)^# (?=\[|\w+ = )", "", text).replace("insecure = true\n", "")
    text = text.replace("/etc/proxtop/agg1.key", f"{folder}/agg1.key").replace(
        "/etc/proxtop/trusted", f"{folder}/trusted"
    )
    (folder / "pve1.pub").write_text(f"pve1 {KEY}\n")
    text = re.sub(r"/etc/proxtop/[\w-]+\.pub", f"{folder}/pve1.pub", text)
    (folder / "agg.toml").write_text(text)
    assert len(tomllib.loads(text)) == 9
    loaded = config.load(str(folder / "agg.toml"))
    assert [(peer.name, peer.nodes, peer.tree) for peer in loaded.peers] == [
        ("pve1", ("pve1",), False), ("agg-berlin", ("ber-*",), True),
    ]  # fmt: skip
    assert {peer.key for peer in loaded.peers} == {KEY.encode()}
    assert loaded.profiler == (2, "--periodsize=7,24,180 --state-dir=/var/lib/proxtop/profiles")
    assert loaded.door is not None and loaded.outputs and (loaded.lost, loaded.gone) == (3, 60)


def test_a_node_name_with_the_signs_of_a_glob_is_that_name_alone(folder: pathlib.Path) -> None:
    loaded = _load(folder, HOST.replace('"pve1"', '"a*[b]"'))
    assert loaded.peers[0].nodes == ("a[*][[]b]",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "agg.toml"), ("nothing = 1", "nothing"), ('directory = "run"', "directory"),
        ("hypervisors = 1", "hypervisors"), ('[[hypervisors]]\naddress = "tcp://h:1"', "[1].node: is missing"),
        ('[[hypervisors]]\nnode = "a b"', "[1].node"), ('[[hypervisors]]\nnode = "a"', "address: is missing"),
        (HOST.replace("tcp://192.0.2.11:7654", "192.0.2.11"), "hypervisors[1].address"),
        (HOST.replace(KEY, "short"), "hypervisors[1].key"), (HOST.replace(KEY, "/nowhere"), "/nowhere"),
        (HOST.replace(f'key = "{KEY}"\n', ""), "hypervisors[1].key: is missing"), (HOST + HOST, "pve1"),
        (HOST + HOST.replace("pve1", "pve2"), "tcp://192.0.2.11:7654"), (HOST + "ports = 1", "hypervisors[1].ports"),
        (HOST.replace("pve1", "agg1"), "name"), ("[intervals]\nlost = 0", "intervals.lost"),
        ("[intervals]\ngone = true", "intervals.gone"), ("[intervals]\nmore = 1", "intervals.more"),
        ('[door]\naddress = "tcp://0.0.0.0:1"', "door"), ('[door]\naddress = "x"\ntrusted = "/nowhere"', "door"),
        ('[[outputs]]\noptions = ["--nonsense"]', "[1].options"), ('[[outputs]]\noptions = "x"', "outputs[1].options"),
        ('[[outputs]]\noptions = ["--printer=json"]', "outputs[1].options"),
        ('[[outputs]]\noptions = ["--printer=prometheus", "--output=file", "--target=/tmp/x"]', "one host"),
        ('[[aggregators]]\nname = "a"\naddress = "tcp://h:1"\nnodes = "b"', "[1]"), ("insecure = 1", "insecure"),
        ('directory = "/run/\\u0000"', "directory"), (HOST.replace(KEY, "/a\\u0000"), "hypervisors[1].key"),
        ('[[outputs]]\noptions = ["--target=a\\u0000"]', "outputs[1].options"), ("insecure = " + "1" * 5000, "digits"),
        ("x = " + "[" * 5000, "too deep"), ('[[outputs]]\noptions = ["--vm=\\n\\n"]', "outputs[1].options"),
        ('[profiler]\noptions = ["--states=1"]', "profiler.options"), ("[profiler]\ninterval = 0", "profiler.interval"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_names_the_key(folder: pathlib.Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(folder, text)
    assert str(folder / "agg.toml") in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_keys_of_hosts_need_one_of_our_own(folder: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="own key file"):
        _load(folder, HOST, own=False)


def test_who_may_not_read_the_keys_finds_the_bus_all_the_same(folder: pathlib.Path) -> None:
    (folder / "agg.toml").write_text('name = "agg1"\ndirectory = "/run/x"\nkey = "/nowhere"\n')
    assert config.where(str(folder / "agg.toml")) == ("agg1", "/run/x")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_hardened() -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(ROOT / "systemd" / "proxtop-agg.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= _MOST_EXPOSURE
