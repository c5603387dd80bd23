"""Root directories of Debian releases, made by debootstrap, and copies on write of them: a test's changes end with it.

Everything is mounted in a namespace of the command's own, so a killed test leaves directories and no mount.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
INCLUDE = "systemd-sysv,dbus,ca-certificates"
REPOSITORY = pathlib.Path(__file__).parents[2]

_OVERLAY = 'mount -t overlay overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" "$2/root"'
_ENTER = f"""
{_OVERLAY}
cd "$2/root"
mount -t proc proc proc
mount -t sysfs sys sys -o ro
mount --rbind /dev dev
mount -t tmpfs tmp tmp
mount -t tmpfs run run
mkdir -p ".$3" && mount --bind -o ro "$3" ".$3"
cp /etc/resolv.conf etc/ 2> /dev/null
[ ! -e "$5" ] || cp "$5" ".$5"
script=$4
shift 5
while [ $# -gt 0 ]; do
    mkdir -p ".$2"
    mount --rbind "$1" ".$2"
    [ "$3" = rw ] || mount -o remount,bind,ro ".$2"
    shift 3
done
exec chroot . sh -euc "$script"
"""


class Failed(Exception):
    """A command in a root; the text has its last words."""


class Root:
    """A copy on write of a root directory. The repository is at the same path in it, read-only."""

    def __init__(self, base: pathlib.Path, place: pathlib.Path) -> None:
        self.base = base
        self.place = place
        for name in ("upper", "work", "root"):
            (place / name).mkdir()

    def run(
        self, script: str, *, check: bool = True, timeout: float = 300, mounts: Sequence[tuple[str, str, str]] = ()
    ) -> str:
        """What a shell script prints (both streams), run as root in there; Failed when it fails. `mounts` are
        directories of this system that it has too: (path here, path there, ro or rw)."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **({"PIP_CERT": str(BUNDLE)} if BUNDLE.exists() else {}),
        }
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-eu", "-c", _ENTER, "sh"]
        command += [str(self.base), str(self.place), str(REPOSITORY), script, str(BUNDLE)]
        command += [word for mount in mounts for word in mount]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise Failed(f"{script!r} failed with {done.returncode}: {done.stdout[-2000:]}")
        return done.stdout

    def put(self, file: pathlib.Path, path: str) -> None:
        """Copies a file to a path in there."""
        target = self.place / "upper" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)

    def install(self, *what: str, options: str = "") -> str:
        """apt-get install, without recommended packages; package files by their path in there."""
        return self.run(
            f"apt-get update -q && apt-get install -q -y --no-install-recommends {options} {shlex.join(what)}",
            timeout=600,
        )

    def listing(self) -> set[str]:
        """Every path with its type, mode, owner and target; without what package managers keep of their own."""
        listed = self.run(
            r"find / -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /tmp -o -path /run"
            rf" -o -path {REPOSITORY} \) -prune -o -printf '%p %y %m %u:%g %l\n'"
        )
        return {line for line in listed.splitlines() if not line.split(" ")[0].endswith(("-", ".pyc", "/__pycache__"))}

    def frozen(self) -> pathlib.Path:
        """Everything in one directory, for further copies on write or an image."""
        whole = self.place / "whole"
        script = f'{_OVERLAY}\ncp -a "$2/root" "$3"'
        command = ["unshare", "--mount", "sh", "-euc", script, "sh", str(self.base), str(self.place), str(whole)]
        subprocess.run(command, check=True)
        return whole


@contextmanager
def workspace() -> Iterator[pathlib.Path]:
    """A directory on a disk, removed at the end."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="proxtop-package-", dir="/var/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def copy(base: pathlib.Path, place: pathlib.Path) -> Root:
    """A copy on write, of no cost."""
    return Root(base, pathlib.Path(tempfile.mkdtemp(dir=place)))


def debootstrap(release: str, place: pathlib.Path) -> pathlib.Path:
    """A minimal Debian with systemd from the default mirror; Failed when it can't be had."""
    root = place / release
    command = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", release, str(root)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode:
        shutil.rmtree(root, ignore_errors=True)
        raise Failed(f"debootstrap {release}: {done.stdout[-1000:]}{done.stderr[-500:]}")
    return root


def missing() -> str:
    """Why no root can be made here; empty when one can."""
    if os.geteuid() != 0:
        return "debootstrap and mounts need root"
    if not shutil.which("debootstrap"):
        return "debootstrap is missing (Debian package debootstrap)"
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text():
        return "the kernel has no overlayfs"
    return ""
