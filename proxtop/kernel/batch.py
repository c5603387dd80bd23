"""Files that are read together at each pass: what they say, for a fraction of what reading each by itself costs.

While none of a host's kept files was closed their descriptors are what they were, so a pass is nothing but preads. A
pass in which anything is out of the ordinary (a file not open yet, gone, not to be kept, long) is made anew, file by
file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import repeat

from proxtop.kernel.errors import FileError
from proxtop.kernel.files import File, Files, Process

Outcome = bytes | FileError | None
"""A file's bytes, None when it is gone, or why it can't be read."""

_LEAST = 64
_MOST = 512
"""Bytes that are asked of each file: half as many again as the longest had, so that what Python sets aside for them is
about what they take. Files of more than these many are read one by one."""


class Batch:
    """Groups of files, each with a process whose clock is read just before them, or None."""

    __slots__ = ("_files", "_groups", "_open", "_size", "_stamp")

    def __init__(self, files: Files, groups: Sequence[tuple[Process | None, Sequence[File]]]) -> None:
        self._files = files
        self._groups = groups
        self._open: list[tuple[int | None, list[int]]] = []
        self._size = 0
        self._stamp = -1

    def read(self) -> tuple[list[int | None], list[Outcome]]:
        """(the groups' clocks in ns of CPU, as Process.clock_ns; what the files of all groups say)"""
        if self._stamp == self._files.closings:
            pread, clock_ns = os.pread, time.clock_gettime_ns
            size, offset = repeat(self._size), repeat(0)
            clocks: list[int | None] = []
            texts: list[Outcome] = []
            try:
                for clock, descriptors in self._open:
                    clocks.append(None if clock is None else clock_ns(clock))
                    texts += map(pread, descriptors, size, offset)
            except OSError:
                return self._read_each()
            if max(map(len, texts), default=0) < self._size:  # type: ignore[arg-type]
                return clocks, texts
        return self._read_each()

    def _read_each(self) -> tuple[list[int | None], list[Outcome]]:
        clocks: list[int | None] = []
        texts: list[Outcome] = []
        for process, files in self._groups:
            clocks.append(None if process is None else process.clock_ns())
            texts += [_outcome(file) for file in files]
        self._open = [
            (None if process is None else process.clock, [file.descriptor for file in files])
            for process, files in self._groups
        ]
        longest = max((len(text) for text in texts if isinstance(text, bytes)), default=0)
        self._size = min(_MOST, max(_LEAST, longest * 3 // 2))
        kept = all(fd >= 0 for _, descriptors in self._open for fd in descriptors)
        self._stamp = self._files.closings if kept and longest < _MOST else -1
        return clocks, texts


def _outcome(file: File) -> Outcome:
    try:
        return file.read()
    except FileError as error:
        return error
