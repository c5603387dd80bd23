"""The inventory of hosts that are trees of text."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from lookup_host import Host, kvm_threads

from proxtop.lookup import Lookup
from proxtop.lookup.crew import NO_VCPUS
from proxtop.lookup.guest import INSPECT, RELIST, UNBOUND
from proxtop.lookup.nics import UNSEEN
from proxtop.model import VM, DiskConfig, Domain, Domains, Nic, NicConfig, Thread

U1, U2, U3 = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")


def domains(*found: Domain, connector: str = "libvirt") -> Domains:
    return Domains(connector, found)


def qemu(uuid: str, name: str = "web") -> tuple[str, ...]:
    return ("/usr/bin/qemu-system-x86_64", "-name", f"guest={name},debug-threads=on", "-uuid", uuid)


def only(host: Host, told: Domains) -> VM:
    (vm,) = host.look(told).vms
    return vm


def test_a_vm_is_joined_from_all_sides(host: Host) -> None:
    host.block("sda", "8:0")
    host.block("sda2", "8:2", of="sda")
    host.process(70, *qemu(U1), start=4242, threads=kvm_threads(70, 2, "IO iothread1", "worker"))
    host.file(host.proc / "70/cgroup", "0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator\n")
    host.net(1, "lo", "vnet0", "eth0")
    told = Domain(
        U1, "web", 70, cores=2, memory_kb=1024, disks=(DiskConfig("vda", "/x.img"),), nics=(NicConfig("vnet0", "m"),)
    )
    assert only(host, domains(told)) == VM(
        U1, "web", 70, 4242, None, 2, 1024,
        vcpus=((0, 71), (1, 72)),
        threads=(Thread(70, "emulator", 70), Thread(73, "iothread", 70), Thread(74, "worker", 70)),
        disks=only(host, domains(told)).disks, nics=(Nic("vnet0", "m", True),),
        cgroup="/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", affinity="0-3",
    )  # fmt: skip
    assert [(disk.name, disk.device) for disk in only(host, domains(told)).disks] == [("vda", "sda")]


def test_nothing_new_is_the_same_object(host: Host) -> None:
    host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    told = domains(Domain(U1, "web", 70, disks=(DiskConfig("vda", "/x"),)))
    first = host.look(told)
    for _ in range(50):
        host.clock.now += 0.7
        assert host.look(told) is first
    assert host.look(domains(*told.domains)) is first
    assert host.look(replace(told, reason="half")) is not first


def test_names_that_contain_each_other_and_equal_names_stay_apart(host: Host) -> None:
    host.process(70, "qemu-system-x86_64", "-name", "web-01", start=3)
    host.process(71, "qemu-system-x86_64", "-name", "web", start=2)
    host.process(72, *qemu(U3, "web"), start=1)
    told = domains(Domain(U3, "web"), Domain(U2, "web"), Domain(U1, "web-01"))
    assert [(vm.name, vm.uuid, vm.pid) for vm in host.look(told).vms] == [
        ("web", U2, 71), ("web", U3, 72), ("web-01", U1, 70),
    ]  # fmt: skip


def test_odd_names_are_cleaned_once_and_still_bind(host: Host) -> None:
    name = "a\x1b[31m\tb\u202e"
    host.process(70, "qemu-system-x86_64", "-name", name)
    vm = only(host, domains(Domain(U1, name, disks=(DiskConfig("v\nda", "/a\x1bb"),), nics=(NicConfig("t\x7f"),))))
    assert (vm.name, vm.pid) == ("a\ufffd[31m\ufffdb\ufffd", 70)
    assert (vm.disks[0].name, vm.disks[0].source) == ("v\ufffdda", "/a\ufffdb")
    assert vm.nics is not None and vm.nics[0].name == "t\ufffd"
    assert only(host, domains(Domain(U2, ""))).name == U2


def test_a_told_pid_that_is_something_else_is_not_used(host: Host) -> None:
    host.process(70, "/usr/sbin/sshd", "-D")
    host.process(71, "/bin/sh", "-c", f"qemu-system-x86_64 -uuid {U1}")
    host.process(72, "sudo", "qemu-system-x86_64", "-uuid", U1)
    vm = only(host, domains(Domain(U1, "web", 70)))
    assert (vm.pid, vm.start, vm.reason) == (None, None, UNBOUND)
    host.process(73, *qemu(U1))
    host.clock.now += 1
    assert only(host, domains(Domain(U1, "web", 70))).pid == 73


def test_a_qemu_that_nothing_names_is_bound_where_its_pid_is_told(host: Host) -> None:
    host.process(70, "qemu-system-x86_64", "-m", "1G")
    assert only(host, domains(Domain(U1, "qemu-70", 70))).pid == 70
    assert only(host, domains(Domain(U2, "qemu-70"))).pid is None
    host.process(71, "/usr/bin/vi", "-m", "1G")
    assert only(host, domains(Domain(U3, "qemu-71", 71))).pid is None


def test_a_told_pid_may_be_an_emulator_of_any_name(host: Host) -> None:
    host.process(70, "/opt/emulator", "-uuid", U1)
    assert only(host, domains(Domain(U1, "web", 70))).pid == 70
    assert only(host, domains(Domain(U1, "web"))).pid == 70


@pytest.mark.parametrize("anew", [True, False])
def test_a_reused_pid_is_another_process(host: Host, anew: bool) -> None:
    told = domains(Domain(U1, "web", 70))
    host.process(70, *qemu(U1), start=10)
    assert only(host, told).start == 10
    if anew:
        host.end(70)
    host.process(70, "/usr/bin/vi", start=20)
    assert host.look(told).vms == ()
    host.process(70, *qemu(U1), start=30)
    host.clock.now += 1
    assert only(host, told).start == 30
    assert only(host, told).gen == 30 << 22 | 70


def test_a_vm_whose_process_ended_leaves_and_comes_back_with_another(host: Host) -> None:
    told = domains(Domain(U1, "web"), Domain(U2, "db"))
    host.process(70, *qemu(U1))
    host.process(71, *qemu(U2, "db"))
    assert len(host.look(told).vms) == 2
    host.end(70)
    assert [vm.uuid for vm in host.look(told).vms] == [U2]
    host.process(90, *qemu(U1))
    host.clock.now += 1.1
    assert {vm.pid for vm in host.look(told).vms} == {71, 90}
    assert host.look(domains(Domain(U2, "db"))).vms[0].pid == 71
    assert len(host.look(domains(Domain(U2, "db"))).vms) == 1


def test_a_zombie_is_no_vm(host: Host) -> None:
    host.process(70, *qemu(U1))
    told = domains(Domain(U1, "web", 70))
    assert only(host, told).pid == 70
    host.process(70, state="Z")
    assert host.look(told).vms == ()


def test_the_elder_of_two_with_one_command_line_is_the_vm(host: Host) -> None:
    host.process(90, *qemu(U1), start=5)
    host.process(80, *qemu(U1), start=6)
    assert only(host, domains(Domain(U1, "web"))).pid == 90


def test_a_process_that_execs_qemu_later_is_found(host: Host) -> None:
    told = domains(Domain(U1, "web"))
    host.process(60, "/usr/sbin/sshd")
    assert only(host, told).pid is None
    host.process(70, "/usr/sbin/libvirtd")
    host.clock.now += 1
    assert only(host, told).pid is None
    host.file(host.proc / "70/cmdline", "\0".join((*qemu(U1), "")))
    host.clock.now += 1
    assert only(host, told).pid == 70


def test_threads_come_and_go(host: Host) -> None:
    told = domains(Domain(U1, "web", 70))
    host.process(70, *qemu(U1), threads={71: "CPU 0/KVM"})
    assert only(host, told).vcpus == ((0, 71),)
    host.process(70, *qemu(U1), threads={71: "CPU 0/KVM", 72: "CPU 1/KVM"})
    vm = only(host, told)
    assert vm.vcpus == ((0, 71), (1, 72))
    assert vm.cores == 2


def test_one_thread_for_another_is_noticed_though_their_number_stays(host: Host) -> None:
    told = domains(Domain(U1, "web", 70))
    host.process(70, *qemu(U1), threads={71: "CPU 0/KVM", 72: "worker"})
    host.look(told)
    host.process(70, *qemu(U1), threads={71: "CPU 0/KVM", 80: "worker"})
    host.clock.now += RELIST
    assert [thread.tid for thread in only(host, told).threads] == [70, 80]


def test_a_new_threads_name_is_read_again_until_it_is_its_own(host: Host) -> None:
    told = domains(Domain(U1, "web", 70))
    host.process(70, *qemu(U1), threads={71: "CPU 0/KVM", 72: "CPU 0/KVM"})
    assert Thread(72, "emulator", 70) in only(host, told).threads
    host.file(host.proc / "70/task/72/comm", "worker\n")
    host.clock.now += 0.5
    assert Thread(72, "worker", 70) in only(host, told).threads


def test_vhost_kernel_threads_are_found_and_impostors_are_not(host: Host) -> None:
    host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    host.process(90, parent=2, comm="vhost-70")
    host.process(91, parent=1, comm="vhost-70")
    host.process(92, parent=2, comm="vhost-7")
    told = domains(Domain(U1, "web", 70))
    assert only(host, told).threads == (Thread(70, "emulator", 70), Thread(90, "vhost", 90))
    host.end(90)
    host.clock.now += 10
    assert only(host, told).threads == (Thread(70, "emulator", 70),)


def test_without_thread_names_libvirts_cgroups_tell_the_vcpus(host: Host) -> None:
    scope = "machine.slice/machine-qemu-1-web.scope"
    host.mounts("27 1 8:2 / / rw - ext4 /dev/sda2 rw\n30 27 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    host.process(70, *qemu(U1), threads={71: "qemu-kvm", 72: "qemu-kvm"})
    host.file(host.proc / "70/cgroup", f"0::/{scope}/libvirt/emulator\n")
    told = domains(Domain(U1, "web", 70))
    vm = only(host, told)
    assert (vm.vcpus, vm.reason) == ((), NO_VCPUS)
    host.file(host.sys / f"fs/cgroup/{scope}/libvirt/vcpu0/cgroup.threads", "72\n")
    host.clock.now += INSPECT
    vm = only(host, told)
    assert (vm.vcpus, vm.reason) == (((0, 72),), None)


def test_affinity_is_that_of_all_vcpus_and_follows(host: Host) -> None:
    host.process(70, *qemu(U1), threads=kvm_threads(70, 2))
    host.file(host.proc / "70/task/71/status", "Name:\tx\nCpus_allowed_list:\t8,10\n")
    told = domains(Domain(U1, "web", 70))
    assert only(host, told).affinity == "0-3,8,10"
    host.file(host.proc / "70/task/71/status", "Name:\tx\nCpus_allowed_list:\t4\n")
    host.clock.now += INSPECT
    assert only(host, told).affinity == "0-4"


def test_a_tap_in_its_qemus_own_namespace(host: Host) -> None:
    host.process(70, *qemu(U1))
    host.net(1, "lo", "tap0")
    host.net(70, "lo", "tap1")
    told = Domain(U1, "web", 70, nics=(NicConfig("tap0"), NicConfig("tap1"), NicConfig("tap2")))
    nics = only(host, domains(told)).nics
    assert nics is not None and [(nic.name, nic.netns) for nic in nics] == [
        ("tap0", None),
        ("tap1", 70),
        ("tap2", None),
    ]


def test_a_bare_qemus_taps_by_descriptor(host: Host) -> None:
    root = host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    told = Domain(U1, "web", 70, nics=None, reason="NICs: not named")
    vm = only(host, domains(told, connector="qemu"))
    assert (vm.nics, vm.reason) == (None, f"NICs: not named; {UNSEEN}")
    for number, text in ((3, "pos:\t0\n"), (10, "pos:\t0\niff:\ttap9\n"), (11, "iff:\ttap9\n"), (9, "iff:\ttap1\n")):
        host.file(root / f"fdinfo/{number}", text)
    host.clock.now += INSPECT
    vm = only(host, domains(told, connector="qemu"))
    assert vm.reason is None
    assert vm.nics is not None and [nic.name for nic in vm.nics] == ["tap1", "tap9"]
    told = replace(told, nics=(NicConfig("tap1", "aa"), NicConfig(None, "bb")))
    assert only(host, domains(told, connector="qemu")).nics == (Nic("tap1", "aa", True), Nic("tap9", "bb", True))


def test_a_nic_without_an_interface_has_no_row(host: Host) -> None:
    host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    vm = only(host, domains(Domain(U1, "web", 70, nics=(NicConfig(None, "aa"),))))
    assert vm.nics == ()
    assert vm.reason == "NICs without a host interface: 1"


def test_an_interface_that_is_named_twice_is_one_nic(host: Host) -> None:
    """Rows are told apart by it: two of one name would cost all VMs their network figures."""
    host.process(70, *qemu(U1))
    told = Domain(U1, "web", 70, nics=(NicConfig("tap1", "aa"), NicConfig("tap2", "b\x1bb"), NicConfig("tap1", "cc")))
    assert only(host, domains(told)).nics == (Nic("tap1", "aa", True), Nic("tap2", "b\ufffdb", True))


def test_a_disk_is_looked_for_again_when_its_vm_changes(host: Host) -> None:
    for name, number in (("sda", "8:0"), ("sdb", "8:16")):
        host.block(name, number)
    host.mounts("27 1 8:0 / / rw - ext4 /dev/sda rw")
    host.process(70, *qemu(U1))
    told = Domain(U1, "web", 70, disks=(DiskConfig("vda", "/srv/x"), DiskConfig("hdc")))
    assert [disk.device for disk in only(host, domains(told)).disks] == ["sda", None]
    host.mounts("27 1 8:0 / / rw - ext4 /dev/sda rw\n28 27 8:16 / /srv rw - ext4 /dev/sdb rw")
    moved = replace(told, disks=(DiskConfig("vda", "/srv/y"),))
    assert [disk.device for disk in only(host, domains(moved)).disks] == ["sdb"]


def test_on_a_remote_host_nothing_local_is_used(host: Host) -> None:
    told = Domain(U1, "web", os.getpid(), disks=(DiskConfig("vda", "/etc/passwd"),), nics=(NicConfig("lo"),))
    (vm,) = Lookup().inventory(Domains("libvirt", (told,), remote=True)).vms
    assert (vm.pid, vm.start, vm.vcpus, vm.disks[0].device, vm.reason) == (None, None, (), None, None)
    assert vm.nics == (Nic("lo", None, True),)


def test_another_hosts_procfs_with_this_machines_sysfs_names_no_device(host: Host) -> None:
    host.process(70, *qemu(U1))
    lookup = Lookup(str(host.proc), "/sys")
    (vm,) = lookup.inventory(domains(Domain(U1, "web", disks=(DiskConfig("vda", "/etc/passwd"),)))).vms
    assert vm.pid == 70
    assert vm.disks[0].device is None


def test_no_procfs_at_all_is_a_reason(host: Host) -> None:
    lookup = Lookup(str(host.proc / "missing"), str(host.sys))
    inventory = lookup.inventory(domains(Domain(U1, "web", 70)))
    assert inventory.reason is not None and "No such file" in inventory.reason
    assert inventory.vms[0].pid is None


@pytest.mark.parametrize(
    "missing",
    [
        "stat",
        "task/70/stat",
        "cmdline",
        "comm",
        "cgroup",
        "task",
        "task/71",
        "task/71/comm",
        "task/71/status",
        "net",
        "fdinfo",
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_what_vanishes_midway_never_stops_the_others(host: Host, missing: str, late: bool) -> None:
    told = domains(Domain(U1, "web", 70, nics=(NicConfig("tap0"),)), Domain(U2, "db", 80))
    for pid, uuid, name in ((70, U1, "web"), (80, U2, "db")):
        host.process(pid, *qemu(uuid, name), threads=kvm_threads(pid, 1))
    if late:
        host.look(told)
    path = host.proc / "70" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for _ in range(3):
        inventory = host.look(told)
        assert [vm.vcpus for vm in inventory.vms if vm.uuid == U2] == [((0, 81),)]
        host.clock.now += 11


def test_a_process_that_can_not_be_read_for_once_has_not_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    told = domains(Domain(U1, "web", 70))
    host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    before = host.look(told)

    def exhausted(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", exhausted)
    host.clock.now += 1
    assert host.look(told) is before
    host.clock.now += INSPECT
    assert only(host, told).pid == 70


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_is_not_for_us_to_read_is_unknown(host: Host) -> None:
    host.process(70, *qemu(U1))
    (host.proc / "70/cmdline").chmod(0)
    assert only(host, domains(Domain(U1, "web", 70))).pid is None


def test_a_read_that_is_denied_or_fails_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    root = host.process(70, *qemu(U1), threads=kvm_threads(70, 1))
    host.file(root / "fdinfo/5", "iff:\ttap0\n")
    really = os.open

    def deny(path: str, *args: int, **options: int) -> int:
        if any(part in str(path) for part in ("fdinfo", "cgroup", "net/dev", "mountinfo", "/status")):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *args, **options)

    monkeypatch.setattr(os, "open", deny)
    vm = only(host, domains(Domain(U1, "web", 70, disks=(DiskConfig("vda", "/x"),), nics=None), connector="qemu"))
    assert (vm.pid, vm.vcpus, vm.nics, vm.cgroup, vm.disks[0].device) == (70, ((0, 71),), None, None, None)
    assert vm.reason == UNSEEN
