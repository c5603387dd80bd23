"""Files of many processes parsed in one go say what each says by itself; nothing where one is not as it should be."""

from __future__ import annotations

import pytest

from proxtop.kernel.numbers import integers
from proxtop.kernel.pid_io import FIELDS, parse_io, parse_ios
from proxtop.kernel.pid_stat import parse_memories, parse_memory
from proxtop.kernel.pressure import parse_pressure, parse_pressures
from proxtop.kernel.schedstat import parse_schedstat, parse_schedstats

IO = [
    b"".join(f"{field}: {number * 10 + place}\n".encode() for place, field in enumerate(FIELDS)) for number in range(5)
]
NAMES = (b"CPU 0/KVM", b"a) S 1 (", b"", b"qemu\n(x)")
STAT = [
    b"%d (%s) S " % (number, name) + b" ".join(b"%d" % (number * 100 + field) for field in range(4, 53)) + b"\n"
    for number, name in enumerate(NAMES)
]
PRESSURE = [
    f"some avg10={n}.50 avg60=0.25 avg300=0.00 total={n}000\n".encode()
    + f"full avg10=0.00 avg60=0.0{n} avg300=0.00 total={n}\n".encode()
    for n in range(1, 5)
]


def test_io_and_memory_of_many_processes() -> None:
    assert parse_ios(IO) == [list(column) for column in zip(*map(parse_io, IO), strict=True)]
    stats = [*STAT, STAT[0] + b" 1", STAT[1].replace(b"\n", b" 7 8 9\n")]  # later kernels have more fields
    assert parse_memories(stats) == [list(column) for column in zip(*map(parse_memory, stats), strict=True)]


def test_run_queue_times_of_many_threads_to_the_last_of_64_bits() -> None:
    texts = [b"0 0 0\n", b"18446744073709551615 9223372036854775808 1\n", b"123456789012 5 77\n"]
    assert parse_schedstats(texts) == tuple(map(list, zip(*map(parse_schedstat, texts), strict=True)))


@pytest.mark.parametrize("text", [b"1  2", b"1.5 2", b"1e3", b"x", b"1,", b"1\n\n", b" 1", b"true", b"1 [2]", b"1-2"])
def test_what_is_no_integer_is_no_number(text: bytes) -> None:
    with pytest.raises(ValueError):
        integers(text)


@pytest.mark.parametrize("names", [(b"some", b"full"), (b"full",)])
def test_pressure_of_many_cgroups(names: tuple[bytes, ...]) -> None:
    texts = PRESSURE if len(names) == 2 else [text[text.index(b"full") :] for text in PRESSURE]
    each = [parse_pressure(text) for text in texts]
    wanted = [
        [list(column) for column in zip(*(one[kind] or () for one in each), strict=True)]
        for kind in ((0, 1) if len(names) == 2 else (1,))
    ]
    assert parse_pressures(texts, names) == wanted


@pytest.mark.parametrize("bad", [b"", b"x", b"rchar: 1\n", IO[0][:-3], IO[0].replace(b"1", b"x"), IO[0] + IO[1]])
def test_one_that_is_not_as_it_should_be_is_found(bad: bytes) -> None:
    assert parse_ios([*IO, bad]) is None


@pytest.mark.parametrize("bad", [b"", b"1 (x) S 1 2\n", STAT[0].replace(b" 10 ", b" x ", 1), b"x"])
def test_a_stat_that_is_not_as_it_should_be_is_found(bad: bytes) -> None:
    assert parse_memories([*STAT, bad]) is None


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        PRESSURE[0][:40],
        PRESSURE[0].replace(b"1.50", b"nan"),
        PRESSURE[0].replace(b"avg60", b"avg61"),
        PRESSURE[0] * 2,
        PRESSURE[0].replace(b"total=1000", b"total=1.5"),
        PRESSURE[0].replace(b"1.50", b"1"),
    ],
)
def test_a_pressure_that_is_not_as_it_should_be_is_found(bad: bytes) -> None:
    assert parse_pressures([*PRESSURE, bad], (b"some", b"full")) is None


def test_none_at_all_is_no_row() -> None:
    assert parse_ios([]) == [[]] * len(FIELDS)
    assert parse_memories([]) == [[]] * 6
