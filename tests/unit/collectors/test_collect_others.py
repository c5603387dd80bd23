"""Memory, disks, network, I/O, pressure and host: which number comes from where."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from errno import EACCES
from pathlib import Path

import pytest
from fixture_hosts import DB, WEB, Host, web

from proxtop.catalog.net import RX, TX
from proxtop.collectors import disk, io, mem, net, psi
from proxtop.collectors import host as host_collector
from proxtop.kernel.errors import FileError
from proxtop.kernel.files import File, Files
from proxtop.kernel.pid_stat import parse_start
from proxtop.model import VM, Columns, Disk, Inventory, Nic, Statistics, Table

GUEST: Columns = {"actual_kb": [100], "available_kb": [90], "unused_kb": [50], "swap_in_kb": [3]}


def rows(table: Table, *names: str) -> dict[str, tuple[object, ...]]:
    return dict(zip(table.ids, zip(*(table.columns[name] for name in names), strict=True), strict=True))


def test_meminfo_keeps_its_keys_and_passes_new_ones_through(small: Host, inventory: Inventory) -> None:
    columns = mem.sample(inventory, {}, small.files).tables["host"].columns
    assert (columns["ram_Total"], columns["ram_ActiveAnon"], columns["ram_HugePagesTotal"]) == (
        [65536000],
        [5000000],
        [16],
    )
    assert (columns["ram_NewThingFile"], columns["ram_Zswap"]) == ([7], [None])


def test_memory_of_the_process(small: Host, inventory: Inventory) -> None:
    vms = mem.sample(inventory, {}, small.files).tables["vm"]
    assert rows(vms, "total_kb", "vsize_kb", "rss_kb", "swap_kb", "minflt", "cminflt", "majflt", "cmajflt")[WEB] == (
        *(2097152, 2097152, 1048000, 2048),
        *(5, 1, 2, 0),
    )


def test_a_meminfo_that_is_not_the_kernels_own_does_not_tell_that_no_vm_is_swapped(
    small: Host, inventory: Inventory
) -> None:
    """lxcfs puts a container's figures there, and may leave swap out of them."""
    boot_id = small.proc / "sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_bytes(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    meminfo = small.proc / "meminfo"
    lines = meminfo.read_text().splitlines()
    meminfo.write_text("\n".join(f"{line.partition(':')[0]}: 0 kB" if "Swap" in line else line for line in lines))
    files = Files(str(small.proc), str(small.sys))
    assert files.here
    vms = mem.sample(inventory, {}, files).tables["vm"]
    assert rows(vms, "rss_kb", "swap_kb")[WEB] == (1048000, 2048)
    files.close()


def test_guest_statistics_join_by_uuid_until_they_are_two_refreshes_old(small: Host, inventory: Inventory) -> None:
    balloon = Statistics("balloon", Table([WEB], GUEST, [990.0]), 5.0, reason="db does not answer")
    sample = mem.sample(inventory, {"balloon": balloon}, small.files)
    names = ("actual_kb", "available_kb", "unused_kb", "usable_kb", "swap_in_kb", "balloon_at")
    assert rows(sample.tables["vm"], *names) == {WEB: (100, 90, 50, None, 3, 990.0), DB: (None,) * 6}
    assert (sample.refresh, sample.reason) == (5.0, "mem: db does not answer")
    small.now += 0.1
    sample = mem.sample(inventory, {"balloon": balloon}, small.files)
    assert rows(sample.tables["vm"], *names)[WEB] == (None,) * 6


def test_devices_are_whole_and_in_use(small: Host, inventory: Inventory) -> None:
    devices = disk.sample(inventory, {}, small.files).tables["device"]
    assert devices.ids == ["sda", "loop1", "sr0"]
    assert rows(devices, "reads", "ms_io", "ms_weighted", "in_flight")["sda"] == (1000, 900, 1100, 3)


STORAGE = {
    "sda": ("sda", "disk"),
    "sdb": ("sdb", "disk"),
    "nvme0n1": ("nvme0n1", "disk"),
    "nvme0c0n1": ("nvme0c0n1", "other"),
    "dm-0": ("pve/vm-101-disk-0", "lvm"),
    "dm-1": ("my-vg/data", "lvm"),
    "dm-2": ("mpatha", "multipath"),
    "dm-3": ("cryptroot", "dm"),
    "md127": ("md127", "md"),
    "zd0": ("zd0", "zvol"),
    "rbd0": ("rbd0", "rbd"),
    "loop1": ("loop1", "loop"),
    "zram1": ("zram1", "other"),
    "sr0": ("sr0", "other"),
    "cciss/c0d0": ("cciss/c0d0", "other"),
}


def test_devices_have_friendly_names_and_types(host: Callable[[str], Host], inventory: Inventory) -> None:
    assert rows(disk.sample(inventory, {}, host("storage").files).tables["device"], "name", "type") == STORAGE


def test_without_sys_partitions_and_types_are_told_by_name(host: Callable[[str], Host], inventory: Inventory) -> None:
    storage = host("storage")
    shutil.rmtree(storage.sys)
    unnamed = {f"dm-{number}": (f"dm-{number}", "dm") for number in range(4)}
    devices = disk.sample(inventory, {}, storage.files).tables["device"]
    assert rows(devices, "name", "type") == {**STORAGE, **unnamed}


def test_a_volume_that_was_renamed_gets_its_new_name_in_time(host: Callable[[str], Host], inventory: Inventory) -> None:
    storage = host("storage")
    disk.sample(inventory, {}, storage.files)
    (storage.sys / "block/dm-0/dm/name").write_text("pve-vm--102--disk--0\n")
    for _ in range(30):
        storage.now += 1.5
        devices = disk.sample(inventory, {}, storage.files).tables["device"]
    assert rows(devices, "name")["dm-0"] == ("pve/vm-102-disk-0",)


def test_virtual_disks_are_the_connectors_with_their_own_time(small: Host, inventory: Inventory) -> None:
    table = Table([f"{WEB}/vda", f"{WEB}/hotplugged", "gone/vda"], {"rd_reqs": [1, 2, 3]}, [9.0, 8.0, 7.0])
    sample = disk.sample(inventory, {"block": Statistics("block", table, 2.0)}, small.files)
    disks = sample.tables["disk"]
    gen = 5000 << 22 | 1201
    assert rows(disks, "gen", "rd_reqs", "wr_reqs", "source", "device") == {
        f"{WEB}/vda": (gen, 1, None, "/dev/pve/vm-101", "dm-0"),
        f"{WEB}/hotplugged": (gen, 2, None, None, None),
    }
    assert (disks.at, sample.refresh, sample.reason) == ([9.0, 8.0], 2.0, None)


def test_what_an_image_takes_is_looked_up_where_the_connector_does_not_tell(small: Host, tmp_path: Path) -> None:
    sparse, full = tmp_path / "sparse.raw", tmp_path / "full.raw"
    sparse.touch()
    os.truncate(sparse, 1 << 20)
    full.write_bytes(b"x" * 10_000)
    names = {"vda": str(sparse), "vdb": str(full), "vdc": str(tmp_path / "gone"), "vdd": None}
    disks = tuple(Disk(name, path, None, path) for name, path in names.items())
    vms = (dataclasses.replace(web(), disks=disks),)
    told: Columns = {"allocation": [None, 4096, 8192, None], "physical": [None, None, 7, 8]}
    block = Statistics("block", Table([f"{WEB}/{name}" for name in names], told, [9.0] * 4), 2.0)

    def sizes() -> list[tuple[object, ...]]:
        sample = disk.sample(Inventory("libvirt", vms), {"block": block}, small.files)
        return list(rows(sample.tables["disk"], "allocation", "physical").values())

    assert sizes() == [(0, 1 << 20), (4096, 10_000), (8192, 7), (None, 8)]
    with open(sparse, "r+b") as file:
        file.write(b"x" * 8192)
        os.fsync(file.fileno())
    small.now += 6.0
    assert sizes()[0] == (sparse.stat().st_blocks * 512, 1 << 20)
    assert told == {"allocation": [None, 4096, 8192, None], "physical": [None, None, 7, 8]}


@pytest.mark.parametrize(("setting", "ticks"), [("1\n", 42), ("0\n", None), (None, 42)])
def test_the_wait_for_block_io_is_null_where_it_is_not_accounted(
    setting: str | None, ticks: int | None, small: Host, inventory: Inventory
) -> None:
    path = small.proc / "sys/kernel/task_delayacct"
    path.unlink() if setting is None else path.write_text(setting)
    assert disk.sample(inventory, {}, small.files).tables["vm"].columns["blkio_ticks"] == [ticks, ticks]


def test_a_wait_of_zero_is_not_known_to_be_one(small: Host, inventory: Inventory) -> None:
    path = small.proc / "1201/stat"
    path.write_text(path.read_text().replace(" 42 ", " 0 "))
    assert rows(disk.sample(inventory, {}, small.files).tables["vm"], "blkio_ticks")[WEB] == (None,)


def test_interfaces_have_types_and_speeds(small: Host, inventory: Inventory) -> None:
    interfaces = net.sample(inventory, {}, small.files).tables["interface"]
    assert rows(interfaces, "type", "speed", "rx_bytes", "tx_compressed") == {
        "lo": ("loopback", None, 4243, 0),
        "eno1": ("physical", 10000, 9000000, 16),
        "vmbr0": ("bridge", 10000, 7000000, 0),
        "tap101i0": ("tap", None, 111, 28),
        "macvtap0": ("virtual", None, 1000, 0),
    }


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ({"bonding/mode": "802.3ad 4\n"}, "bond"),
        ({"uevent": "DEVTYPE=vlan\n", "iflink": "2\n"}, "vlan"),
        ({"uevent": "DEVTYPE=vxlan\n"}, "virtual"),
        ({"iflink": "5\n"}, "veth"),
        ({"iflink": "0\n"}, "virtual"),
        ({"type": "512\n", "iflink": "5\n"}, "virtual"),
    ],
)
def test_kinds_of_interfaces(entries: dict[str, str], kind: str, small: Host, inventory: Inventory) -> None:
    lo = small.sys / "class/net/lo"
    for name, text in {"type": "1\n", **entries}.items():
        (lo / name).parent.mkdir(exist_ok=True)
        (lo / name).write_text(text)
    assert rows(net.sample(inventory, {}, small.files).tables["interface"], "type")["lo"] == (kind,)


def test_a_speed_that_changed_is_seen_in_time(small: Host, inventory: Inventory) -> None:
    net.sample(inventory, {}, small.files)
    (small.sys / "class/net/eno1/speed").write_text("1000\n")
    assert rows(net.sample(inventory, {}, small.files).tables["interface"], "speed")["eno1"] == (10000,)
    for _ in range(30):
        small.now += 2.0
        interfaces = net.sample(inventory, {}, small.files).tables["interface"]
    assert rows(interfaces, "speed")["eno1"] == (1000,)


@pytest.mark.parametrize("text", ["-1\n", "4294967295\n", "", "x"])
def test_a_speed_that_is_not_known_is_null(text: str, small: Host, inventory: Inventory) -> None:
    (small.sys / "class/net/eno1/speed").write_text(text)
    assert rows(net.sample(inventory, {}, small.files).tables["interface"], "speed")["eno1"] == (None,)


def test_a_taps_directions_are_swapped_and_a_macvtaps_are_not(small: Host, inventory: Inventory) -> None:
    nics = net.sample(inventory, {}, small.files).tables["nic"]
    tap, macvtap = f"{WEB}/tap101i0", f"{DB}/macvtap0"
    assert nics.ids == [macvtap, tap]
    rx = [f"rx_{field}" for field in RX]
    tx = [f"tx_{field}" for field in TX]
    assert rows(nics, *rx)[tap] == (21, 22, 23, 24, 25, None, 28, None)
    assert rows(nics, *tx)[tap] == (111, 12, 13, 14, 15, None, None, 17)
    assert rows(nics, "rx_bytes", "rx_multicast", "tx_bytes")[macvtap] == (1000, 3, 2000)
    assert rows(nics, "gen", "mac") == {tap: (7, "52:54:00:00:00:01"), macvtap: (9, "52:54:00:00:00:02")}


def test_an_interface_made_anew_has_another_gen(small: Host, inventory: Inventory) -> None:
    before = net.sample(inventory, {}, small.files).tables["nic"]
    assert rows(before, "gen")[f"{WEB}/tap101i0"] == (7,)
    (small.sys / "class/net/tap101i0/ifindex").write_text("70\n")
    path = small.proc / "1/net/dev"
    lines = path.read_text().splitlines(keepends=True)
    (made_anew,) = (line for line in lines if "tap101i0" in line)
    lines.remove(made_anew)
    path.write_text("".join([*lines, made_anew]))  # where the kernel puts what comes new
    assert rows(net.sample(inventory, {}, small.files).tables["nic"], "gen")[f"{WEB}/tap101i0"] == (70,)


def test_the_last_interface_made_anew_has_another_gen_though_it_stays_the_last(
    small: Host, inventory: Inventory
) -> None:
    net.sample(inventory, {}, small.files)
    (small.sys / "class/net/macvtap0/ifindex").write_text("90\n")
    assert rows(net.sample(inventory, {}, small.files).tables["nic"], "gen")[f"{DB}/macvtap0"] == (90,)


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.8.12-4-pve", None])
def test_one_made_anew_in_the_middle_has_another_gen_on_kernels_that_list_interfaces_by_hash(
    release: str | None, small: Host, inventory: Inventory
) -> None:
    if release is not None:
        path = small.proc / "sys/kernel/osrelease"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{release}\n")
    for _ in range(3):
        net.sample(inventory, {}, small.files)
    (small.sys / "class/net/tap101i0/ifindex").write_text("70\n")
    assert rows(net.sample(inventory, {}, small.files).tables["nic"], "gen")[f"{WEB}/tap101i0"] == (70,)


def test_interfaces_that_come_and_go_leave_no_files_behind(small: Host, inventory: Inventory) -> None:
    path, text = small.proc / "1/net/dev", (small.proc / "1/net/dev").read_text()
    known = []
    for number in range(5):
        path.write_text(f"{text}veth{number}: {' '.join(['0'] * 16)}\n")
        net.sample(inventory, {}, small.files)
        known.append(len(small.files._files))
    assert known[1:] == [known[1]] * 4


def test_counters_of_nics_are_read_each_time(small: Host, inventory: Inventory) -> None:
    net.sample(inventory, {}, small.files)
    path = small.proc / "1/net/dev"
    path.write_text(path.read_text().replace(" 111 ", " 333 "))
    assert rows(net.sample(inventory, {}, small.files).tables["nic"], "tx_bytes")[f"{WEB}/tap101i0"] == (333,)


def test_a_tap_in_another_network_namespace_is_read_there(small: Host) -> None:
    vm = dataclasses.replace(web(), nics=(Nic("tap101i0", None, True, netns=1201),))
    inventory = Inventory("qemu", (vm,))
    assert net.sample(inventory, {}, small.files).tables["nic"].ids == []
    (small.proc / "1201/net").mkdir()
    text = (small.proc / "1/net/dev").read_text().replace(" 111 ", " 555 ")
    (small.proc / "1201/net/dev").write_text(text)
    nics = net.sample(inventory, {}, small.files).tables["nic"]
    assert rows(nics, "gen", "tx_bytes") == {f"{WEB}/tap101i0": (None, 555)}


def test_another_hosts_own_table_is_never_that_of_the_reader(small: Host, inventory: Inventory) -> None:
    shutil.copytree(small.proc / "1", small.proc / "self")
    shutil.rmtree(small.proc / "1")
    sample = net.sample(inventory, {}, small.files)
    assert sample.tables["interface"].ids == sample.tables["nic"].ids == []
    assert sample.reason is not None and sample.reason.endswith("/1/net/dev: not there")


def test_a_remote_hosts_nics_are_the_connectors(remote: Inventory) -> None:
    table = Table([f"{WEB}/vnet0"], {"rx_bytes": [5], "tx_bytes": [6]}, [3.0])
    files = Files()
    sample = net.sample(remote, {"interface": Statistics("interface", table, 4.0)}, files)
    nics = sample.tables["nic"]
    assert rows(nics, "rx_bytes", "tx_bytes", "rx_frame", "mac", "gen") == {f"{WEB}/vnet0": (5, 6, None, "aa", None)}
    assert (nics.at, sample.refresh) == ([3.0], 4.0)
    files.close()


def test_io_of_the_process(small: Host, inventory: Inventory) -> None:
    sample = io.sample(inventory, {}, small.files)
    assert rows(sample.tables["vm"], "gen", "rchar", "write_bytes")[DB] == (6000 << 22 | 1302, 21, 26)
    assert sample.reason is None


def test_io_without_privilege_is_null_and_says_what_it_needs(
    small: Host, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = File.read

    def denied(self: File) -> bytes | None:
        if self.path == "io":
            raise FileError("/proc/1/io", EACCES)
        return read(self)

    monkeypatch.setattr(File, "read", denied)
    sample = io.sample(inventory, {}, small.files)
    assert sample.tables["vm"].ids == [DB, WEB]
    assert sample.tables["vm"].columns["rchar"] == [None, None]
    assert sample.reason == "io: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (run as root)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_io_of_another_users_process_is_really_denied() -> None:
    start = parse_start(Path("/proc/self/stat").read_bytes())
    inventory = Inventory("qemu", (VM(WEB, "web", os.getpid(), start),))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        sample = io.sample(inventory, {}, Files())
        os.write(writer, repr((sample.reason, sample.tables["vm"].columns["rchar"])).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 1000).decode() == repr(
        ("io: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (run as root)", [None])
    )
    os.close(reader)


def test_pressure_of_the_host_and_of_a_vms_cgroup(small: Host, inventory: Inventory) -> None:
    sample = psi.sample(inventory, {}, small.files)
    host = sample.tables["host"].columns
    assert (host["psi_some_cpu_avg60"], host["psi_full_io_avg10"], host["psi_full_irq_avg10"]) == ([1.0], [1.5], [0.3])
    assert (host["psi_some_mem_us"], host["psi_full_irq_us"]) == ([1000], [77])
    vms = rows(sample.tables["vm"], "psi_some_cpu_avg10", "psi_full_mem_us", "psi_full_irq_us")
    assert vms == {WEB: (4.0, 111, None), DB: (None, None, None)}
    assert sample.reason is None


def test_a_host_without_pressure_says_so(host: Callable[[str], Host], inventory: Inventory) -> None:
    sample = psi.sample(inventory, {}, host("old-kernel").files)
    assert sample.reason == "psi: PSI is off on this host (kernel 4.20+, psi=1)"


def test_hybrid_pressure_is_v2s(host: Callable[[str], Host]) -> None:
    vm = VM(WEB, "web", 1201, 5000, cgroup="/qemu.slice/101.scope")
    vms = psi.sample(Inventory("proxmox", (vm,)), {}, host("cgroup-hybrid").files).tables["vm"]
    assert rows(vms, "psi_some_cpu_us", "psi_some_io_us") == {WEB: (555, None)}


def test_cgroup_v1_has_no_pressure_of_vms(host: Callable[[str], Host]) -> None:
    tree = host("cgroup-v1")
    (tree.proc / "pressure").mkdir()
    (tree.proc / "pressure/cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
    vm = VM(WEB, "web", 1201, 5000, cgroup=r"/machine.slice/machine-qemu\x2d1\x2dweb.scope")
    sample = psi.sample(Inventory("libvirt", (vm,)), {}, tree.files)
    assert sample.tables["vm"].columns["psi_some_cpu_us"] == [None]
    assert sample.reason is not None and "cgroup v2" in sample.reason


def test_the_host_has_a_name_and_root_sees_its_uuid(small: Host, inventory: Inventory) -> None:
    table = host_collector.sample(inventory, {}, small.files).tables["host"]
    assert rows(table, "host_name", "host_uuid") == {"hv1": ("hv1", "4c4c4544-0042-3510-8047-b6c04f4b5a32")}


def test_a_uuid_that_may_not_be_read_is_null(
    small: Host, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Files, name: str) -> bytes | None:
        raise FileError(name, EACCES)

    monkeypatch.setattr(Files, "sys", denied)
    sample = host_collector.sample(inventory, {}, small.files)
    assert (sample.tables["host"].columns["host_uuid"], sample.reason) == ([None], None)
