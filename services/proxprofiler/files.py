"""Profiles out of files: what the commands that use them read."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import orjson

from proxtop.profiler.document import DocumentError, profile_of
from proxtop.profiler.profile import Profile
from proxtop.profiler.profiler import ordered


class FilesError(Exception):
    """Files that give no profiles: which, where, why."""


def profiles(paths: Sequence[str], vms: Sequence[str] = ()) -> list[Profile]:
    """The profiles in these files, the last one of each VM, by name; only of VMs whose name or UUID matches one of
    `vms`, where there are any. A file holds a profile a line, a state directory one a file; - is standard input."""
    found: dict[str, Profile] = {}
    for path in paths:
        for profile in _of(path):
            found[profile.name] = profile
    if not found:
        raise FilesError(f"{', '.join(paths)}: no profile in it; make one with proxprofiler --printer=json")
    if vms:
        for pattern in vms:
            if not any(_is(profile, pattern) for profile in found.values()):
                raise FilesError(f"--vm={pattern}: no such VM there; there are {_names(found.values())}")
        found = {name: one for name, one in found.items() if any(_is(one, pattern) for pattern in vms)}
    return ordered(found.values())


def _is(profile: Profile, pattern: str) -> bool:
    return fnmatchcase(profile.vm, pattern) or fnmatchcase(profile.name, pattern)


def _names(found: Iterable[Profile]) -> str:
    names = sorted({profile.vm or profile.name for profile in found})
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def _of(path: str) -> list[Profile]:
    if os.path.isdir(path):
        return [profile for name in sorted(glob.glob(f"{glob.escape(path)}/*.json")) for profile in _of(name)]
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise FilesError(f"{path}: {error.strerror}") from None
    found = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                found.append(profile_of(orjson.loads(line)))
            except (DocumentError, orjson.JSONDecodeError) as error:
                raise FilesError(f"{path}: line {number} is no profile of proxprofiler ({error})") from None
    return found
