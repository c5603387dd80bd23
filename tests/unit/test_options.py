"""The command line: every documented option in both forms, and one clear line for what is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop import catalog
from proxtop.options import Options, parse

EXAMPLES = """\
proxtop
proxtop --cpu --mem
proxtop --cpu --mem --disk --net --io --verbose
proxtop --cpu --mem --printer=json --output=file --target=/var/log/proxtop.log
proxtop --cpu --mem --printer=json --output=tcp --target=192.168.1.100:5000
proxtop --cpu --printer=text --frequency=5
proxtop --cpu --runs=10
proxtop --libvirt
proxtop -c qemu:///system --printer=text --cpu --mem --net --disk
proxtop --printer=json --output=tcp --target=192.168.50.230:12345 --cpu --net --mem --io --disk --host --verbose
proxtop --verbose --printer=text
"""


@pytest.mark.parametrize("line", EXAMPLES.splitlines())
def test_every_example_of_the_documentation_is_accepted(line: str) -> None:
    parse(shlex.split(line)[1:])


def test_defaults_are_the_documented_ones() -> None:
    assert parse([]) == Options()
    assert Options().families == ("cpu", "mem", "disk", "net", "io")
    assert (Options().frequency, Options().runs, Options().procfs, Options().sysfs) == (2.0, -1, "/proc", "/sys")


@pytest.mark.parametrize(
    "argv",
    [["--frequency=5"], ["--frequency", "5"], ["-f5"], ["-f", "5"], ["-f=5"], ["-f", "1", "--frequency=5"]],
)
def test_a_value_comes_in_every_usual_form(argv: list[str]) -> None:
    assert parse(argv).frequency == 5.0


def test_families_are_in_the_catalogs_order() -> None:
    assert parse(["--pressure", "--host", "--net", "--cpu"]).families == ("cpu", "net", "psi", "host")
    assert set(parse([family.option for family in catalog.FAMILIES.values()]).families) == set(catalog.FAMILIES)


def test_lists_are_comma_separated_or_repeated() -> None:
    options = parse(["--vm=web*,db", "--vm", "x y", "--netdev=eth0,eth1", "--storedev", "sd*"])
    assert options.vms == ("web*", "db", "x y")
    assert (options.netdev, options.storedev) == (("eth0", "eth1"), ("sd*",))


def test_another_proc_comes_without_this_hosts_sys(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("")
    assert parse([f"--procfs={tmp_path}"]).sysfs is None
    assert parse([f"--procfs={tmp_path}", f"--sysfs={tmp_path}"]).sysfs == str(tmp_path)


@pytest.mark.parametrize("target", ["[::1]:5000", "localhost:1", "10.0.0.1:65535", "log_sink.example:5000"])
def test_tcp_and_udp_take_any_host_and_port(target: str) -> None:
    assert parse(["-o", "tcp", "--target", target]).target == target


@pytest.mark.parametrize("host", ["[::1]", "[fe80::1%br-0.1]", "::1", "log_sink.example", "10.0.0.1", "h-1."])
def test_a_bus_may_be_at_any_host(host: str) -> None:
    assert parse([f"--bus=tcp://{host}:00005000", "--insecure"]).bus == f"tcp://{host}:00005000"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--frequency=0.1"], ("--frequency", "0.1", "0.2")),
        (["--frequency=nan"], ("--frequency", "nan")),
        (["--frequency=inf"], ("--frequency", "inf")),
        (["--frequency=two"], ("--frequency", "two")),
        (["--frequency=1e300"], ("--frequency", "1e300")),
        (["--frequency"], ("--frequency",)),
        (["--runs=0"], ("--runs", "0")),
        (["--runs", "-2"], ("--runs", "-2")),
        (["--runs=1.5"], ("--runs", "1.5")),
        (["--printer=influx"], ("--printer", "influx", "prometheus")),
        (["--printer="], ("--printer", "json")),
        (["--output=kafka"], ("--output", "kafka", "udp")),
        (["--output=file"], ("--output=file", "--target=PATH")),
        (["--output=tcp"], ("--output=tcp", "--target=HOST:PORT")),
        (["--output=tcp", "--target=host"], ("--target", "host:port")),
        (["--output=udp", "--target=host:"], ("--target", "host:port")),
        (["--output=udp", "--target=:5"], ("--target", "host:port")),
        (["--output=tcp", "--target=host:0"], ("--target", "host:port")),
        (["--output=tcp", "--target=host:70000"], ("--target", "host:port")),
        (["--output=tcp", "--target=::1:5000"], ("--target", "[::1]:5000")),
        (["--output=file", "--target=/"], ("--target", "directory")),
        (["--target=/tmp/x"], ("--target", "--output=file")),
        (["--proxmox", "--libvirt"], ("--proxmox", "--libvirt", "drop")),
        (["--bus=tcp://h:1", "--qemu"], ("--bus", "--qemu")),
        (["--bus=tcp://h:1", "-c", "qemu:///system"], ("--bus", "--connection")),
        (["--bus=tcp://h"], ("--bus", "tcp://h")),
        (["--bus=tcp://h:" + "1" * 5000], ("--bus", "not an address")),
        *(
            ([f"--bus=tcp://{host}:1", "--insecure"], ("--bus", "not an address"))
            for host in ("a b", "*", "-", "a,b", "[x]", "\u00e9", "a..b", "a" * 64)
        ),
        (["--bus=tcp://h:1"], ("--bus", "--key", "--insecure")),
        (["--bus=tcp://127.0.0.1.example.org:1"], ("--bus", "--key", "--insecure")),
        (["--bus=tcp://h:1", "--key=k"], ("--server-key",)),
        (["--bus=tcp://h:1", "--key=k", "--server-key=s", "--insecure"], ("--insecure",)),
        (["--key=k", "--server-key=s"], ("--key", "--bus")),
        (["--bus=ipc:///x", "--insecure"], ("--insecure", "--bus")),
        (["--procfs=/nowhere"], ("--procfs", "/nowhere", "stat")),
        (["--sysfs=/nowhere"], ("--sysfs", "/nowhere")),
        (["--node=a/b"], ("--node", "a/b")),
        (["--vm=a,,b"], ("--vm", "empty")),
        (["--freq=5"], ("--freq",)),
        (["--verb"], ("--verb", "--help")),
        (["--nonsense"], ("--nonsense", "--help")),
        (["words"], ("words",)),
        (["--verbose=1"], ("--verbose",)),
        (["a\nb\x1b[31m"], ("a\\nb\\x1b",)),
        (["--connection=\udcff"], ("UTF-8",)),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    argv: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(argv)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("proxtop: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err


def test_help_and_version_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["-h"], ["--help"], ["-v"], ["--version"]):
        with pytest.raises(SystemExit) as end:
            parse(argv)
        out, err = capsys.readouterr()
        assert (end.value.code, err) == (0, "")
        assert "proxtop" in out


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["-h"])
    text = capsys.readouterr().out
    for word in ("Application Options:", "Hypervisor Selection:", "Collectors", "Output:", "Help Options:"):
        assert word in text
    for option in ("bus", "vm", "netdev", "storedev", "human", "target", "qemu", "node", "sysfs", "procfs", "runs"):
        assert f"--{option}" in text
    for family in catalog.FAMILIES.values():
        assert family.option in text
    assert max(map(len, text.splitlines())) <= 100


@given(st.lists(st.text(alphabet="-=abcfhoprtv:/.,0159\n\x1b\udcff é", max_size=12), max_size=4))
def test_no_command_line_crashes(argv: list[str]) -> None:
    try:
        parse(argv)
    except SystemExit as end:
        assert end.code in (0, 2)
