"""Who hurts whom: the formula, on small cases that one can work out by hand."""

from __future__ import annotations

import pytest

from proxtop.contention import HOST, Limits, Taker, Takers, Wait, waits
from proxtop.model import Table, Value


def vms(**columns: list[Value]) -> Table:
    """A table of VMs a, b, c …"""
    count = len(next(iter(columns.values())))
    return Table([chr(ord("a") + n) for n in range(count)], dict(columns))


def vcpus(*rows: tuple[str, float, float, int]) -> Table:
    """A table of vCPUs: (VM, ran %, waited %, core)."""
    ids = [f"{vm}/{number}" for number, (vm, *_) in enumerate(rows)]
    names = ("vcpu_total", "vcpu_steal", "vcpu_cpu")
    return Table(ids, {name: [row[n + 1] for row in rows] for n, name in enumerate(names)})


def steals(vm: str, value: float = 30.0) -> Wait:
    return Wait(vm, "cpu", "cpu_steal", value, value / 5)


def shares(takers: list[Taker]) -> dict[str, float]:
    return {taker.vm: round(taker.share, 3) for taker in takers}


def test_a_vm_waits_from_its_limit_on() -> None:
    table = vms(cpu_steal=[4.9, 5.0, None], psi_some_mem=[0.0, None, 7.0], psi_some_io=[None, 0.0, 0.0])
    found = waits({"vm": table}, {}, Limits())
    assert [(wait.vm, wait.resource, wait.value) for wait in found] == [("c", "memory", 7.0), ("b", "cpu", 5.0)]


def test_a_limit_of_zero_is_none() -> None:
    now = {"vm": vms(cpu_steal=[0.0], psi_some_mem=[0.0], psi_some_io=[0.0], disk_lat_avg=[0.0])}
    assert waits(now, {}, Limits(steal=0.0, memory=0.0, io=0.0, latency_ms=0.0)) == []


def test_the_worst_comes_first() -> None:
    found = waits({"vm": vms(cpu_steal=[6.0, 50.0, 12.0])}, {}, Limits())
    assert [wait.vm for wait in found] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("latency", "before", "slow"),
    [
        (19.9, [], False),  # nothing is known of its normal: the fixed limit
        (20.0, [], True),
        (3.0, [1.0, 1.1, 0.9, 1.0, 5.0], True),  # three times its median
        (2.9, [1.0, 1.1, 0.9, 1.0, 5.0], False),
        (1.9, [0.1] * 5, False),  # too little to be felt
        (2.0, [0.1] * 5, True),
        (25.0, [30.0] * 5, True),  # always slow is slow
        (3.0, [1.0] * 4, False),  # too short to call it normal
        (None, [1.0] * 5, False),
    ],
)
def test_latency_is_judged_against_the_vms_own_normal(latency: float | None, before: list[float], slow: bool) -> None:
    found = waits({"vm": vms(disk_lat_avg=[latency])}, {"a": before}, Limits())
    assert bool(found) is slow


def test_what_ran_on_the_core_of_the_victim_counts_and_nothing_else() -> None:
    window = [{"vm": vms(cpu_other_total=[0.0] * 4), "vcpu": vcpus(
        ("a", 40, 60, 0), ("b", 60, 40, 0), ("c", 100, 0, 1), ("d", 0, 0, 0))}]  # fmt: skip
    assert shares(Takers(window).of(steals("a"))) == {"b": 1.0}
    assert shares(Takers(window).of(steals("b"))) == {"a": 1.0}
    assert Takers(window).where(steals("a")) == ("0",)


def test_shares_are_by_what_ran_weighted_by_what_was_waited() -> None:
    window = [
        {"vcpu": vcpus(("a", 10, 60, 0), ("b", 60, 0, 0), ("c", 30, 0, 0))},
        {"vcpu": vcpus(("a", 10, 30, 1), ("c", 90, 0, 1))},
    ]
    # 60 of 90 waited beside b and c as 2 to 1, 30 of 90 beside c alone
    assert shares(Takers(window).of(steals("a"))) == {"c": 0.556, "b": 0.444}


def test_a_vms_own_vcpus_stand_in_each_others_way() -> None:
    window = [{"vcpu": vcpus(("a", 50, 50, 0), ("a", 40, 50, 0), ("b", 10, 0, 0))}]
    found = shares(Takers(window).of(steals("a")))
    assert found == {"a": 0.817, "b": 0.183}  # 40 to 10 beside one vCPU, 50 to 10 beside the other
    assert sum(found.values()) == pytest.approx(1.0)


def test_the_host_and_other_threads_take_their_part_of_every_core() -> None:
    host = Table(["h"], {"cpu_cores": [2], "cpu_idle": [0.0], "cpu_iowait": [0.0]})
    window = [{"host": host, "vm": vms(cpu_other_total=[0.0, 40.0]), "vcpu": vcpus(("a", 20, 80, 0), ("b", 60, 0, 1))}]
    # all cores: 100 % busy = 40 % vCPUs + 20 % b's other threads + 40 % the host's own
    assert shares(Takers(window).of(steals("a"))) == {HOST: 0.667, "b": 0.333}


def test_unknown_values_take_part_in_nothing() -> None:
    window = [{"vcpu": Table(["a/0", "b/0"], {"vcpu_total": [None, 50.0], "vcpu_steal": [None, 1.0]})}]
    assert Takers(window).of(steals("a")) == []
    assert Takers([]).of(steals("a")) == []


def test_memory_is_taken_by_what_grew_else_by_what_is_large() -> None:
    wait = Wait("a", "memory", "psi_some_mem", 9.0, 1.8)
    grown = [{"vm": vms(ram_rss=[100, 100, 500])}, {"vm": vms(ram_rss=[90, 130, 510])}]
    assert shares(Takers(grown).of(wait)) == {"b": 0.75, "c": 0.25}
    assert shares(Takers(grown[:1]).of(wait)) == {"c": 0.833, "b": 0.167}


def test_a_disk_is_taken_by_who_moves_bytes_on_the_same_device() -> None:
    wait = Wait("a", "disk", "disk_lat_avg", 30.0, 1.5)
    disk = Table(["a/vda", "b/vda", "c/vda"], {
        "disk_device": ["sda", "sda", "sdb"], "disk_mbread": [1.0, 5.0, 100.0], "disk_mbwrite": [0.0, 4.0, None],
    })  # fmt: skip
    takers = Takers([{"disk": disk}])
    assert shares(takers.of(wait)) == {"b": 0.9, "a": 0.1}
    assert takers.where(wait) == ("sda",)


def test_without_a_known_device_the_processes_bytes_count() -> None:
    wait = Wait("a", "disk", "psi_some_io", 30.0, 6.0)
    disk = Table(["a/vda"], {"disk_device": [None], "disk_mbread": [1.0], "disk_mbwrite": [0.0]})
    window = [{"disk": disk, "vm": vms(**{"io_MBRD/s": [1.0, 2.0], "io_MBWR/s": [0.0, 1.0]})}]
    assert shares(Takers(window).of(wait)) == {"b": 0.75, "a": 0.25}
