"""The host's block device behind a virtual disk's source."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from proxtop.kernel import blockdev
from proxtop.kernel.files import Files
from proxtop.kernel.mounts import Mount, holding, parse_mountinfo
from proxtop.lookup.process import once

_LINKS = 40
"""As many symlinks as the kernel follows in one path."""


class Disks:
    """Finds devices, and remembers them until told to `forget`.

    `root` is where the host's / can be seen, None where it can't: then symlinks are not followed, and what lies below
    /dev goes by its name in sysfs. A file's device comes from the host's list of mounts alone: no file is ever opened,
    nothing is asked of a network file system, and another machine's paths are never looked for on this one.
    """

    def __init__(self, files: Files, root: str | None, *, lstat: Callable[[str], os.stat_result] = os.lstat) -> None:
        self._files = files
        self._sysfs = files.sysfs or ""
        self._root = None if root is None else root.rstrip("/")
        self._lstat = lstat
        self._mounts: tuple[Mount, ...] | None = None
        self._devices: dict[str, str | None] = {}
        self._images: dict[str, str | None] = {}
        self._steps: dict[str, tuple[bool, str | None]] = {}

    def forget(self) -> None:
        """Mounts and links may have changed."""
        self._mounts = None
        self._devices.clear()
        self._images.clear()
        self._steps.clear()

    def device(self, source: str | None) -> str | None:
        """The kernel's name of the whole device (sda, dm-3, zd16, rbd0, loop1) that holds a path, None where none of
        this host's does: network storage, ZFS files, anything that is no absolute path."""
        if not self._sysfs or source is None or not source.startswith("/") or "\0" in source:
            return None
        if source not in self._devices:
            self._devices[source] = self._find(source, depth=0)
        return self._devices[source]

    def image(self, source: str | None) -> str | None:
        """The path, without symlinks and as seen from here, of the file or block device that is the source; None where
        it can't be seen or lies on a network file system, which might not answer."""
        if self._root is None or source is None or not source.startswith("/") or "\0" in source:
            return None
        if source not in self._images:
            self._images[source] = self._seen(source)
        return self._images[source]

    def _seen(self, source: str) -> str | None:
        path = self._resolve(source)
        mount = None if path is None else holding(self._mount_list(), path)
        if path is None or mount is None or mount.network:
            return None
        try:
            mode = self._lstat(f"{self._root}{path}").st_mode
        except (OSError, ValueError):
            return None
        return f"{self._root}{path}" if stat.S_ISREG(mode) or stat.S_ISBLK(mode) else None

    def absolute(self, source: str | None, cwd_link: str) -> str | None:
        """A bare QEMU's relative file name below its working directory, where that can be seen and the file exists."""
        if source is None or self._root is None or source.startswith("/") or "\0" in source:
            return source
        if ":" in source.partition("/")[0]:
            return source
        try:
            path = f"{os.readlink(cwd_link)}/{source}"
            mount = holding(self._mount_list(), os.path.normpath(path))
            if mount is not None and not mount.network:
                self._lstat(self._root + path)
                return path
        except OSError:
            pass  # it stays what the command line says
        return source

    def _mount_list(self) -> tuple[Mount, ...]:
        if self._mounts is None:
            text = once(self._files, f"{self._files.procfs}/1/mountinfo")
            if text is None and self._root == "":
                text = once(self._files, f"{self._files.procfs}/self/mountinfo")
            self._mounts = parse_mountinfo(text or b"")
        return self._mounts

    def _find(self, source: str, depth: int) -> str | None:
        path = self._resolve(source)
        if path is None:
            return None
        if self._root is not None:
            try:
                status = self._lstat(self._root + path)
            except (OSError, ValueError):
                pass  # not visible to us: the mounts tell
            else:
                if stat.S_ISBLK(status.st_mode):
                    return blockdev.by_number(self._sysfs, os.major(status.st_rdev), os.minor(status.st_rdev))
                if stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                    return None
        if path.startswith("/dev/"):
            return blockdev.by_path(self._sysfs, path)
        mount = holding(self._mount_list(), path)
        return None if mount is None else self._below(mount, depth)

    def _below(self, mount: Mount, depth: int) -> str | None:
        """The device of a file system: its own number, or what it is made of where that number is anonymous."""
        major, minor = mount.device
        if major != 0:
            return blockdev.by_number(self._sysfs, major, minor)
        if depth > 4 or mount.network:
            return None
        if mount.fstype == "overlay":
            upper = mount.option("upperdir")
            return None if upper is None or not upper.startswith("/") else self._find(upper, depth + 1)
        if not mount.source.startswith("/dev/"):
            return None
        device = self._find(mount.source, depth + 1)
        if device is not None and mount.fstype == "btrfs":
            part = (self._resolve(mount.source) or mount.source).rpartition("/")[2]
            parts = blockdev.btrfs_devices(self._sysfs, part) or blockdev.btrfs_devices(self._sysfs, device)
            if len({blockdev.by_name(self._sysfs, name) for name in parts}) > 1:
                return None  # spread over several: no one device holds it
        return device

    def _resolve(self, path: str) -> str | None:
        """The path without symlinks, as far as they can be seen; None where it leads onto a network file system."""
        todo = path.split("/")[::-1]
        done = ""
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            if here not in self._steps:
                self._steps[here] = self._step(here)
            network, target = self._steps[here]
            if network:
                return None
            if target is None:
                done = here
                continue
            links += 1
            if links > _LINKS:
                return None
            if target.startswith("/"):
                done = ""
            todo.extend(target.split("/")[::-1])
        return done or "/"

    def _step(self, path: str) -> tuple[bool, str | None]:
        """(whether a path without symlinks but its last part lies on a network file system, where its last part leads
        if that is a symlink)"""
        mount = holding(self._mount_list(), path)
        network = mount is not None and mount.network
        return network, None if network else self._readlink(path)

    def _readlink(self, path: str) -> str | None:
        if self._root is None:
            return None
        try:
            return os.readlink(self._root + path)
        except (OSError, ValueError):
            return None
