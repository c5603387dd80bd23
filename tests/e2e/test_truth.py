"""What proxtop prints is true: its figures against readings of our own over the very same time, on real guests.

A figure is the mean over CYCLES cycles of one second, each weighted by its span; what it is held against is taken
between the scheduled instants of the same cycles. The machine may be loaded by others: so a busy guest need not get a
whole core, but proxtop has to say what it got.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import reference
from tests.e2e.reference import Recorder
from tests.e2e.running import Line, Proxtop, run
from tests.lab import Guest, Lab, Spec
from tests.lab.host import BRIDGE, wait_for
from tests.lab.scenes import READ_RATE, SEND_RATE, WRITE_RATE, BareScene, LibvirtScene, ProxmoxScene

CYCLES = 10
FAMILIES = ("--cpu", "--mem", "--disk", "--net", "--io", "--pressure", "--host")
MB = 1 << 20
MB_APART = 0.03
"""Closer than 10^6 is to 2^20."""
SETTLED = 2
"""Lines until QMP's figures come in steps of two seconds: of a shorter one, shown again until the next, a single
request of ten would weigh too much."""
NS_TO_PERCENT = 1e-7
STEP_S = 0.06
"""A little more than the recorder's step, over which it smears a burst."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A run of proxtop with all collectors, and what was counted beside it. `lines` are without the first."""

    options: tuple[str, ...]
    env: Mapping[str, str]
    first: dict[str, Any]
    lines: list[dict[str, Any]]
    recorder: Recorder
    block: Mapping[str, float]
    """Rates that QEMU itself tells, from just before the run to just after."""

    @property
    def begin(self) -> float:
        """The first line's instant: there the spans of the others begin."""
        return float(self.first["cycle"]) / 1000

    @property
    def end(self) -> float:
        """The last line's instant."""
        return float(self.lines[-1]["cycle"]) / 1000

    def vms(self, guest: Guest, lines: Sequence[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """The guest's object of each line."""
        return [domain(line, guest) for line in (self.lines if lines is None else lines)]

    def mean(self, guest: Guest, metric: str, skip: int = 0) -> float:
        """Weighted by the spans; fails where one is not known. `skip` leaves out lines at the beginning."""
        values = [vm[metric] for vm in self.vms(guest)]
        why = [{key: line.get(key) for key in ("stale", "degraded", "reason")} for line in self.lines]
        assert None not in values, f"{metric} of {guest!r}: {values}; {why}"
        return self.weighted([float(value) for value in values[skip:]])

    def host(self, metric: str) -> float:
        """The same of a figure of the host."""
        return self.weighted([float(line["host"][metric]) for line in self.lines])

    def part(self, array: str, key: str, name: str, metric: str) -> float:
        """The same of one of the host's devices or interfaces."""
        rows = [next(row for row in line["host"][array] if row[key] == name) for line in self.lines]
        return self.weighted([float(row[metric]) for row in rows])

    def weighted(self, values: Sequence[float]) -> float:
        """The mean of one value a line, the last lines' if there are fewer, by the lines' spans."""
        spans = [float(line["span"]) for line in self.lines[-len(values) :]]
        return sum(value * span for value, span in zip(values, spans, strict=True)) / sum(spans)

    def counted(self, guest: Guest, key: str) -> float:
        """What we counted of the guest, a second, over the same time."""
        return self.recorder.rate(f"{guest.name}.{key}", self.begin, self.end)

    def bounds(self, key: str, apart: float = 0.02, least: float = 0) -> tuple[float, float]:
        """Between which rates a second that counter's is, for what comes in bursts: a reading was at some time from the
        cycle's scheduled instant to its line's, and has or has not the burst of either end. Figures of the host have
        no guest's name before them."""
        begin, begin_late, end, end_late = (
            self.recorder.at(key, at)
            for line in (self.first, self.lines[-1])
            for at in (line["cycle"] / 1000 - STEP_S, line["time"] + STEP_S)
        )
        seconds = sum(line["span"] for line in self.lines)
        low, high = (end - begin_late) / seconds, (end_late - begin) / seconds
        return low * (1 - apart) - least, high * (1 + apart) + least

    def vcpu_percent(self, guest: Guest, key: str) -> float:
        """`run` or `wait` of the guest's vCPUs: the mean over them."""
        return self.counted(guest, key) * NS_TO_PERCENT / guest.spec.vcpus


def domain(line: Mapping[str, Any], guest: Guest) -> dict[str, Any]:
    """A guest's object in a line, by its UUID."""
    found = [vm for vm in line["domains"] if vm["UUID"] == guest.uuid]
    assert len(found) == 1, f"{guest!r} is there {len(found)} times in {line}"
    assert isinstance(found[0], dict)
    return found[0]


def watch(
    guests: Sequence[Guest],
    *options: str,
    env: Mapping[str, str] | None = None,
    block: Sequence[Guest] = (),
    cycles: int = CYCLES,
    interval: str = "1",
    start: Callable[..., Proxtop] = Proxtop,
) -> Watch:
    """Runs proxtop for that many cycles after the first line, and counts meanwhile."""

    def blocks() -> tuple[float, dict[str, float]]:
        begin = time.monotonic()
        counted = {key: value for guest in block for key, value in reference.block_counters(guest).items()}
        return (begin + time.monotonic()) / 2, counted

    readers = [reference.host_counters, *(reference.guest_counters(guest) for guest in guests)]
    arguments = ("-p", "json", "-f", interval, "--verbose", *FAMILIES, *options)
    with Recorder(readers) as recorder:
        before = blocks()
        with start(*arguments, env=env) as proxtop:
            first, *lines = [line.data for line in proxtop.lines(cycles + 1)]
            after = blocks()
            wait_for("the recording of the last line", lambda: time.time() > lines[-1]["time"] + 0.1, 5)
    assert "private fleet" in proxtop.stderr
    assert [line["domains"] for line in lines if not line["domains"]] == []
    return Watch(options, env or {}, first, lines, recorder, reference.rates(before, after))


# -- bare QEMU: no statistics of the monitor, but the process, the threads and the tap


@pytest.fixture(scope="module")
def bare(bare_guests: BareScene) -> Watch:
    """plain has a busy vCPU of two, and writes and sends as it does from its boot on."""
    plain = bare_guests.plain
    with plain.loaded("busy:1", plain.spec.disk_load, plain.spec.net_load):
        wait_busy(plain, 1)
        return watch(bare_guests, "--qemu")


def wait_busy(guest: Guest, vcpus: int) -> None:
    """Until its first vCPUs are never asleep: each runs, or waits for a core that others have."""

    def busy() -> bool:
        with Recorder([reference.guest_counters(guest)]) as recorder:
            began = time.time()
            wait_for("a while", lambda: time.time() - began > 0.3, 5)
            end = began + 0.25
        ready = [
            recorder.rate(f"{guest.name}.run{vcpu}", began, end) + recorder.rate(f"{guest.name}.wait{vcpu}", began, end)
            for vcpu in range(vcpus)
        ]
        return min(ready) * NS_TO_PERCENT > 80

    wait_for(f"{guest!r} to be busy", busy, 20)


def test_a_busy_vcpu_of_two_is_half_of_a_bare_guest(bare: Watch, bare_guests: BareScene) -> None:
    assert_half_busy(bare, bare_guests.plain)


def assert_half_busy(seen: Watch, guest: Guest) -> None:
    """vCPU 0 is never asleep, vCPU 1 nearly always."""
    run, wait = (seen.counted(guest, f"{key}0") * NS_TO_PERCENT for key in ("run", "wait"))
    assert run + wait > 90 and run > 25, f"the guest is not busy, or gets nothing: {run}, {wait}"
    assert seen.counted(guest, "run1") * NS_TO_PERCENT < 25
    assert seen.mean(guest, "cpu_total") == pytest.approx(seen.vcpu_percent(guest, "run"), abs=2)
    assert seen.mean(guest, "cpu_steal") == pytest.approx(seen.vcpu_percent(guest, "wait"), abs=2)
    own = [vcpu for vm in seen.vms(guest) for vcpu in vm["vcpus"] if vcpu["vcpu"] == 0]
    assert seen.weighted([vcpu["vcpu_total"] for vcpu in own]) == pytest.approx(run, abs=2)
    assert {vm["cpu_cores"] for vm in seen.vms(guest)} == {2}


def test_what_a_bare_guest_sends_is_transmitted(bare: Watch, bare_guests: BareScene) -> None:
    assert_sends(bare, bare_guests.plain)
    assert bare.mean(bare_guests.daemon, "net_transmittedBytes") < SEND_RATE / 20


def assert_sends(seen: Watch, guest: Guest) -> None:
    sent = seen.counted(guest, "sent")
    assert sent == pytest.approx(SEND_RATE, rel=0.1), "the load is not what it should be"
    assert seen.mean(guest, "net_transmittedBytes") == pytest.approx(sent, rel=0.05)
    assert seen.mean(guest, "net_transmittedPackets") == pytest.approx(seen.counted(guest, "sent_packets"), rel=0.05)
    assert seen.counted(guest, "received") < SEND_RATE / 20
    assert seen.mean(guest, "net_receivedBytes") == pytest.approx(seen.counted(guest, "received"), abs=SEND_RATE / 100)
    nics = [nic for vm in seen.vms(guest) for nic in vm["nics"]]
    assert {nic["nic"] for nic in nics} == {guest.tap}
    assert seen.weighted([nic["net_transmittedBytes"] for nic in nics]) == pytest.approx(sent, rel=0.05)


def test_process_io_of_a_bare_guest(bare: Watch, bare_guests: BareScene) -> None:
    assert_process_io(bare, bare_guests.plain)


def assert_process_io(seen: Watch, guest: Guest) -> None:
    """O_DIRECT: what the guest writes is what the process writes to the device."""
    assert seen.counted(guest, "write_bytes") == pytest.approx(WRITE_RATE, rel=0.15), (
        "the load is not what it should be"
    )
    for metric, key in (("io_MBWR/s", "write_bytes"), ("io_MBRD/s", "read_bytes")):
        assert seen.mean(guest, metric) * MB == pytest.approx(seen.counted(guest, key), rel=MB_APART, abs=1000)
    # whoever asks a QEMU makes it write to eventfds of its own, in bursts at the cycle
    for metric, key in (("io_WROPS", "syscw"), ("io_RDOPS", "syscr")):
        low, high = seen.bounds(f"{guest.name}.{key}")
        assert 10 < low <= seen.mean(guest, metric) <= high, metric


def test_what_nobody_tells_of_a_bare_guest_is_unknown(bare: Watch, bare_guests: BareScene) -> None:
    for vm in bare.vms(bare_guests.plain, [bare.first, *bare.lines]):
        assert {vm["disk_writes"], vm["disk_mbwrite"], vm["disk_ioutil"], vm["disk_lat_wr"], vm["ram_used"]} == {None}


def test_memory_of_a_bare_guest(bare: Watch, bare_guests: BareScene) -> None:
    assert_memory(bare, bare_guests.plain)


def assert_memory(seen: Watch, guest: Guest) -> None:
    """A TCG guest's process holds more than the guest has; it still grows a little while the guest lives."""
    vm = seen.vms(guest)[-1]
    assert vm["ram_total"] == guest.spec.memory_mib * 1024
    assert vm["ram_rss"] == pytest.approx(reference.keyed(reference.PROC / f"{guest.pid}/status")["VmRSS"], rel=0.03)
    assert vm["ram_swap"] == reference.keyed(reference.PROC / f"{guest.pid}/status")["VmSwap"]


def test_steal_when_three_busy_vcpus_share_two_cores(bare_guests: BareScene) -> None:
    plain, daemon = bare_guests
    with plain.loaded("busy:2"), daemon.loaded("busy:1"):
        wait_busy(plain, 2)
        wait_busy(daemon, 1)
        seen = watch(bare_guests, "--qemu", cycles=8, interval="0.5")
    for guest in bare_guests:
        run, wait = seen.vcpu_percent(guest, "run"), seen.vcpu_percent(guest, "wait")
        assert run + wait > 90, f"{guest!r} is not busy"
        assert seen.mean(guest, "cpu_steal") == pytest.approx(wait, abs=2)
        assert seen.mean(guest, "cpu_total") == pytest.approx(run, abs=2)
    # three cannot have more than two cores
    stolen = sum(seen.mean(guest, "cpu_steal") * guest.spec.vcpus for guest in bare_guests)
    assert stolen > 90


def test_threads_that_live_shorter_than_a_cycle_count_as_overhead(lab: Lab) -> None:
    """Each migration (to nowhere) is the work of a thread that begins and ends within a cycle."""
    (guest,) = lab.boot_bare([Spec("mover", vcpus=1, disk_mib=0, nic=False, daemonize=True, qmp=True)])
    done = threading.Event()
    moved = 0

    def migrations() -> None:
        nonlocal moved
        while not done.is_set():
            guest.qmp("migrate", uri="exec:cat > /dev/null")
            wait_for("the migration", lambda: guest.qmp("query-migrate")["status"] == "completed", 20)
            guest.qmp("cont")
            moved += 1

    mover = threading.Thread(target=migrations)
    mover.start()
    try:
        seen = watch([guest], "--qemu", "--vm", guest.uuid, cycles=5, interval="1")
    finally:
        done.set()
        mover.join(30)
        guest.stop()
    assert moved >= 3
    other = (seen.counted(guest, "process") - seen.counted(guest, "run")) * NS_TO_PERCENT
    lasting = seen.counted(guest, "living") * NS_TO_PERCENT
    assert other > 3 and other > 1.5 * lasting, f"{other}, of it {lasting} by threads that are still there"
    assert seen.mean(guest, "cpu_other_total") == pytest.approx(other, rel=0.1, abs=0.5)


def first_line(*options: str, env: Mapping[str, str] | None = None) -> Line:
    """The one line of --runs=1."""
    status, lines, stderr = run(("--runs=1", "-p", "json", "--verbose", *options), env=env, ahead=True)
    assert (status, len(lines)) == (0, 1), stderr
    return lines[0]


def assert_first(line: Line, sender: Guest, busy: Guest) -> None:
    data = line.data
    assert line.after_s < 1.5
    assert data["span"] >= 0.25
    assert domain(data, busy)["cpu_total"] > 3
    vm = domain(data, sender)
    assert vm["cpu_total"] > 0.5
    # A guest that did not get a core sends what it owes in a burst: so near the setting it can be said, no nearer.
    assert SEND_RATE / 3 < vm["net_transmittedBytes"] < SEND_RATE * 3
    assert vm["io_MBWR/s"] * MB == pytest.approx(WRITE_RATE, rel=0.6)
    assert data["host"]["cpu_user"] > 10 and data["host"]["cpu_idle"] < 90
    assert vm["ram_rss"] > 30_000


def assert_soon(check: Callable[[], None]) -> None:
    """Others load this machine too: the best of three tries."""
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            return check()
    return check()


def test_the_first_line_of_bare_qemu_is_early_and_true(bare_guests: BareScene) -> None:
    plain = bare_guests.plain
    with plain.loaded("busy:1", plain.spec.disk_load, plain.spec.net_load):
        wait_busy(plain, 1)
        assert_soon(lambda: assert_first(first_line("--qemu"), plain, plain))


@pytest.mark.slow
def test_a_hundred_cycles_none_skipped_none_doubled(bare_guests: BareScene) -> None:
    """The grid is strict. Spans: the median within 1 % of the interval and nine of ten within 5 %; all of them would be
    too much to ask where others use the same two cores."""
    with Proxtop("-f", "0.2", "-p", "json", "--qemu", ahead=True) as proxtop:
        first, *lines = [line.data for line in proxtop.lines(101)]
    cycles = [line["cycle"] for line in lines]
    assert cycles[0] % 200 == 0 and cycles == list(range(cycles[0], cycles[0] + 100 * 200, 200))
    assert 100 <= cycles[0] - first["cycle"] <= 300
    spans = [line["span"] for line in lines[1:]]
    assert statistics.median(spans) == pytest.approx(0.2, rel=0.01)
    assert sum(abs(span / 0.2 - 1) <= 0.05 for span in spans) >= 0.9 * len(spans), sorted(spans)
    # the spans are the time that passed, not the interval by definition: their sum has no drift
    assert sum(spans) == pytest.approx(99 * 0.2, rel=0.01)
    # and a line comes when its cycle is, before the next
    assert statistics.median(line["time"] - line["cycle"] / 1000 for line in lines) < 0.1
    assert len({domain(line, bare_guests.plain)["cpu_total"] for line in lines}) > 20


# -- the host


def test_host_cpu(bare: Watch) -> None:
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    ticks = {kind: bare.recorder.rate(kind, bare.begin, bare.end) for kind in kinds}
    for kind, own in ticks.items():
        assert bare.host(f"cpu_{kind}") == pytest.approx(100 * own / sum(ticks.values()), abs=1), kind
    assert bare.host("cpu_user") > 20
    assert sum(bare.host(f"cpu_{kind}") for kind in kinds) == pytest.approx(100, abs=0.1)
    assert bare.lines[-1]["host"]["cpu_cores"] == os.cpu_count()


def test_host_memory(bare: Watch) -> None:
    own, said = reference.keyed(reference.PROC / "meminfo"), bare.lines[-1]["host"]
    assert said["ram_Total"] == own["MemTotal"]
    assert said["ram_Free"] == pytest.approx(own["MemFree"], rel=0.25)
    assert said["ram_Available"] == pytest.approx(own["MemAvailable"], rel=0.25)


def test_host_disks(bare: Watch, bare_guests: BareScene) -> None:
    assert bare_guests.plain.disk_path is not None
    device = reference.host_device(bare_guests.plain.disk_path)
    if device is None:
        pytest.skip("the lab's files are on no block device of this host")
    keys = {"mbread": "read", "mbwrite": "written", "reads": "reads", "writes": "writes"}
    for metric, key in keys.items():
        factor, least = (MB, 20_000) if metric.startswith("mb") else (1, 0.5)
        low, high = bare.bounds(f"{device}.{key}", MB_APART, least)
        assert low <= bare.part("devices", "device", device, f"disk_device_{metric}") * factor <= high, metric
    assert bare.bounds(f"{device}.written")[0] > WRITE_RATE * 0.8
    low, high = (bound / 10 for bound in bare.bounds(f"{device}.busy_ms", least=10))
    assert low <= bare.part("devices", "device", device, "disk_device_ioutil") <= high
    devices = [row for row in bare.lines[-1]["host"]["devices"] if row["disk_device_type"] == "disk"]
    assert len(devices) == bare.lines[-1]["host"]["disk_device_count"]


def test_host_interfaces(bare: Watch, bare_guests: BareScene) -> None:
    for interface in (bare_guests.plain.tap, BRIDGE, "lo"):
        for metric, key in (("net_host_receivedBytes", "received"), ("net_host_transmittedBytes", "sent")):
            low, high = bare.bounds(f"{interface}.{key}", MB_APART, 100)
            assert low <= bare.part("interfaces", "interface", interface, metric) <= high, f"{interface}: {metric}"
    assert bare.part("interfaces", "interface", bare_guests.plain.tap, "net_host_receivedBytes") > SEND_RATE / 2
    uplinks = [row for row in bare.lines[-1]["host"]["interfaces"] if row["net_host_type"] == "physical"]
    total = sum(row["net_host_receivedBytes"] for row in uplinks)
    assert bare.lines[-1]["host"]["net_host_receivedBytes"] == pytest.approx(total, abs=1)


# -- Proxmox VE: statistics by QMP


@pytest.fixture(scope="module")
def proxmox(lab: Lab, proxmox_host: ProxmoxScene) -> Iterator[tuple[Watch, Guest]]:
    """Beside the scene's guests one whose disk is on no device of the host; it writes there as db-01 does."""
    disk = "file.driver=null-co,file.size=16M,format=raw,if=none,id=drive-virtio0"
    arguments = ("-drive", disk, "-device", "virtio-blk-pci,drive=drive-virtio0,id=virtio0")
    nowhere = Spec(
        "nowhere", vcpus=1, disk_mib=0, nic=False, disk_load=f"write:{WRITE_RATE}", arguments=arguments,
        conf="virtio0: nfs:104/vm-104-disk-0.raw,size=16M",
    )  # fmt: skip
    (guest,) = lab.boot_proxmox(proxmox_host.root, [nowhere])
    try:
        guests = [proxmox_host.web, proxmox_host.db, guest]
        yield watch(guests, "--proxmox", env=proxmox_env(proxmox_host), block=guests), guest
    finally:
        guest.remove()


def proxmox_env(host: ProxmoxScene) -> dict[str, str]:
    return {"PROXTOP_ROOT": str(host.root)}


def test_disks_of_a_proxmox_guest(proxmox: tuple[Watch, Guest], proxmox_host: ProxmoxScene) -> None:
    seen, nowhere = proxmox
    assert_writes(seen, proxmox_host.db, "scsi0")
    assert_writes(seen, nowhere, "virtio0", on_device=False)
    web = proxmox_host.web
    assert seen.block["web.rd_bytes"] == pytest.approx(READ_RATE, rel=0.1), "the load is not what it should be"
    assert seen.mean(web, "disk_mbread", SETTLED) * MB == pytest.approx(seen.block["web.rd_bytes"], rel=MB_APART)
    assert seen.mean(web, "disk_reads", SETTLED) == pytest.approx(seen.block["web.rd_req"], rel=0.05)
    assert seen.mean(web, "disk_mbwrite") * MB < WRITE_RATE / 20


def assert_writes(seen: Watch, guest: Guest, disk: str, *, on_device: bool = True) -> None:
    """In bytes and requests, for the guest and for its one disk; busy as its host's device tells."""
    written, requests = seen.block[f"{guest.name}.wr_bytes"], seen.block[f"{guest.name}.wr_req"]
    assert written == pytest.approx(WRITE_RATE, rel=0.15), "the load is not what it should be"
    assert seen.mean(guest, "disk_mbwrite", SETTLED) * MB == pytest.approx(written, rel=MB_APART)
    assert seen.mean(guest, "disk_writes", SETTLED) == pytest.approx(requests, rel=0.05)
    assert seen.mean(guest, "disk_mbread") * MB < WRITE_RATE / 20
    latencies = [vm["disk_lat_wr"] for vm in seen.vms(guest)]
    assert all(0 < latency < 1000 for latency in latencies), latencies
    disks = [row for vm in seen.vms(guest) for row in vm["disks"]]
    assert {row["disk"] for row in disks} == {disk}
    assert seen.weighted([row["disk_mbwrite"] for row in disks][SETTLED:]) * MB == pytest.approx(written, rel=MB_APART)
    device = reference.host_device(guest.disk_path) if on_device and guest.disk_path else None
    assert {row["disk_device"] for row in disks} == {device}
    shares = [vm["disk_ioutil"] for vm in seen.vms(guest)]
    if device is None:
        assert set(shares) == {None}
    else:
        # the kernel counts busy time by its ticks: a fast device may have been idle at each of them
        for line, vm, share in zip(seen.lines, seen.vms(guest), shares, strict=True):
            row = next(row for row in line["host"]["devices"] if row["device"] == device)
            moved = (vm["disk_mbread"] + vm["disk_mbwrite"]) / (row["disk_device_mbread"] + row["disk_device_mbwrite"])
            assert 0 <= share <= 100
            assert share == pytest.approx(row["disk_device_ioutil"] * min(1, moved), abs=0.01)


def test_network_and_io_of_a_proxmox_guest(proxmox: tuple[Watch, Guest], proxmox_host: ProxmoxScene) -> None:
    seen, nowhere = proxmox
    assert_sends(seen, proxmox_host.db)
    assert_process_io(seen, proxmox_host.db)
    assert seen.mean(nowhere, "io_MBWR/s") == pytest.approx(0, abs=0.01)
    assert seen.vms(nowhere)[-1]["net_transmittedBytes"] is None


def test_memory_of_a_proxmox_guest(proxmox: tuple[Watch, Guest], proxmox_host: ProxmoxScene) -> None:
    seen, _ = proxmox
    for guest in (proxmox_host.web, proxmox_host.db):
        assert_memory(seen, guest)
        assert seen.vms(guest)[-1]["ram_used"] == pytest.approx(reference.guest_used_kb(guest), rel=0.05)
    assert seen.vms(proxmox_host.db)[-1]["ram_current"] == 80 * 1024


def test_cpu_of_a_proxmox_guest(proxmox: tuple[Watch, Guest], proxmox_host: ProxmoxScene) -> None:
    for guest in (proxmox_host.web, proxmox_host.db):
        assert proxmox[0].mean(guest, "cpu_total") == pytest.approx(proxmox[0].vcpu_percent(guest, "run"), abs=1)
        assert proxmox[0].mean(guest, "cpu_steal") == pytest.approx(proxmox[0].vcpu_percent(guest, "wait"), abs=2)
        own = (proxmox[0].counted(guest, "process") - proxmox[0].counted(guest, "run")) * NS_TO_PERCENT
        assert proxmox[0].mean(guest, "cpu_other_total") == pytest.approx(own, rel=0.1, abs=0.5)


def test_the_first_line_of_proxmox_is_early_and_true(proxmox_host: ProxmoxScene) -> None:
    def check() -> None:
        line = first_line("--proxmox", env=proxmox_env(proxmox_host))
        assert_first(line, proxmox_host.db, proxmox_host.web)
        vm = domain(line.data, proxmox_host.db)
        assert vm["disk_mbwrite"] * MB == pytest.approx(WRITE_RATE, rel=0.6)
        assert vm["ram_used"] == pytest.approx(reference.guest_used_kb(proxmox_host.db), rel=0.1)

    with proxmox_host.web.loaded("busy:1"):
        wait_busy(proxmox_host.web, 1)
        assert_soon(check)


# -- libvirt


@pytest.fixture(scope="module")
def libvirt(libvirt_guests: LibvirtScene) -> Watch:
    wait_busy(libvirt_guests.busy, 1)
    return watch(libvirt_guests, "--libvirt", block=[libvirt_guests.odd])


def test_a_busy_vcpu_of_two_is_half_of_a_libvirt_guest(libvirt: Watch, libvirt_guests: LibvirtScene) -> None:
    assert_half_busy(libvirt, libvirt_guests.busy)


def test_disks_network_and_io_of_a_libvirt_guest(libvirt: Watch, libvirt_guests: LibvirtScene) -> None:
    assert_writes(libvirt, libvirt_guests.odd, "vda")
    assert_process_io(libvirt, libvirt_guests.odd)
    assert_sends(libvirt, libvirt_guests.odd)


def test_memory_of_a_libvirt_guest(libvirt: Watch, libvirt_guests: LibvirtScene) -> None:
    for guest in libvirt_guests:
        assert_memory(libvirt, guest)
        assert libvirt.vms(guest)[-1]["ram_used"] == pytest.approx(reference.guest_used_kb(guest), rel=0.05)


def test_the_first_line_of_libvirt_is_early_and_true(libvirt_guests: LibvirtScene) -> None:
    def check() -> None:
        line = first_line("--libvirt")
        assert_first(line, libvirt_guests.odd, libvirt_guests.busy)
        vm = domain(line.data, libvirt_guests.odd)
        assert vm["disk_mbwrite"] * MB == pytest.approx(WRITE_RATE, rel=0.6)
        assert vm["ram_used"] == pytest.approx(reference.guest_used_kb(libvirt_guests.odd), rel=0.1)

    assert_soon(check)
