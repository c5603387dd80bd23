"""Network interfaces of one network namespace, from /proc/PID/net/dev (kernel: net/core/net-procfs.c)."""

from __future__ import annotations

from dataclasses import dataclass

from proxtop.kernel.errors import ParseError
from proxtop.kernel.numbers import integers

RX = ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast")
TX = ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed")
_NUMBERS = len(RX) + len(TX)
_WIDTH = 1 + _NUMBERS


@dataclass(frozen=True, slots=True)
class NetDev:
    """The interfaces in the kernel's order: their names, and a list as long per field, by RX and TX."""

    names: list[str]
    rx: list[list[int]]
    tx: list[list[int]]


def parse_net_dev(text: bytes) -> NetDev:
    """All interfaces of the namespace, with counters in the host's direction."""
    lines = text.splitlines()[2:]
    # columns may be glued to the name ("eth0:123"), never to one another; ':' can't be part of a name since 4.17
    fields = b"\n".join(lines).replace(b":", b" ").split()
    if len(fields) != _WIDTH * len(lines):
        fields = [field for line in lines for field in _row(line)]
    try:
        names = [name.decode(errors="replace") for name in fields[0::_WIDTH]]
        del fields[0::_WIDTH]
        numbers = integers(b" ".join(fields))
    except ValueError:
        raise ParseError("/proc/net/dev", text) from None
    columns = [numbers[place::_NUMBERS] for place in range(_NUMBERS)]
    return NetDev(names, columns[: len(RX)], columns[len(RX) :])


def _row(line: bytes) -> list[bytes]:
    name, _, numbers = line.rpartition(b":")
    fields = numbers.split()[:_NUMBERS]
    if len(fields) < _NUMBERS or not name.strip():
        raise ParseError("/proc/net/dev", line)
    return [name.strip(), *fields]
