"""Every parser: what it makes of the kernel's text, old and new; other bytes give ParseError and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxtop.kernel.cgroup import parse_mountinfo, vm_cgroup
from proxtop.kernel.cpu_stat import parse_cpu_stat
from proxtop.kernel.cpufreq import parse_cpuinfo_mhz, parse_khz
from proxtop.kernel.diskstats import parse_diskstats
from proxtop.kernel.errors import ParseError
from proxtop.kernel.meminfo import parse_meminfo
from proxtop.kernel.net_dev import parse_net_dev
from proxtop.kernel.pid_io import parse_io
from proxtop.kernel.pid_stat import (
    parse_blkio_ticks,
    parse_last_cpu,
    parse_memory,
    parse_process,
    parse_start,
    parse_ticks,
)
from proxtop.kernel.pid_status import parse_status
from proxtop.kernel.pressure import Pressure, parse_pressure
from proxtop.kernel.schedstat import parse_schedstat
from proxtop.kernel.stat import parse_stat

NET_HEAD = b"Inter-|   Receive\n face |bytes\n"
STAT = b"7 (a) b (c)) S 1 7 7 0 -1 0 10 11 12 13 14 15 0 0 20 0 3 0 22 23 24 " + b"1 " * 14 + b"39 0 0 42 0\n"

PARSERS: list[Callable[[bytes], object]] = [
    parse_stat,
    parse_schedstat,
    parse_process,
    parse_start,
    parse_ticks,
    parse_memory,
    parse_last_cpu,
    parse_blkio_ticks,
    parse_status,
    parse_io,
    parse_meminfo,
    parse_diskstats,
    parse_net_dev,
    parse_pressure,
    parse_cpu_stat,
    parse_khz,
    parse_cpuinfo_mhz,
    vm_cgroup,
    lambda text: parse_mountinfo(text, "/sys"),
]

WORDS = st.sampled_from(
    [
        *(b" ", b"\n", b":", b"=", b"(", b")", b"-", b"/", b"0", b"18446744073709551615", b"9" * 5000, b"1e999"),
        *(b"nan", b"inf", b"cpu", b"cpu0", b"some", b"full", b"avg10", b"avg60", b"avg300", b"total", b"nr_periods"),
        *(b"throttled_usec", b"throttled_time", b"kB", b"\nVmRSS:", b"\nVmSwap:", b"rchar:", b"\ncpu MHz"),
        *(b"<unknown>", b"\xff", b"..", b"\0"),
    ]
)
TEXTS = st.one_of(st.binary(max_size=300), st.lists(WORDS, max_size=60).map(b"".join))


@pytest.mark.parametrize("parse", PARSERS)
@given(text=TEXTS)
@example(b"")
@example(b"some avg10=nan avg60=0 avg300=0 total=1\n")
@example(b"some avg10=1=2 total=1\n")
@example(NET_HEAD + b":1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
def test_any_bytes_give_a_value_or_a_parse_error(parse: Callable[[bytes], object], text: bytes) -> None:
    try:
        parse(text)
    except ParseError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("parse", PARSERS)
@given(cut=st.integers(min_value=0), flip=st.integers(min_value=0))
def test_a_truncated_or_damaged_stat_is_no_other_error(parse: Callable[[bytes], object], cut: int, flip: int) -> None:
    damaged = bytearray(STAT[: cut % len(STAT) + 1])
    damaged[flip % len(damaged)] ^= 0xFF
    for text in (STAT[: cut % len(STAT)], bytes(damaged)):
        with suppress(ParseError):
            parse(text)


def test_stat_counts_the_cpus_online_and_skips_the_fields_of_newer_kernels() -> None:
    text = b"cpu  1 2 3 4 5 6 7 8 9 10 11 12\ncpu0 1 2 3 4\ncpu5 1 2 3 4\nintr 5\ncpufoo\n".replace(b"cpufoo\n", b"")
    assert parse_stat(text) == (2, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])


def test_stat_of_an_old_kernel_has_fewer_fields() -> None:
    assert parse_stat(b"cpu  1 2 3 4\ncpu0 1 2 3 4\n") == (1, [1, 2, 3, 4])


def test_pid_stat_is_read_from_the_last_parenthesis() -> None:
    process = parse_process(STAT)
    assert (process.comm, process.state, process.threads, process.start) == (b"a) b (c)", "S", 3, 22)
    assert parse_start(STAT) == 22
    assert parse_ticks(STAT) == 29
    assert parse_memory(STAT) == (10, 11, 12, 13, 23, 24)
    assert parse_last_cpu(STAT) == 39
    assert parse_blkio_ticks(STAT) == 42


def test_a_kernel_without_the_blkio_field_does_not_know_it() -> None:
    assert parse_blkio_ticks(b" ".join(STAT.split()[:43])) is None


def test_schedstat_skips_what_a_newer_kernel_appends() -> None:
    assert parse_schedstat(b"100 20 3 4 5\n") == (100, 20, 3)


def test_status_without_memory_lines_is_unknown() -> None:
    assert parse_status(b"Name:\tkthreadd\nThreads:\t1\n") == (None, None)
    assert parse_status(b"Name:\tVmRSS: 1\nVmRSS:\t  12 kB\nVmSwap:\t       3 kB\n") == (12, 3)


def test_io_takes_any_order_and_leaves_what_is_missing_unknown() -> None:
    assert parse_io(b"wchar: 2\nrchar: 1\nnew_one: 9\n") == [1, 2, None, None, None, None, None]


def test_meminfo_keeps_keys_that_it_does_not_know() -> None:
    assert parse_meminfo(b"MemTotal:  10 kB\nHugePages_Total:  2\nNew(x):  3 kB\n") == {
        "MemTotal": 10,
        "HugePages_Total": 2,
        "New(x)": 3,
    }


@pytest.mark.parametrize("extra", [b"", b" 1 2 3 4", b" 1 2 3 4 5 6"])
def test_diskstats_of_every_kernel_have_the_same_first_fields(extra: bytes) -> None:
    stats = parse_diskstats(
        b"  8  0 sda 1 2 3 4 5 6 7 8 9 10 11" + extra + b"\n  8 16 sdb 1 2 3 4 5 6 7 8 9 10 12" + extra
    )
    assert stats.names == ["sda", "sdb"]
    assert [column[0] for column in stats.columns] == list(range(1, 12))
    assert stats.columns[-1] == [11, 12]


def test_diskstats_leave_out_the_short_lines_of_ancient_partitions() -> None:
    stats = parse_diskstats(b" 8 1 sda1 1 2 3 4\n 8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n")
    assert (stats.names, stats.columns[0]) == (["sda"], [1])


def test_net_dev_takes_numbers_glued_to_the_name_and_colons_in_it() -> None:
    numbers = b" ".join(str(number).encode() for number in range(2, 17))
    table = parse_net_dev(NET_HEAD + b"  eth0:1 " + numbers + b"\neth0:1: 1 " + numbers + b"\n")
    assert table.names == ["eth0", "eth0:1"]
    assert ([column[0] for column in table.rx], table.tx[0]) == (list(range(1, 9)), [9, 9])


def test_net_dev_without_interfaces_is_an_empty_table() -> None:
    assert parse_net_dev(NET_HEAD).names == []


def test_pressure_knows_files_with_one_line() -> None:
    line = Pressure(0.5, 1.25, 2.0, 77)
    text = b"avg10=0.50 avg60=1.25 avg300=2.00 total=77 new=1\n"
    assert parse_pressure(b"full " + text) == (None, line)
    assert parse_pressure(b"some " + text) == (line, None)
    assert parse_pressure(b"some " + text + b"full " + text) == (line, line)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        (b"usage_usec 5\n", None),
        (b"usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n", None),
        (b"usage_usec 5\nnr_periods 3\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\n", 0),
        (b"nr_periods 3\nnr_throttled 1\nthrottled_time 2500999\n", 2500),
    ],
)
def test_throttled_time_is_unknown_without_a_limit(text: bytes, us: int | None) -> None:
    assert parse_cpu_stat(text) == us


def test_frequencies_are_mhz_and_unknown_where_the_driver_does_not_know() -> None:
    assert (parse_khz(b"2400000\n"), parse_khz(b"<unknown>\n"), parse_khz(b"0\n")) == (2400.0, None, None)
    assert parse_cpuinfo_mhz(b"processor: 0\ncpu MHz\t\t: 1000.5\nx\n\ncpu MHz\t: 0.000\n") == [1000.5]
    assert parse_cpuinfo_mhz(b"processor: 0\nBogoMIPS: 50\n") == []
