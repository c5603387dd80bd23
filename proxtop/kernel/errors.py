"""What can be wrong with a file of the kernel. That it is gone is no error: a reader answers None."""

from __future__ import annotations

import os


class KernelError(Exception):
    """A file of /proc or /sys that gave no value: one line saying which and why."""


class ParseError(KernelError):
    """Bytes that are not what the file's format says. `what` is the file's kind, as in /proc/PID/stat."""

    def __init__(self, what: str, text: bytes) -> None:
        super().__init__(f"{what}: can't be read: {text[:60]!r}")
        self.what = what
        self.text = text


class FileError(KernelError):
    """A file that is there and can't be read (EACCES, EPERM, EIO, …). `errno` is the system's number."""

    def __init__(self, path: str, errno: int) -> None:
        super().__init__(f"{path}: {os.strerror(errno)}")
        self.path = path
        self.errno = errno
