"""proxtop.conf: what it says, and one line with file, line and key for what is wrong."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from proxtop.bus import endpoints
from proxtop.catalog import FAMILIES
from proxtopd import cli, configuration, programs
from proxtopd.configuration import PRINTER, Configuration, ConfigurationError
from proxtopd.places import Account, Places
from proxtopd.registry import KINDS
from proxtopd.setup import Setup

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLE = ROOT / "conf" / "proxtop.conf"


@pytest.fixture
def conf(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "proxtop.conf"


def _read(conf: pathlib.Path, text: str, *settings: str) -> Configuration:
    conf.write_text(text)
    return configuration.read(str(conf), settings)


def test_what_is_not_said_is_the_default(conf: pathlib.Path) -> None:
    found = _read(conf, "# nothing\n\n; nothing\n")
    assert found.interval == 2.0
    assert found.families == tuple(FAMILIES)
    assert found.run == "/run/proxtop"
    assert found.node == os.uname().nodename
    assert found.printers == {} and found.given == frozenset()


def test_values_quotes_and_words_of_the_command_line(conf: pathlib.Path) -> None:
    text = "PROXTOP_INTERVAL=5\nPROXTOP_FAMILIES = 1\n".replace("PROXTOP_FAMILIES = 1\n", "")
    text += (
        "PROXTOP_FAMILIES='io,cpu'\nPROXTOP_NODE=\"pve 1\"  \n  PROXTOP_PRINTER_LOG_STASH=json tcp [::1]:5000 --cpu\n"
    )
    found = _read(conf, text, "PROXTOP_INTERVAL=0.5", "PROXTOP_RUN=/tmp/bus/")
    assert found.interval == 0.5
    assert found.families == ("cpu", "io")
    assert found.node == "pve 1"
    assert found.run == "/tmp/bus"
    assert found.printers == {"printer-log-stash": "json tcp [::1]:5000 --cpu"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("PROXTOP_INTERVL=2", "PROXTOP_INTERVL: there is no such key; did you mean PROXTOP_INTERVAL?"),
        ("ELSE=2", "ELSE: there is no such key; there are PROXTOP_INTERVAL"),
        ("PROXTOP_INTERVAL=0.1", "PROXTOP_INTERVAL: '0.1' is no number of seconds"),
        ("PROXTOP_INTERVAL=nan", "PROXTOP_INTERVAL: 'nan' is no number of seconds"),
        ("PROXTOP_FAMILIES=cpu,gpu", "PROXTOP_FAMILIES: there is no family 'gpu'"),
        ("PROXTOP_CONNECTOR=xen", "PROXTOP_CONNECTOR: there is no 'xen'"),
        ("PROXTOP_PROCFS=/etc", "PROXTOP_PROCFS: '/etc' has no readable file 'stat'"),
        ("PROXTOP_SYSFS=/nowhere", "PROXTOP_SYSFS: '/nowhere' is not a directory"),
        ("PROXTOP_RUN=run", "PROXTOP_RUN: 'run' is not the whole path"),
        ("PROXTOP_RUN=/" + "x" * 100, "PROXTOP_RUN: the path is too long for a socket"),
        ("PROXTOP_RUN=/" + "x" * 82, "PROXTOP_RUN: the path is too long for a socket"),
        ("PROXTOP_RUN=//", "PROXTOP_RUN: the root directory can't be a bus"),
        ("PROXTOP_RUN=/50%", "PROXTOP_RUN: '/50%' has characters that supervisord can't have"),
        ("PROXTOP_NODE=a/b", "PROXTOP_NODE: 'a/b' is not a host name"),
        ("PROXTOP_USER=a b", "PROXTOP_USER: 'a b' is not the name of a user or group"),
        ("PROXTOP_DOOR=tcp://0.0.0.0:7654", "PROXTOP_DOOR: tcp://0.0.0.0:7654: without keys anybody"),
        ("PROXTOP_DOOR=0.0.0.0:7654", "PROXTOP_DOOR: 0.0.0.0:7654: not an address in a network"),
        ("PROXTOP_DOOR_KEY=/k", "PROXTOP_DOOR: PROXTOP_DOOR_KEY and PROXTOP_DOOR_TRUSTED go together"),
        ("PROXTOP_DOOR_INSECURE=1", "PROXTOP_DOOR_INSECURE: there is no '1'"),
        ("PROXTOP_TARGET=somewhere", "PROXTOP_TARGET: 'somewhere' is not host:port"),
        ("PROXTOP_LOG_LEVEL=loud", "PROXTOP_LOG_LEVEL: there is no 'loud'"),
        ("PROXTOP_PRINTER_=json file /x", "a printer's name has letters"),
        ("PROXTOP_PRINTER_a=json file /x", "a printer's name has letters"),
        ("PROXTOP_PRINTER_A=json", "PROXTOP_PRINTER_A: 'json' is not FORMAT OUTPUT TARGET"),
        ("PROXTOP_PRINTER_A=xml file /x", "PROXTOP_PRINTER_A: there is no format 'xml'"),
        ("PROXTOP_PRINTER_A=tui file /x", "PROXTOP_PRINTER_A: there is no format 'tui'"),
        ("PROXTOP_PRINTER_A=json stdout /x", "PROXTOP_PRINTER_A: there is no output 'stdout'"),
        ("PROXTOP_PRINTER_A=json file x", "PROXTOP_PRINTER_A: 'x' is not the whole path"),
        ("PROXTOP_PRINTER_A=json tcp x", "PROXTOP_PRINTER_A: --target: 'x' is not host:port"),
        ("PROXTOP_PROFILER=--states=1", "PROXTOP_PROFILER: --states: 1 is not from 2 to 64"),
        ("PROXTOP_PROFILER=--bus=/x", "PROXTOP_PROFILER: unrecognized arguments: --bus=/x"),
        ("PROXTOP_PROFILER=yes", "PROXTOP_PROFILER: unrecognized arguments: yes"),
        ("PROXTOP_PROFILER=--state-dir=x", "PROXTOP_PROFILER: --state-dir: 'x' is not a whole path"),
        ("PROXTOP_PRINTER_A=json file /x --bus=/x", "PROXTOP_PRINTER_A: '--bus=/x' is no option of a printer"),
        ("PROXTOP_INTERVAL = 2", "'PROXTOP_INTERVAL = 2' is not KEY=value"),
        ("export PROXTOP_INTERVAL=2", "is not KEY=value"),
        ("PROXTOP_NODE=a\\", "PROXTOP_NODE: quotes inside"),
        ("PROXTOP_NODE=a$HOME", "PROXTOP_NODE: quotes inside"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_key(conf: pathlib.Path, line: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _read(conf, f"# first\n\n{line}\n")
    assert str(caught.value).startswith(f"{conf} line 3: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_twice_a_missing_file_and_a_wrong_word(conf: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError, match=r"line 2: PROXTOP_INTERVAL: is there twice"):
        _read(conf, "PROXTOP_INTERVAL=2\nPROXTOP_INTERVAL=3\n")
    with pytest.raises(ConfigurationError, match="command line: PROXTOP_INTERVAL"):
        _read(conf, "", "PROXTOP_INTERVAL=x")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        configuration.read(str(conf) + "x")
    conf.write_bytes(b"PROXTOP_NODE=\xff\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        configuration.read(str(conf))


def test_check_names_every_line_that_is_wrong(conf: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf.write_text("PROXTOP_INTERVAL=soon\nPROXTOP_NODE=a\nPROXTOP_NODES=a\nnonsense\n")
    assert cli.main(["--config", str(conf), "check", "PROXTOP_FAMILIES=gpu"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    places = [f"{conf} line 1: PROXTOP_INTERVAL", f"{conf} line 3: PROXTOP_NODES", f"{conf} line 4: 'nonsense'",
              "command line: PROXTOP_FAMILIES"]  # fmt: skip
    for line, place in zip(shown.err.splitlines(), places, strict=True):
        assert line.startswith(f"proxtopd: {place}")


def test_the_example_shows_every_key_with_its_default(conf: pathlib.Path) -> None:
    shown = dict(re.findall(r"^#(PROXTOP_\w+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    keys = {key.name: key.default for key in configuration.KEYS}
    assert keys.keys() <= shown.keys()
    for name, value in shown.items():
        if keys.get(name):
            assert value == keys[name], name
    everything = "".join(f"{name}={value}\n" for name, value in shown.items())
    found = _read(conf, everything)
    assert sorted(found.printers) == ["printer-logstash", "printer-textfile"]
    assert _read(conf, EXAMPLE.read_text()).given == frozenset()


def _programs(conf: pathlib.Path, text: str, account: Account | None) -> dict[str, programs.Program]:
    found = _read(conf, text)
    return programs.programs(found, Places.of(found), account)


WORKERS = Account("someone", 1234, "watchers", 2345)


def test_only_io_keeps_capabilities_and_exactly_its_two(conf: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_held", lambda capability: True)
    made = _programs(conf, "PROXTOP_CONNECTOR=qemu\nPROXTOP_PROFILER=on\nPROXTOP_PRINTER_A=json file /x\n", WORKERS)
    assert list(made) == ["broker", "connector", "lookup", "aggregator", *FAMILIES, "profiler", "printer-a"]
    for name, program in made.items():
        words = shlex.join(program.command)
        kept = "-all,+sys_ptrace,+dac_read_search" if name == "io" else "-all"
        for kind in ("inh-caps", "ambient-caps", "bounding-set"):
            assert f"--{kind}={kept} " in words
        assert "--reuid=someone --regid=watchers --init-groups" in words
        assert "--no-new-privs" in words


def test_what_proxtopd_itself_has_not_it_does_not_try_to_give(
    conf: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_held", lambda capability: False)
    words = shlex.join(_programs(conf, "PROXTOP_CONNECTOR=qemu\n", WORKERS)["io"].command)
    assert "--bounding-set=-all " in words and "sys_ptrace" not in words


def test_on_proxmox_the_connector_alone_is_root_without_capabilities(conf: pathlib.Path) -> None:
    made = _programs(conf, "PROXTOP_CONNECTOR=proxmox\n", WORKERS)
    rooted = {name for name, program in made.items() if "--reuid=root" in program.command}
    assert rooted == {"connector"}
    assert "--regid=watchers" in made["connector"].command and "--clear-groups" in made["connector"].command
    assert "--bounding-set=-all" in made["connector"].command
    assert made["connector"].user == "root"


def test_a_setup_changes_with_what_its_worker_is_told_alone(conf: pathlib.Path) -> None:
    before = _programs(conf, "PROXTOP_PRINTER_A=json file /x\n", None)
    after = _programs(conf, "PROXTOP_PRINTER_A=json file /y\nPROXTOP_FAMILIES=cpu,mem,disk,net,io,host\n", None)
    assert before.keys() - after.keys() == {"psi"}
    changed = {name for name in after if after[name].setup != before[name].setup}
    assert changed == {"printer-a", "aggregator"}
    here = Places("/run/x", "/run/xd", "/run/xd/log")
    sections = [
        dict(zip(made, programs.text(made, here).split("[program:")[1:], strict=True)) for made in (before, after)
    ]
    assert {name for name in after if sections[0][name] != sections[1][name]} == changed
    assert Setup.load(after["cpu"].setup).dump() == after["cpu"].setup


def test_supervisord_reads_what_is_written_whatever_the_paths_are(conf: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from supervisor.options import ServerOptions

    run = tmp_path / "@1,~a+b:c"
    run.mkdir()
    found = _read(conf, "PROXTOP_FAMILIES=io\n", f"PROXTOP_RUN={run}/b", f"PROXTOP_LOGS={run}")
    here = Places.of(found)
    os.makedirs(f"{here.own}/setup")
    wanted = programs.programs(found, here, None)
    pathlib.Path(here.setup("io")).write_bytes(b"\xff")
    programs.write(wanted, here)
    assert pathlib.Path(here.setup("io")).read_text() == wanted["io"].setup
    options = ServerOptions()
    options.realize(["-n", "-c", here.program])
    groups = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert groups.keys() == wanted.keys()
    io = groups["io"]
    assert shlex.split(io.command) == list(wanted["io"].command)
    assert io.environment["PROXTOP_SETUP"] == here.setup("io")
    assert io.stdout_logfile == here.log("io")
    assert os.stat(here.program).st_mode & 0o777 == 0o600


def test_a_worker_alone_is_told_what_the_command_line_says(conf: pathlib.Path) -> None:
    conf.write_text("PROXTOP_FAMILIES=host\n")
    command = [sys.executable, "-m", "proxtopd", f"--config={conf}", "worker", "cpu", f"{PRINTER}A=json file /a"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    said = "there is no worker 'cpu'; there are broker, connector, lookup, aggregator, host, printer-a"
    assert (done.returncode, done.stderr) == (2, f"proxtopd: {said}\n")


def _into(full: bool, *command: str) -> tuple[int, str]:
    """Exit status and stderr of a command whose stdout is a full disk, or a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe, open("/dev/full", "wb") as disk:
        out = disk if full else pipe
        done = subprocess.run(
            [sys.executable, "-m", *command], stdout=out, stderr=subprocess.PIPE, text=True, timeout=30
        )
    return done.returncode, done.stderr


def test_a_stdout_that_takes_nothing_is_no_traceback(conf: pathlib.Path, tmp_path: pathlib.Path) -> None:
    conf.write_text("")
    check = ("proxtopd", f"--config={conf}", "check", *(f"PROXTOP_{key}=root" for key in ("USER", "GROUP")))
    (tmp_path / "agg.toml").write_text("")
    again = "proxtop keys: standard output: No space left on device; `proxtop keys show` prints it again\n"
    assert _into(False, *check) == (0, "")
    assert _into(True, *check) == (1, "proxtopd: No space left on device\n")
    assert _into(True, "proxtop", "keys", "new", "a", f"--directory={tmp_path}") == (1, again)
    assert _into(False, "proxtop", "keys", "show", f"--directory={tmp_path}") == (0, "")
    assert _into(False, "proxtop_agg", "check", f"--config={tmp_path}/agg.toml") == (0, "")


def test_the_longest_bus_has_room_for_what_supervisord_binds(conf: pathlib.Path) -> None:
    found = _read(conf, "", "PROXTOP_RUN=/" + "x" * 81)
    assert len(f"{Places.of(found).supervisor}.4194304") == endpoints.MAX_IPC_PATH
    assert len(endpoints.publish(found.run).removeprefix("ipc://")) < endpoints.MAX_IPC_PATH


def test_every_worker_has_a_module_with_serve() -> None:
    from importlib import import_module

    for kind in KINDS:
        assert callable(import_module(kind.module).serve), kind.name
