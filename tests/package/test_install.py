"""`make install` on this system, in a copy of it on write: what it puts where; `make uninstall` leaves nothing."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tests.package.roots import BUNDLE, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The whole of / below a copy on write, which can't itself lie below /: a file system of its own in memory.
_COPY = """
mount -t tmpfs memory "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sys sys -o ro
mount --rbind /dev dev
mount -t tmpfs tmp tmp
mount -t tmpfs run run
mkdir -p ".$2" && mount --bind -o ro "$2" ".$2"
chroot . sh -euc "cd $2; $3"
echo LEFT
cd "$1/upper"
find . -type c | sed 's|^[.]|removed: |'
find . -mindepth 1 ! -type c ! -type d | while read -r path; do
    if [ -L "$path" ]; then [ "$(readlink "$path")" = "$(readlink "/$path")" ]; else cmp -s "$path" "/$path"; fi ||
        echo "left or changed: ${path#.}"
done
find . -mindepth 1 -type d | while read -r path; do [ -d "/$path" ] || echo "left: ${path#.}/"; done
"""
OF_TOOLS = (
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/.pwd.lock",
)


def here(folder: pathlib.Path, script: str) -> tuple[list[str], list[str]]:
    """(what a script prints, run in the repository in a copy of this system; what of the system is other after it)."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", _COPY, "sh"]
    command += [str(folder), str(REPOSITORY), script]
    environment = {
        "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment |= {"PIP_CERT": str(BUNDLE)} if BUNDLE.exists() else {}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    printed, _, left = done.stdout.partition("LEFT\n")
    return printed.splitlines(), [line for line in left.splitlines() if not line.endswith(OF_TOOLS)]


def test_install_and_uninstall_leave_this_system_as_it_was(place: pathlib.Path) -> None:
    folder = place / "here"
    folder.mkdir()
    printed, left = here(
        folder,
        """
        if getent passwd proxtop || [ -e /usr/local/lib/proxtop ]; then echo there is a proxtop already; exit 1; fi
        make -s install
        command -v proxtop
        command -v proxtopd
        proxtop --version
        setpriv --reuid=proxtop --regid=proxtop --clear-groups proxtopd --version
        grep ^ExecStart= /etc/systemd/system/proxtopd.service
        stat -c '%A %U:%G %n' /etc/proxtop /etc/proxtop.conf /usr/local/share/man/man1/proxtop.1
        echo PROXTOP_TARGET=10.0.0.1:5000 >> /etc/proxtop.conf
        make -s install 2>&1
        tail -n 1 /etc/proxtop.conf
        proxtop --runs=1 --printer=json --cpu --qemu 2> /dev/null | cut -c 1-8
        mkdir -p /var/log/proxtop
        touch /var/log/proxtop/cpu.log /etc/proxtop/key
        make -s uninstall
        ls -d /usr/local/bin/prox* /etc/prox* /var/log/prox* 2> /dev/null || true
        make -s uninstall 2>&1 || echo status $?
        """,
    )
    lines = iter(printed)

    def following(start: str) -> str:
        """The next line that begins so."""
        return next(line for line in lines if line.startswith(start))

    assert following("/usr/local/bin/prox") == "/usr/local/bin/proxtop"
    assert following("/usr/local/bin/prox") == "/usr/local/bin/proxtopd"
    following("proxtop ")
    following("proxtopd ")
    assert following("ExecStart=") == "ExecStart=/usr/local/bin/proxtopd run"
    assert following("d") == "drwxr-xr-x root:root /etc/proxtop"
    assert following("-") == "-rw-r--r-- root:root /etc/proxtop.conf"
    assert following("-") == "-rw-r--r-- root:root /usr/local/share/man/man1/proxtop.1"
    assert following("/etc/proxtop.conf") == "/etc/proxtop.conf was kept; ours is /etc/proxtop.conf.new"
    assert following("PROXTOP") == "PROXTOP_TARGET=10.0.0.1:5000"
    assert following('{"time') == '{"time":'
    assert (
        following("/usr/local")
        == "/usr/local/lib/proxtop/installed: no such file; nothing was installed with this prefix"
    )
    assert left == []


def test_below_another_directory_the_same_is_laid_and_nothing_else_touched(place: pathlib.Path) -> None:
    folder = place / "there"
    folder.mkdir()
    printed, left = here(
        folder,
        "make -s install DESTDIR=/tmp/i prefix=/usr; cd /tmp/i; find . -path '*/systemd/*.*'; ! grep -r /tmp/i/ .",
    )
    assert sorted(line for line in printed if line.startswith("./")) == [
        "./usr/lib/systemd/system/proxprofiler.service",
        "./usr/lib/systemd/system/proxtop-agg.service",
        "./usr/lib/systemd/system/proxtop.service",
        "./usr/lib/systemd/system/proxtopd.service",
    ]
    assert left == []


@pytest.mark.parametrize(
    ("arguments", "problem"), [("PYTHON=/bin/false", "Python 3.11"), ("appdir=/etc", "/etc is there")]
)
def test_what_can_not_be_is_one_line_and_nothing_is_touched(place: pathlib.Path, arguments: str, problem: str) -> None:
    folder = place / arguments.partition("=")[0]
    folder.mkdir()
    printed, left = here(folder, f"make -s install {arguments} 2>&1 || true")
    assert problem in "\n".join(printed)
    assert [line for line in left if "passwd" not in line and "group" not in line and "shadow" not in line] == []
