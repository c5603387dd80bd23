"""What a user can get wrong: one clear line, exit status 2, no traceback; and every documented example works."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.faults.rig import PROXTOP, Rig, eventually, one_line, proxtop

FIXTURE = pathlib.Path(__file__).parents[1] / "unit" / "fixtures" / "small-host" / "proc"
LIBVIRT_NOWHERE = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"

WRONG: list[tuple[list[str], str]] = [
    (["--frobnicate"], "--frobnicate"),
    (["extra"], "extra"),
    (["--printer=xml"], "xml"),
    (["--output=mail"], "mail"),
    (["--frequency=soon"], "soon"),
    (["--frequency=nan"], "nan"),
    (["--frequency=inf"], "inf"),
    (["--frequency=0"], "0.2"),
    (["--frequency=-1"], "--frequency"),
    (["--frequency="], "--frequency"),
    (["--runs=0"], "--runs"),
    (["--runs=-2"], "--runs"),
    (["--runs=1.5"], "--runs"),
    (["--runs"], "--runs"),
    (["--procfs=/nonexistent"], "/nonexistent"),
    (["--procfs=/etc"], "/etc"),
    (["--procfs="], "--procfs"),
    (["--sysfs=/etc/passwd"], "--sysfs"),
    (["--output=file"], "--target"),
    (["--output=tcp", "--target=host"], "host:port"),
    (["--output=tcp", "--target=host:"], "host:port"),
    (["--output=udp", "--target=host:0"], "host:port"),
    (["--output=tcp", "--target=host:99999"], "host:port"),
    (["--output=file", "--target=/etc"], "directory"),
    (["--target=/tmp/x"], "--target"),
    (["--proxmox", "--libvirt"], "--libvirt"),
    (["--node=a/b"], "a/b"),
    (["--vm=a,,b"], "--vm"),
    (["--bus=http://x:1"], "http"),
    (["--bus=ipc:///nonexistent/subscribe.sock", "--runs=1"], "no fleet"),
    (["--bus=ipc:///nonexistent/subscribe.sock", "--qemu"], "--qemu"),
    (["--libvirt", f"--connection={LIBVIRT_NOWHERE}"], "libvirt"),
    (["--libvirt", "--connection=nonsense://"], "nonsense://"),
    (["--connection=nonsense"], "give --connection a URI such as qemu:///system"),
    (["--frequency=1\x1b[31m\nx"], "--frequency"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_option_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    done = proxtop(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    line = one_line(done.stderr.split("\n")[:-1])
    assert says in line
    assert line.isprintable()


def test_a_bus_where_nobody_ever_says_a_word_is_said(rig: Rig) -> None:
    path = rig.folder / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen(8)
        done = proxtop(f"--bus=ipc://{path}", "-f", "0.5", "--runs=1")
    assert done.returncode == 2
    assert "nothing came" in one_line(done.stderr.split("\n")[:-1])


def test_help_and_version_need_nothing() -> None:
    for arguments in (["--help"], ["-h"], ["--version"], ["-v"]):
        done = proxtop(*arguments, env={"PATH": "/nonexistent"})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


@pytest.mark.skipif(os.path.isdir("/var/run/qemu-server"), reason="a Proxmox VE host")
def test_a_host_that_is_no_proxmox_is_one_line_and_status_2() -> None:
    done = proxtop("--proxmox", "--runs=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is this a Proxmox VE host?" in one_line(done.stderr.split("\n")[:-1])


def test_a_host_without_vms_is_one_line() -> None:
    done = proxtop("--qemu", "--runs=1", "-f", "0.5", "-p", "json", "--mem", f"--procfs={FIXTURE}", "--vm=nosuch")
    assert done.returncode == 0, done.stderr
    line = one_line(done.stderr.split("\n")[:-1])
    assert "started a private fleet; no VM runs on this host, says qemu" in line
    assert json.loads(done.stdout)["domains"] == []


def test_what_matches_nothing_is_said_once_and_the_run_goes_on(rig: Rig) -> None:
    rig.machine("here")
    names = ["--vm=here,nosuch", "--netdev=nosuch0,lo", "--storedev=nosuch1"]
    done = proxtop("--qemu", "--cpu", "--disk", "--net", "-f", "0.5", "--runs=3", "-p", "json", *names)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert [line for line in done.stderr.splitlines() if "nosuch" in line] == [
        "proxtop: nothing on this host matches --vm=nosuch, --storedev=nosuch1, --netdev=nosuch0; still looking"
    ]


def test_a_vm_that_was_named_is_taken_up_when_it_comes_and_missed_when_it_leaves(rig: Rig) -> None:
    rig.machine("other")
    running = rig.proxtop("-p", "json", "--cpu", "-f", "0.5", "--vm=guest-to-come")
    running.cycles(2)
    machine = rig.machine("guest-to-come")
    running.until("the machine", lambda line: [row["name"] for row in line["domains"]] == ["guest-to-come"])
    machine.kill()
    running.until("its end", lambda line: not line["domains"])
    running.cycles(2)
    said = [line for line in running.errors if "--vm=guest-to-come" in line]
    assert len(said) == 2, running.errors


@pytest.mark.parametrize("printer", ["json", "prometheus"])
def test_a_target_that_cannot_be_written_is_said_once_and_the_run_fails(rig: Rig, printer: str) -> None:
    done = proxtop("--qemu", "-p", printer, "-r", "2", "-f", "0.5", "-o", "file", f"--target={rig.folder}/no/such/x")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "x" in line and "No such file" in line]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["tcp", "udp"])
def test_a_target_where_nobody_listens_fails_the_run(output: str) -> None:
    kind = socket.SOCK_STREAM if output == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        if output == "udp":  # bound it would take what nobody reads
            nobody.close()
        target = ["-o", output, f"--target=127.0.0.1:{port}"]
        done = proxtop("--qemu", "--cpu", "-p", "json", "-r", "1", "-f", "0.5", *target)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].endswith("closed, 1 cycle was dropped")


def test_a_reader_that_goes_away_ends_it_quietly(rig: Rig) -> None:
    command = f"{PROXTOP} --qemu -p json -f 0.5 | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    json.loads(done.stdout)
    assert "Traceback" not in done.stderr and "Broken pipe" not in done.stderr


def test_a_reader_that_goes_away_before_the_first_line_ends_it_too() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROXTOP} --qemu -p json -r 1 | true; exit ${{PIPESTATUS[0]}}"],
        timeout=30,
        capture_output=True,
    )
    assert done.returncode == 0


def test_a_closed_stdout_is_an_empty_one() -> None:
    command = f"exec {PROXTOP} --qemu -p json -f 0.5 -r 2 >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")
    assert all(line.startswith("proxtop: ") for line in done.stderr.splitlines())


def test_a_closed_stderr_puts_nothing_into_the_data() -> None:
    command = f"exec {PROXTOP} --qemu -p json -f 0.5 -r 2 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2


def test_a_full_stdout_is_said_once_and_ctrl_c_still_ends_it(rig: Rig) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [PROXTOP, "--qemu", "-p", "json", "-f", "0.5", "-r", "2"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    rig.callback(process.kill)
    assert process.stderr is not None
    with process.stderr as stderr:
        said = next(line for line in stderr if "No space left" in line)
        assert said.startswith("proxtop: ")
        process.send_signal(signal.SIGINT)
        rest = stderr.read()
    assert process.wait(30) == 130
    assert "Traceback" not in rest
    assert "No space left" not in rest


USERS = {
    "nobody": ["--reuid=65534", "--regid=65534", "--clear-groups"],
    "root without capabilities": ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"],
}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to give its rights up")
@pytest.mark.parametrize("user", USERS)
def test_without_the_right_to_read_io_the_rest_goes_on_and_the_reason_is_said(rig: Rig, user: str) -> None:
    machine = rig.machine("private")
    rig.folder.chmod(0o755)
    rig.runtime.chmod(0o777)
    become = ["setpriv", *USERS[user], "env", f"XDG_RUNTIME_DIR={rig.runtime}", sys.executable]
    if subprocess.run([*become, "-c", ""], capture_output=True, timeout=30).returncode:
        pytest.skip(f"{user} may not run {sys.executable}")
    done = subprocess.run(
        [*become, str(PROXTOP), "--qemu", "-p", "json", "-f", "0.5", "-r", "3", f"--vm={machine.uuid}"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["domains"]
    assert row["io_RDOPS"] is None
    assert row["cpu_total"] is not None
    assert row["ram_total"] == 16384
    reasons = [line for line in done.stderr.splitlines() if line.startswith("proxtop: io")]
    assert len(reasons) == 1, done.stderr


EXAMPLES = [
    "",
    "--cpu --mem",
    "--cpu --mem --disk --net --io --verbose",
    "--cpu --mem --printer=json --output=file --target={folder}/proxtop.log",
    "--cpu --mem --printer=json --output=tcp --target={tcp}",
    "--cpu --printer=text --frequency=5",
    pytest.param("--cpu --runs=10", marks=pytest.mark.slow),
    "--io",
    "--printer=text",
    "--verbose --printer=text",
    "--frequency=5",
    "--cpu --mem --printer=text --output=file --target={folder}/proxtop.prom",
    "--printer=json --output=tcp --target={tcp} --cpu --net --mem --io --disk --host --verbose",
]
"""Every command of the documentation: but where it writes to, and --runs where it would have no end; those that name
libvirt are among the tests with real guests."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documentation_work_as_written(rig: Rig, example: str) -> None:
    rig.machine("example")
    _works(rig, example)


def _works(rig: Rig, example: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        words = example.format(folder=rig.folder, tcp=f"127.0.0.1:{listener.getsockname()[1]}").split()
        running = rig.proxtop(*words, "--qemu", *([] if "--runs=10" in words else ["--runs=1"]))
        if "--output=tcp" in words:
            connection, _ = listener.accept()
            with connection, connection.makefile() as stream:
                connection.settimeout(20)
                assert {"host", "domains"} <= json.loads(stream.readline()).keys()
        assert running.status() == 0, running.errors
    if "--output=file" in words:
        (written,) = [path for path in rig.folder.iterdir() if path.name.startswith("proxtop.")]
        assert written.read_text().count("\n") >= (1 if "--printer=json" in words else 4)
    elif "--output=tcp" not in words:
        assert len(running.lines) >= (2 if "--io" in words else 4)


def test_an_endless_run_ends_with_ctrl_c(rig: Rig) -> None:
    running = rig.proxtop("--cpu", "-f", "0.5")
    eventually("some lines", lambda: len(running.lines) > 4)
    os.kill(running.pid, signal.SIGINT)
    assert running.status() == 130
    assert not [line for line in running.errors if "Traceback" in line]
