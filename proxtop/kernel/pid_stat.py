"""A process or a thread, from /proc/PID/stat and /proc/PID/task/TID/stat (proc_pid_stat(5)).

Fields are counted from 1, as the manual does. The name in parentheses may hold anything, parentheses too: what follows
the last one is the state, field 3. A collector asks for the few fields that it needs: this is its hot path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxtop.kernel.errors import ParseError
from proxtop.kernel.numbers import integers

_WHAT = "/proc/PID/stat"
_FIELDS = 22
"""At least so many fields follow the name where the memory's are among them."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """A process as its stat tells it; times in ticks of 1/USER_HZ s, `start` since boot, `rss` in pages."""

    comm: bytes
    state: str
    ppid: int
    threads: int
    start: int
    utime: int
    stime: int
    vsize: int
    rss: int


def _after_name(text: bytes, maxsplit: int = -1) -> list[bytes]:
    """The fields from 3 on: field N is at N - 3."""
    return text[text.rfind(b")") + 1 :].split(None, maxsplit)


def parse_process(text: bytes) -> ProcessStat:
    """What the lookup asks of a process."""
    fields = _after_name(text, 22)
    try:
        return ProcessStat(
            comm=text[text.index(b"(") + 1 : text.rindex(b")")],
            state=fields[0].decode("ascii"),
            ppid=int(fields[1]),
            threads=int(fields[17]),
            start=int(fields[19]),
            utime=int(fields[11]),
            stime=int(fields[12]),
            vsize=int(fields[20]),
            rss=int(fields[21]),
        )
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None


def parse_start(text: bytes) -> int:
    """Start time in ticks since boot (field 22)."""
    try:
        return int(_after_name(text, 20)[19])
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None


def parse_ticks(text: bytes) -> int:
    """User and system time of all its threads, ended ones too, in ticks (fields 14 and 15)."""
    try:
        fields = _after_name(text, 13)
        return int(fields[11]) + int(fields[12])
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None


def parse_memory(text: bytes) -> tuple[int, int, int, int, int, int]:
    """(minflt, cminflt, majflt, cmajflt, vsize in bytes, rss in pages): fields 10 to 13, 23 and 24."""
    try:
        fields = _after_name(text, 22)
        return int(fields[7]), int(fields[8]), int(fields[9]), int(fields[10]), int(fields[20]), int(fields[21])
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None


def parse_memories(texts: Sequence[bytes]) -> list[list[int]] | None:
    """The same of many processes, a list of each of the six; None where one of them is not as it should be."""
    words: list[bytes] = []
    for text in texts:
        fields = text[text.rfind(b")") + 2 :].split(b" ", _FIELDS)
        if len(fields) < _FIELDS or not fields[0].isalpha():  # the state
            return None
        words += fields[7:11]
        words += fields[20:22]
    try:
        numbers = integers(b" ".join(words))
    except ValueError:
        return None
    return [numbers[place::6] for place in range(6)] if len(numbers) == 6 * len(texts) else None


def parse_last_cpu(text: bytes) -> int:
    """The CPU that the thread ran on last (field 39)."""
    try:
        return int(_after_name(text, 37)[36])
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None


def parse_blkio_ticks(text: bytes) -> int | None:
    """Time waited for block I/O in ticks (field 42); None on a kernel before 2.6.18, which lacks it."""
    fields = _after_name(text, 40)
    try:
        int(fields[19])
        return int(fields[39]) if len(fields) > 39 else None
    except (IndexError, ValueError):
        raise ParseError(_WHAT, text) from None
