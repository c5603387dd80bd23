"""A process' I/O, from /proc/PID/io (kernel: Documentation/filesystems/proc.rst, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from proxtop.kernel.errors import ParseError
from proxtop.kernel.numbers import integers

FIELDS = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
_KEYS = [field.encode() + b":" for field in FIELDS]
_DIGITS = b"0123456789"
_EMPTY = b"".join([key + b" \n" for key in _KEYS])
_LETTERS = bytes(set(b" ".join(_KEYS)))


def parse_io(text: bytes) -> list[int | None]:
    """The counters by FIELDS; None for one that the kernel does not have."""
    fields = text.split()
    keys = fields[0::2]
    try:
        if keys == _KEYS:
            return list(map(int, fields[1::2]))
        values = {key: int(value) for key, value in zip(keys, fields[1::2], strict=True)}
    except ValueError:
        raise ParseError("/proc/PID/io", text) from None
    return [values.get(key) for key in _KEYS]


def parse_ios(texts: Sequence[bytes]) -> list[list[int]] | None:
    """The same of many processes, a list of each field; None where one of them is not as it should be."""
    text = b"".join(texts)
    if text.translate(None, _DIGITS) != _EMPTY * len(texts):
        return None
    try:
        numbers = integers(text.translate(None, _LETTERS))
    except ValueError:
        return None
    width = len(_KEYS)
    return [numbers[place::width] for place in range(width)]
