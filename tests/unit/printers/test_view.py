"""What is selected of a snapshot, and the host's figures over chosen devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from snapshots import FAMILIES, snapshot

from proxtop import totals
from proxtop.model import EMPTY, Snapshot, Table
from proxtop.view import Rows, View


def with_table(shown: Snapshot, scope: str, table: Table | None) -> Snapshot:
    tables = {name: old for name, old in shown.tables.items() if name != scope}
    return replace(shown, tables=tables if table is None else {**tables, scope: table})


def names(rows: Rows) -> list[str]:
    return [metric.name for metric in rows.metrics]


def one(rows: Rows, name: str) -> object:
    column = rows.find(name)
    assert column is not None
    return column[0]


def test_vms_are_sorted_by_name_then_uuid() -> None:
    chosen = View().select(snapshot(["web-01", "web", "db", "web"]))
    assert chosen.names == ["db", "web", "web", "web-01"]
    assert [key[-1] for key in chosen.vm.ids] == ["2", "1", "3", "0"]
    assert chosen.vm.find("cpu_cores") == [3000, 2000, 4000, 1000]


@pytest.mark.parametrize(
    ("globs", "shown"),
    [(["web"], ["web"]), (["web*"], ["web", "web-01"]), (["WEB"], []), (["*-000000000002", "db"], ["a,b", "db"])],
)
def test_vms_are_chosen_by_name_or_uuid(globs: list[str], shown: list[str]) -> None:
    view = View(vms=globs, verbose=True)
    chosen = view.select(snapshot(["web", "web-01", "a,b", "db"]))
    assert chosen.names == shown
    assert {key.partition("/")[0] for key in chosen.parts["vcpu"].ids} == set(chosen.vm.ids)
    assert len(chosen.parts["vcpu"].ids) == 2 * len(shown)


def test_columns_stay_whatever_the_snapshot_lacks() -> None:
    view = View(FAMILIES, verbose=True)
    full = view.select(snapshot(["a"]))
    empty = view.select(Snapshot({}, span=2.0, families=(), connector="qemu"))
    assert (names(empty.host), names(empty.vm)) == (names(full.host), names(full.vm))
    assert all(column == [None] for column in empty.host.columns)
    assert all(column == [] for column in empty.vm.columns)


def test_verbose_fields_come_on_request_only() -> None:
    assert "cpu_other_total" not in names(View(["cpu"]).select(snapshot(["a"])).vm)
    assert "cpu_other_total" in names(View(["cpu"], verbose=True).select(snapshot(["a"])).vm)
    assert View(["cpu"]).select(snapshot(["a"])).parts == {}


def test_unknown_keys_of_meminfo_come_last_of_memory_and_stay() -> None:
    view = View(["mem", "disk"], verbose=True)
    shown = snapshot(["a"])
    host = shown.tables["host"]
    before = names(view.select(shown).host)
    later = replace(host, columns={"ram_New": [5], **host.columns, "ram_Other": [6]})
    after = view.select(with_table(shown, "host", later)).host
    place = after.metrics.index(next(metric for metric in after.metrics if metric.name == "ram_New"))
    assert names(after)[place - 1].startswith("ram_")
    assert names(after)[place : place + 3] == ["ram_New", "ram_Other", "disk_device_reads"]
    assert [name for name in names(after) if name not in ("ram_New", "ram_Other")] == before
    again = view.select(shown).host
    assert names(again) == names(after)
    assert one(again, "ram_New") is None


def test_the_hosts_own_figures_stand_unless_devices_are_named() -> None:
    chosen = View().select(snapshot(["a"]))
    assert one(chosen.host, "disk_device_reads") == snapshot(["a"]).tables["host"].columns["disk_device_reads"][0]


@pytest.mark.parametrize("glob", ["dm-0", "/dev/dm-0", "vg-root", "/dev/mapper/vg-root", "vg-*"])
def test_a_storage_device_goes_by_kernel_or_friendly_name(glob: str) -> None:
    shown = snapshot(["a"])
    chosen = View(storedev=[glob], verbose=True).select(shown)
    assert one(chosen.host, "disk_device_reads") == shown.tables["device"].columns["disk_device_reads"][2]
    assert one(chosen.host, "disk_device_count") == 1
    assert chosen.parts["device"].ids == ["dm-0"]
    assert chosen.missing == ()


def test_a_device_that_does_not_exist_is_null_and_named() -> None:
    chosen = View(storedev=["sdz"], netdev=["eth9", "eth0"]).select(snapshot(["a"]))
    assert one(chosen.host, "disk_device_reads") is None
    assert one(chosen.host, "disk_device_ioutil") is None
    assert one(chosen.host, "net_host_receivedBytes") == 0.0
    assert chosen.missing == ("--storedev=sdz", "--netdev=eth9")


def test_a_vm_that_was_named_and_is_not_there_is_missed() -> None:
    view = View(vms=["web", "nosuch", "a*"])
    assert view.select(snapshot(["web", "abc"])).missing == ("--vm=nosuch",)
    assert view.select(snapshot(["web"])).missing == ("--vm=nosuch", "--vm=a*")
    assert view.select(snapshot([])).missing == ()


def test_a_device_of_a_family_without_values_is_null_and_not_missed() -> None:
    chosen = View(storedev=["sda"], verbose=True).select(with_table(snapshot(["a"]), "device", None))
    assert one(chosen.host, "disk_device_reads") is None
    assert one(chosen.host, "disk_device_count") is None
    assert chosen.missing == ()


DEVICES = Table(
    ["sda", "sdb", "loop0"],
    {
        "disk_device_type": ["disk", "disk", "loop"],
        "disk_device_reads": [10.0, 30.0, 1000.0],
        "disk_device_writes": [10.0, 0.0, 1000.0],
        "disk_device_ioutil": [20.0, 50.0, 100.0],
        "disk_device_queuelen": [0.5, 1.5, 9.0],
        "disk_device_currentops": [1, 2, 100],
    },
)


def test_figures_of_disks_add_up_and_times_are_per_request() -> None:
    host = {name: column[0] for name, column in totals.host_devices(DEVICES).items()}
    assert (host["disk_device_reads"], host["disk_device_writes"], host["disk_device_currentops"]) == (40.0, 10.0, 3)
    assert (host["disk_device_ioutil"], host["disk_device_queuelen"], host["disk_device_count"]) == (50.0, 2.0, 2)
    assert host["disk_device_await"] == pytest.approx(2.0 * 1000 / 50)
    assert host["disk_device_servicetime"] == pytest.approx((200 + 500) / 50)
    assert host["disk_device_mbread"] is None


def test_times_per_request_are_null_without_requests() -> None:
    idle = {name: [0.0] for name in DEVICES.columns if name != "disk_device_type"}
    host = totals.host_devices(Table(["sda"], idle), ["sda"])
    assert (host["disk_device_await"], host["disk_device_servicetime"]) == ([None], [None])
    assert host["disk_device_reads"] == [0.0]


def test_a_disk_without_rates_yet_does_not_blank_the_host() -> None:
    columns = {name: [*column[:2], None] for name, column in DEVICES.columns.items()}
    host = totals.host_devices(Table(["sda", "sdb", "sdc"], columns), ["sda", "sdb", "sdc"])
    assert host["disk_device_reads"] == [40.0]
    assert host["disk_device_await"] == [40.0]


def test_no_device_at_all_is_null() -> None:
    assert totals.host_devices(EMPTY)["disk_device_reads"] == [None]
    assert totals.host_devices(EMPTY)["disk_device_count"] == [None]
    assert all(column == [None] for column in totals.host_interfaces(EMPTY).values())


def test_physical_interfaces_add_up() -> None:
    table = Table(
        ["eth0", "eth1", "vmbr0"],
        {
            "net_host_type": ["physical", "physical", "bridge"],
            "net_host_receivedBytes": [1.0, 2.0, 3.0],
            "net_host_speed": [1000, None, 10000],
        },
    )
    host = totals.host_interfaces(table)
    assert host["net_host_receivedBytes"] == [3.0]
    assert host["net_host_speed"] == [1000]
    assert totals.host_interfaces(table, ["vmbr0"])["net_host_speed"] == [10000]
