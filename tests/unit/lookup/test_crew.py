from __future__ import annotations

import pytest

from proxtop.kernel.threads import format_cpus, named_role, parse_allowed, parse_cpus, parse_owner, parse_vcpu
from proxtop.lookup.crew import NO_VCPUS, ONE_FOR_ALL, Crew, muster
from proxtop.model import Thread


def crew(comms: dict[int, bytes], **options: object) -> Crew:
    defaults: dict[str, object] = {"cores": None, "placed": dict, "started": lambda tid: tid}
    return muster(10, {10: b"qemu-system-x86"} | comms, **(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("comm", "number"),
    [(b"CPU 0/KVM", 0), (b"CPU 127/TCG", 127), (b"CPU 3/DUMMY", 3), (b"CPU /KVM", None), (b"CPU 1/KVM ", None),
     (b"xCPU 1/KVM", None), (b"ALL CPUs/TCG", None), (b"vcpu 0", None), (b"", None)],
)  # fmt: skip
def test_a_vcpu_is_named_exactly(comm: bytes, number: int | None) -> None:
    assert parse_vcpu(comm) == number


@pytest.mark.parametrize(
    ("comm", "role"),
    [(b"IO iothread0", "iothread"), (b"IO mon_iothread", "iothread"), (b"worker", "worker"), (b"iou-wrk-10", "worker"),
     (b"kvm-nx-lpage-re", "worker"), (b"vhost-10", "vhost"), (b"call_rcu", None), (b"vnc_worker", None),
     (b"SPICE Worker", None), (b"live_migration", None), (b"qemu-system-x86", None), (b"kvm", None)],
)  # fmt: skip
def test_roles_that_names_tell(comm: bytes, role: str | None) -> None:
    assert named_role(comm) == role


def test_everyone_has_a_role() -> None:
    found = crew({11: b"call_rcu", 12: b"CPU 1/KVM", 13: b"CPU 0/KVM", 14: b"IO io1", 15: b"worker", 16: b"vhost-10"})
    assert found.vcpus == ((0, 13), (1, 12))
    assert [(thread.tid, thread.role) for thread in found.threads] == [
        (10, "emulator"), (11, "emulator"), (14, "iothread"), (15, "worker"), (16, "vhost"),
    ]  # fmt: skip
    assert found.reason is None


def test_a_thread_that_inherited_a_vcpus_name_is_not_the_vcpu() -> None:
    found = crew({11: b"CPU 0/KVM", 12: b"CPU 0/KVM"}, started={11: 9, 12: 5}.__getitem__)
    assert found.vcpus == ((0, 12),)
    assert Thread(11, "emulator", 10) in found.threads


def test_without_names_the_vcpus_are_unknown_and_no_thread_is_called_what_it_may_not_be() -> None:
    found = crew({11: b"qemu-system-x86", 12: b"qemu-system-x86", 13: b"vhost-10"})
    assert found == Crew((), (Thread(10, "emulator", 10), Thread(13, "vhost", 10)), NO_VCPUS)


def test_without_names_libvirts_cgroups_tell() -> None:
    names = dict.fromkeys((11, 12, 13, 14), b"qemu-kvm")
    found = crew(names, placed=lambda: {12: "vcpu1", 11: "vcpu0", 13: "iothread1", 99: "vcpu2"})
    assert found.vcpus == ((0, 11), (1, 12))
    assert [thread.role for thread in found.threads] == ["emulator", "iothread", "emulator"]
    assert found.reason is None


def test_one_thread_for_all_vcpus_is_told() -> None:
    assert crew({11: b"ALL CPUs/TCG"}, cores=4).vcpus == ((0, 11),)
    assert crew({11: b"ALL CPUs/TCG"}, cores=4).reason == ONE_FOR_ALL
    assert crew({11: b"ALL CPUs/TCG"}, cores=1).reason is None


def test_kernel_threads_tell_whom_they_work_for() -> None:
    assert parse_owner(b"vhost-4711") == (4711, "vhost")
    assert parse_owner(b"kvm-pit/4711") == (4711, "worker")
    assert parse_owner(b"kvm-nx-lpage-recovery-4711") == (4711, "worker")
    assert parse_owner(b"vhost-") is None
    assert parse_owner(b"vhost-47x") is None


def test_cpu_lists() -> None:
    assert parse_allowed(b"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\nMems_allowed:\t1\n") == "0-3,8"
    assert parse_allowed(b"Name:\tx\n") is None
    assert parse_cpus("0-3,8,x,-") == {0, 1, 2, 3, 8}
    assert format_cpus([8, 0, 1, 2, 2, 10, 11]) == "0-2,8,10-11"
    assert format_cpus([]) == ""
