"""Definitions: what each number means, on samples made by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from proxtop import derive
from proxtop.catalog.net import RX, TX
from proxtop.derive import Reading, Tables
from proxtop.model import Sample, Table

S = 1_000_000_000


def _reading(mono: float, family: str, refresh: float = 0.0, **tables: Table) -> Reading:
    return Reading(mono, Sample(family, tables, refresh))


def _table(ids: list[str], at: list[float | None] | None = None, **columns: list[Any]) -> Table:
    return Table(ids, columns, at)


def _vm(tables: Tables, metric: str, row: str = "u") -> Any:
    table = tables["vm"]
    return table.columns[metric][table.ids.index(row)]


def _cpu(
    mono: float,
    *,
    run: list[float],
    wait: list[float],
    process: float | None,
    emulator: float,
    workers: dict[str, float] | None = None,
    vhost: float | None = None,
    throttled: int | None = None,
    gen: int = 1,
) -> Reading:
    ids, roles, own, ran = ["u/10"], ["emulator"], [1], [emulator]
    for tid, value in (workers or {}).items():
        ids.append(f"u/{tid}"), roles.append("worker"), own.append(1), ran.append(value)
    if vhost is not None:
        ids.append("u/99"), roles.append("vhost"), own.append(0), ran.append(vhost)
    numbers = [int(value * S) for value in ran]
    return _reading(
        mono,
        "cpu",
        vm=_table(
            ["u"],
            gen=[gen],
            cores=[len(run)],
            process_ns=[None if process is None else int(process * S)],
            throttled_us=[throttled],
        ),
        vcpu=_table(
            [f"u/{n}" for n in range(len(run))],
            gen=list(range(len(run))),
            run_ns=[int(v * S) for v in run],
            wait_ns=[int(v * S) for v in wait],
            cpu=[0] * len(run),
        ),
        thread=_table(ids, role=roles, own=own, run_ns=numbers, wait_ns=[0] * len(ids)),
    )


def test_cpu_total_and_steal_are_means_over_the_vcpus() -> None:
    before = _cpu(10, run=[0, 0], wait=[0, 0], process=0, emulator=0)
    after = _cpu(12, run=[2, 0], wait=[0, 1], process=2, emulator=0)
    tables = derive.create("cpu").derive(before, after)
    assert _vm(tables, "cpu_total") == 50.0
    assert _vm(tables, "cpu_steal") == 25.0
    assert tables["vcpu"].columns["vcpu_total"] == [100.0, 0.0]
    assert tables["vcpu"].columns["vcpu_steal"] == [0.0, 50.0]


def test_threads_that_ended_within_the_cycle_count_as_overhead() -> None:
    before = _cpu(0, run=[0], wait=[0], process=0, emulator=0)
    after = _cpu(1, run=[0.5], wait=[0], process=0.9, emulator=0.1)
    tables = derive.create("cpu").derive(before, after)
    assert _vm(tables, "cpu_other_total") == pytest.approx(40.0)
    roles = dict(zip(tables["thread"].ids, tables["thread"].columns["thread_total"], strict=True))
    assert roles["u/emulator"] == pytest.approx(10.0)
    assert roles["u/worker"] == pytest.approx(30.0)


def test_a_vhost_kernel_thread_adds_to_what_the_process_clock_has() -> None:
    before = _cpu(0, run=[0], wait=[0], process=0, emulator=0, vhost=0)
    after = _cpu(1, run=[0], wait=[0], process=0.2, emulator=0.2, vhost=0.3)
    assert _vm(derive.create("cpu").derive(before, after), "cpu_other_total") == pytest.approx(50.0)


def test_without_a_process_clock_the_living_threads_are_all_there_is() -> None:
    before = _cpu(0, run=[0], wait=[0], process=None, emulator=0, workers={"20": 0})
    after = _cpu(1, run=[0], wait=[0], process=None, emulator=0.1, workers={"20": 0.1, "21": 0.2})
    assert _vm(derive.create("cpu").derive(before, after), "cpu_other_total") == pytest.approx(40.0)


def test_a_process_clock_that_is_coarser_than_the_threads_takes_nothing_from_them() -> None:
    before = _cpu(0, run=[0], wait=[0], process=0, emulator=0)
    after = _cpu(1, run=[0.5], wait=[0], process=0.5, emulator=0.004, vhost=None)
    assert _vm(derive.create("cpu").derive(before, after), "cpu_other_total") == pytest.approx(0.4)


def _remote_cpu(mono: float, at: float) -> Reading:
    vcpu = _table(["u/0"], [at], gen=[None], run_ns=[int(at * S / 2)], wait_ns=[int(at * S / 4)], cpu=[None])
    vm = _table(["u"], gen=[None], cores=[1], process_ns=[None], throttled_us=[None])
    return _reading(mono, "cpu", 1.0, vm=vm, vcpu=vcpu, thread=_table([]))


def _remote_net(mono: float, at: float) -> Reading:
    columns = {f"{way}_{field}": [int(at * 100)] for way, fields in (("rx", RX), ("tx", TX)) for field in fields}
    return _reading(mono, "net", 1.0, nic=_table(["u/vnet0"], [at], gen=[None], mac=[None], **columns))


def test_a_remote_hosts_figures_stay_until_two_refreshes_where_they_are_read_seldom() -> None:
    reads = [(0, 0.0), (1, 0.5), (2, 0.5), (3, 2.5), (4, 2.5), (5, 2.5)]
    for family, reading, metric, rate in (
        ("cpu", _remote_cpu, "cpu_total", 50.0),
        ("cpu", _remote_cpu, "cpu_steal", 25.0),
        ("net", _remote_net, "net_receivedBytes", 100.0),
    ):
        derivation = derive.create(family)
        pairs = itertools.pairwise([reading(*at) for at in reads])
        results = [_vm(derivation.derive(then, now), metric) for then, now in pairs]
        assert results == [rate, rate, rate, rate, None]


def test_devices_that_are_not_seen_are_not_counted() -> None:
    unseen = derive.create("disk").derive(None, _reading(0, "disk", device=Table([], {})))
    none = derive.create("disk").derive(None, _reading(0, "disk", device=_table([], name=[], type=[])))
    counts = [tables["host"].columns["disk_device_count"] for tables in (unseen, none)]
    assert counts == [[None], [0]]


def test_a_hot_plugged_vcpu_counts_from_its_birth() -> None:
    before = _cpu(0, run=[0], wait=[0], process=0, emulator=0)
    after = _cpu(1, run=[1, 1], wait=[0, 0], process=2, emulator=0)
    assert _vm(derive.create("cpu").derive(before, after), "cpu_total") == 100.0


def test_threads_that_were_not_seen_for_a_cycle_did_not_run_their_whole_life_in_the_next() -> None:
    before = _cpu(1, run=[5000], wait=[900], process=9000, emulator=800, vhost=700)
    unseen = _cpu(2, run=[], wait=[], process=9000, emulator=0)
    for name in ("vcpu", "thread"):
        unseen.sample.tables[name].ids.clear()
        for column in unseen.sample.tables[name].columns.values():
            column.clear()
    after = _cpu(3, run=[5001], wait=[900], process=9001, emulator=800, vhost=700)
    derivation = derive.create("cpu")
    derivation.derive(before, unseen)
    tables = derivation.derive(unseen, after)
    for metric in ("cpu_total", "cpu_steal", "cpu_other_total", "cpu_other_steal"):
        assert _vm(tables, metric) is None
    again = _cpu(4, run=[5001.5], wait=[900.25], process=9001.75, emulator=800.25, vhost=700)
    tables = derivation.derive(after, again)
    assert (_vm(tables, "cpu_total"), _vm(tables, "cpu_steal"), _vm(tables, "cpu_other_total")) == (50.0, 25.0, 25.0)


def test_a_restarted_vm_has_no_cpu_rates_in_its_first_cycle() -> None:
    before = _cpu(0, run=[5], wait=[5], process=9, emulator=1, gen=1)
    after = _cpu(1, run=[9], wait=[9], process=20, emulator=2, gen=2)
    after.sample.tables["vcpu"].columns["gen"] = [77]
    tables = derive.create("cpu").derive(before, after)
    assert _vm(tables, "cpu_total") is None and _vm(tables, "cpu_other_total") is None
    assert _vm(tables, "cpu_cores") == 1


def test_throttling_is_a_mean_over_the_vcpus_and_unknown_without_a_limit() -> None:
    limited = [_cpu(t, run=[0, 0], wait=[0, 0], process=0, emulator=0, throttled=t * 500_000) for t in (0, 1)]
    free = [_cpu(t, run=[0, 0], wait=[0, 0], process=0, emulator=0) for t in (0, 1)]
    assert _vm(derive.create("cpu").derive(*limited), "cpu_throttled") == pytest.approx(25.0)
    assert _vm(derive.create("cpu").derive(*free), "cpu_throttled") is None


def test_host_shares_are_of_all_time_and_a_step_back_of_iowait_is_no_time() -> None:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    then = dict(zip(names, (0, 0, 0, 0, 10, 0, 0, 0, 0, 0), strict=True))
    now = dict(zip(names, (30, 0, 20, 40, 8, 0, 0, 10, 15, 0), strict=True))
    tables = derive.create("cpu").derive(
        _reading(0, "cpu", host=_table(["n"], **{key: [value] for key, value in then.items()})),
        _reading(1, "cpu", host=_table(["n"], **{key: [value] for key, value in now.items()})),
    )
    host = {name: column[0] for name, column in tables["host"].columns.items()}
    assert (host["cpu_user"], host["cpu_system"], host["cpu_idle"], host["cpu_steal"]) == (30.0, 20.0, 40.0, 10.0)
    assert host["cpu_iowait"] == 0.0 and host["cpu_guest"] == 15.0


def _mem(mono: float, at: float | None, swapped: int = 0, **columns: Any) -> Reading:
    base = {
        "gen": 1,
        "total_kb": 1000,
        "actual_kb": 800,
        "available_kb": 700,
        "unused_kb": 300,
        "usable_kb": 350,
        "swap_in_kb": swapped,
        "swap_out_kb": 0,
        "minflt": 0,
        "majflt": 0,
        "cminflt": 0,
        "cmajflt": 0,
        "rss_kb": 5,
        "vsize_kb": 6,
        "swap_kb": 0,
        "balloon_at": at,
    }
    return _reading(mono, "mem", vm=_table(["u"], **{name: [value] for name, value in {**base, **columns}.items()}))


def test_a_host_that_was_booted_between_two_readings_has_no_shares() -> None:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")

    def reading(mono: float, user: int, system: int, idle: int) -> Reading:
        ticks = {**dict.fromkeys(names, 0), "user": user, "system": system, "idle": idle}
        return _reading(mono, "cpu", host=_table(["n"], None, **{name: [value] for name, value in ticks.items()}))

    derivation = derive.create("cpu")
    booted = reading(2, 1010, 10, 50)
    columns = derivation.derive(reading(1, 1000, 5000, 100_000), booted)["host"].columns
    assert columns["cpu_user"] == columns["cpu_idle"] == [None]
    columns = derivation.derive(booted, reading(3, 1060, 10, 100))["host"].columns
    assert columns["cpu_user"] == columns["cpu_idle"] == [50.0]


def test_memory_in_use_is_what_the_guest_reports() -> None:
    tables = derive.create("mem").derive(None, _mem(1, 1))
    assert [_vm(tables, f"ram_{name}") for name in ("total", "used", "free", "balloon", "active")] == [
        1000,
        400,
        300,
        200,
        50.0,
    ]


def test_without_guest_statistics_use_is_unknown_and_resident_memory_is_there() -> None:
    tables = derive.create("mem").derive(None, _mem(1, None, available_kb=None, unused_kb=None, usable_kb=None))
    assert _vm(tables, "ram_used") is None and _vm(tables, "ram_active") is None
    assert _vm(tables, "ram_rss") == 5


def test_swapping_inside_the_guest_is_a_rate_over_the_statistics_own_times() -> None:
    derivation = derive.create("mem")
    first, second, third = _mem(0, 0.0, 0), _mem(1, 0.0, 0), _mem(5, 4.0, 40)
    derivation.derive(None, first)
    derivation.derive(first, second)
    assert _vm(derivation.derive(second, third), "ram_swapin") == 10.0


_BLOCK = ("rd_reqs", "rd_bytes", "rd_ns", "wr_reqs", "wr_bytes", "wr_ns", "fl_reqs", "fl_ns")


def _disk(
    mono: float,
    at: float,
    value: int,
    *,
    device: str | None = "sda",
    names: tuple[str, ...] = ("vda",),
    busy_ms: int = 0,
    sectors: int = 0,
) -> Reading:
    counters = {name: [value] * len(names) for name in _BLOCK}
    zeros = {
        name: [0]
        for name in ("reads", "reads_merged", "sectors_read", "ms_reading", "writes", "writes_merged", "ms_writing")
    }
    return _reading(
        mono,
        "disk",
        1.0,
        device=_table(
            ["sda"],
            name=["sda"],
            type=["disk"],
            **zeros,
            sectors_written=[sectors],
            ms_io=[busy_ms],
            ms_weighted=[busy_ms * 2],
            in_flight=[0],
        ),
        disk=_table(
            [f"u/{name}" for name in names],
            [at] * len(names),
            gen=[1] * len(names),
            **counters,
            capacity=[100] * len(names),
            allocation=[50] * len(names),
            physical=[60] * len(names),
            source=["/x"] * len(names),
            device=[device] * len(names),
        ),
        vm=_table(["u"], gen=[1], blkio_ticks=[None]),
    )


def test_disk_rates_use_the_rows_own_times() -> None:
    tables = derive.create("disk").derive(_disk(0, 0.0, 0), _disk(1, 0.5, 1000))
    assert _vm(tables, "disk_reads") == 2000.0
    assert tables["disk"].columns["disk_reads"] == [2000.0]


def test_sums_and_latencies_over_the_disks_of_a_vm() -> None:
    tables = derive.create("disk").derive(
        _disk(0, 0.0, 0, names=("vda", "vdb")), _disk(1, 1.0, 1000, names=("vda", "vdb"))
    )
    assert _vm(tables, "disk_reads") == 2000.0
    assert _vm(tables, "disk_lat_rd") == pytest.approx(1e-6)
    assert _vm(tables, "disk_lat_avg") == pytest.approx(1e-6)
    assert _vm(tables, "disk_size_capacity") == 200


def test_a_reading_that_is_repeated_keeps_its_rate_until_two_refreshes_and_then_is_unknown() -> None:
    derivation = derive.create("disk")
    readings = [_disk(0, 0.0, 0), _disk(1, 1.0, 100), _disk(2, 1.0, 100), _disk(3, 1.0, 100), _disk(4, 1.0, 100)]
    results = [_vm(derivation.derive(then, now), "disk_reads") for then, now in itertools.pairwise(readings)]
    assert results == [100.0, 100.0, 100.0, None]


def test_a_vm_that_was_restarted_does_not_keep_the_rates_of_its_process_of_before() -> None:
    derivation = derive.create("disk")
    readings = [_disk(0, 0.0, 0), _disk(1, 1.0, 100), _disk(2, 1.0, 100), _disk(3, 3.0, 30), _disk(4, 4.0, 40)]
    for reading, gen in zip(readings, (1, 1, 2, 2, 2), strict=True):
        reading.sample.tables["disk"].columns["gen"] = [gen]
    results = [_vm(derivation.derive(then, now), "disk_reads") for then, now in itertools.pairwise(readings)]
    assert results == [100.0, None, None, 10.0]


def test_no_requests_no_latency() -> None:
    tables = derive.create("disk").derive(_disk(0, 0.0, 5), _disk(1, 1.0, 5))
    assert _vm(tables, "disk_lat_rd") is None and _vm(tables, "disk_reads") == 0.0


def test_ioutil_is_the_share_of_the_busy_time_of_the_device_that_holds_the_disk() -> None:
    before, after = _disk(0, 0.0, 0), _disk(1, 1.0, 1_000_000, busy_ms=800, sectors=2 * 4_000_000 // 512)
    assert _vm(derive.create("disk").derive(before, after), "disk_ioutil") == pytest.approx(
        80.0 * 2_000_000 / 8_000_000
    )
    nowhere = _disk(0, 0.0, 0, device=None), _disk(1, 1.0, 1_000_000, device=None, busy_ms=800)
    assert _vm(derive.create("disk").derive(*nowhere), "disk_ioutil") is None


def test_device_times_are_sysstats() -> None:
    tables = derive.create("disk").derive(_disk(0, 0.0, 0), _disk(2, 2.0, 0, busy_ms=500))
    device = {name: column[0] for name, column in tables["device"].columns.items()}
    assert device["disk_device_ioutil"] == 25.0
    assert device["disk_device_queuelen"] == 0.5
    assert device["disk_device_await"] is None
    assert tables["host"].columns["disk_device_ioutil"] == [25.0]


def _net(mono: float, received: int | None, ids: tuple[str, ...] = ("u/tap0",), gen: int = 3) -> Reading:
    counters: dict[str, list[Any]] = {f"rx_{field}": [received] * len(ids) for field in RX} | {
        f"tx_{field}": [0] * len(ids) for field in TX
    }
    return _reading(mono, "net", nic=_table(list(ids), gen=[gen] * len(ids), mac=["m"] * len(ids), **counters))


def test_network_figures_are_bytes_per_second_summed_over_the_nics() -> None:
    tables = derive.create("net").derive(_net(0, 0, ("u/tap0", "u/tap1")), _net(2, 100, ("u/tap0", "u/tap1")))
    assert _vm(tables, "net_receivedBytes") == 100.0
    assert tables["nic"].columns["net_receivedBytes"] == [50.0, 50.0]


def test_a_recreated_interface_has_no_rate() -> None:
    assert _vm(derive.create("net").derive(_net(0, 0), _net(1, 100, gen=4)), "net_receivedBytes") is None


def test_pressure_totals_become_shares_of_the_cycle() -> None:
    def reading(mono: float, total: int) -> Reading:
        return _reading(mono, "psi", host=_table(["n"], psi_some_cpu_us=[total], psi_some_cpu_avg60=[1.5]))

    host = derive.create("psi").derive(reading(0, 0), reading(2, 500_000))["host"].columns
    assert host["psi_some_cpu"] == [25.0]
    assert host["psi_some_cpu_avg60"] == [1.5]
    assert host["psi_full_io"] == [None]
