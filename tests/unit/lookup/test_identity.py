from __future__ import annotations

import pytest

from proxtop.lookup.identity import Identity, is_same, parse_identity
from proxtop.model import Domain

U1, U2 = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def identity(*argv: str, told: bool = False) -> Identity | None:
    return parse_identity(b"".join(argument.encode() + b"\0" for argument in argv), told=told)


def test_each_way_to_name_a_vm() -> None:
    pve = identity("/usr/bin/kvm", "-id", "100", "-name", "web,debug-threads=on", "-smbios", f"type=1,uuid={U1}")
    assert pve == Identity(U1, "web", 100)
    libvirt = identity("/usr/bin/qemu-system-x86_64", "-name", "guest=a,,b=c,debug-threads=on", "-uuid", U1)
    assert libvirt == Identity(U1, "a,b=c")
    assert identity("qemu-kvm", "--name", "x", "--uuid", U2) == Identity(U2, "x")


def test_type_2_and_others_text_name_nothing() -> None:
    assert (
        identity("qemu-system-x86_64", "-smbios", f"type=2,uuid={U1}", "-append", "-uuid", "-fw_cfg", U2) == Identity()
    )


@pytest.mark.parametrize("program", ["/bin/sh", "sudo", "/usr/bin/gdb", "grep", "virtqemud"])
def test_a_program_with_a_qemus_options_is_no_qemu_unless_its_pid_was_told(program: str) -> None:
    assert identity(program, "-uuid", U1) is None
    assert identity(program, "-uuid", U1, told=True) == Identity(U1)


def test_a_qemu_that_is_only_asked_is_no_vm() -> None:
    assert identity("qemu-system-x86_64", "-machine", "none,accel=kvm", "-uuid", U1) is None


def test_nothing_to_read_is_nobody() -> None:
    assert parse_identity(b"") is None
    assert parse_identity(b"", told=True) is None


def test_the_same_vm() -> None:
    web = Domain(U1, "web")
    assert is_same(web, Identity(U1.upper(), "other"))
    assert not is_same(web, Identity(U2, "web"))
    assert is_same(web, Identity(name="web"))
    assert not is_same(web, Identity(name="web-01"))
    assert not is_same(Domain(U1, "web-01"), Identity(name="web"))
    assert not is_same(web, Identity())
    assert is_same(web, Identity(), told=True)
    assert is_same(Domain("x", "web", vmid=100), Identity(U2, vmid=100))
    assert not is_same(Domain(U1, "web", vmid=10), Identity(U1, "web", 100))
