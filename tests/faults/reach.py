"""The interpreter and this project within reach of every user, wherever they lie: in a mount namespace of their own,
so nothing on the machine changes."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys

from tests.faults.rig import ROOT

_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
_TWICE = "import os, sys, proxtopd; os.execv(sys.executable, [sys.executable, '-P', '-c', 'import proxtopd'])"
_TEST = (*_NOBODY, sys.executable, "-P", "-c", _TWICE)
"""Twice: setpriv itself still has root's capabilities when it looks for what it shall run."""


def _shut(path: pathlib.Path) -> pathlib.Path | None:
    """The topmost directory on the way that not everybody may pass."""
    return next((above for above in reversed((path, *path.parents)) if not above.stat().st_mode & 0o001), None)


def _script() -> str:
    """Shell commands that cover each shut directory and put what is needed below it back."""
    needed = {pathlib.Path(found).resolve() for found in (str(ROOT), sys.prefix, sys.base_prefix)}
    shut: dict[pathlib.Path, set[pathlib.Path]] = {}
    for path in needed:
        if (above := _shut(path)) is not None:
            shut.setdefault(above, set()).add(path)
    lines = ["set -e"]
    for number, (above, paths) in enumerate(sorted(shut.items())):
        keep = f"/run/proxtop-test-{os.getpid()}-{number}"
        lines += [f"mkdir -p {keep}", f"mount -t tmpfs none {keep}"]
        for place, path in enumerate(sorted(paths)):
            lines += [f"mkdir {keep}/{place}", f"mount --bind {shlex.quote(str(path))} {keep}/{place}"]
        lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(above))}"]
        for place, path in enumerate(sorted(paths)):
            lines += [f"mkdir -p {shlex.quote(str(path))}", f"mount --bind {keep}/{place} {shlex.quote(str(path))}"]
        lines += [f"umount -R {keep}", f"rmdir {keep}"]
    return "\n".join([*lines, 'exec "$@"'])


def prefix() -> list[str]:
    """What to put before a command whose children drop to another user; RuntimeError says why there is no way."""
    if subprocess.run(_TEST, capture_output=True, cwd="/").returncode == 0:
        return []
    found = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _script(), "sh"]
    done = subprocess.run([*found, *_TEST], capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        raise RuntimeError(
            f"user nobody can't run {sys.executable}, and a mount namespace does not help: {done.stderr}"
        )
    return found
