"""A QEMU's command line is read as QEMU reads it, and no bytes make it fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtop.kernel.cmdline import CommandLine, Drive, Net, is_qemu, parse_cmdline, parse_size_kb, suboptions

UUID = "11111111-2222-3333-4444-555555555555"


def line(*arguments: str, program: str = "/usr/bin/qemu-system-x86_64") -> CommandLine:
    parsed = parse_cmdline("\0".join((program, *arguments, "")).encode(errors="surrogateescape"))
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("program", ["/usr/bin/qemu-system-x86_64", "qemu-kvm", "/usr/bin/kvm", "qemu-system-aarch64"])
def test_a_qemu_is_known_by_its_program(program: str) -> None:
    assert is_qemu(program)
    assert line(program=program).program == program.rpartition("/")[2]


@pytest.mark.parametrize(
    "text", [b"", b"\0", b"sudo\0qemu-system-x86_64\0-name\0a\0", b"kvm-pit/77\0", b"/bin/sh\0-c\0kvm\0"]
)
def test_what_only_mentions_a_qemu_is_none(text: bytes) -> None:
    assert parse_cmdline(text) is None


@pytest.mark.parametrize(
    ("value", "name", "debug"),
    [
        ("web", "web", False),
        ("guest=web,debug-threads=on", "web", True),
        ("a b\t'\"ü€", "a b\t'\"ü€", False),
        ("one,,two,debug-threads=on", "one,two", True),
        ("guest=k=v,,x,process=p", "k=v,x", False),
        ("debug-threads=on,guest=007", "007", True),
    ],
)
def test_a_name_may_hold_anything(value: str, name: str, debug: bool) -> None:
    parsed = line("-name", value)
    assert (parsed.name, parsed.debug_threads) == (name, debug)


def test_an_undecodable_name_is_replaced_not_refused() -> None:
    parsed = parse_cmdline(b"kvm\0-name\0a\xffb\0")
    assert parsed is not None
    assert parsed.name == "a\ufffdb"


def test_uuid_wins_over_smbios_and_only_type_1_counts() -> None:
    smbios, other = f"type=1,manufacturer=A,,B,uuid={UUID}", "AAAAAAAA-2222-3333-4444-555555555555"
    assert line("-smbios", smbios).uuid == UUID
    assert line("-uuid", other, "-smbios", smbios).uuid == other
    assert line("-smbios", f"type=2,uuid={UUID}").uuid is None


@pytest.mark.parametrize(
    "said", ["", "web", f"{UUID}/0", f"{UUID}\x1b[2J", UUID.replace("-", ""), UUID[:-1] + "\u0661"]
)
def test_what_qemu_takes_for_no_uuid_is_none(said: str) -> None:
    """A QEMU ends at once with it; so any other process says it, and it may be made to look like another VM's row."""
    assert line("-uuid", said).uuid is None
    assert line("-uuid", said, "-smbios", f"type=1,uuid={UUID}").uuid == UUID


def test_an_options_argument_is_no_option() -> None:
    parsed = line(
        "-append", "-uuid", "-fw_cfg", "-name", "-nodefaults", "-S", "-name", "right", "-unknown", "-pidfile", "/p"
    )
    assert (parsed.uuid, parsed.name, parsed.pidfile) == (None, "right", "/p")


def test_proxmox_command_line() -> None:
    parsed = line("-id", "100", "-name", "web,debug-threads=on", "-pidfile", "/var/run/qemu-server/100.pid",
                  "-smp", "4,sockets=2,cores=2,maxcpus=4", "-m", "2048",
                  "-chardev", "socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off",
                  "-mon", "chardev=qmp,mode=control",
                  "-drive", "file=/dev/pve/vm-100-disk-0,if=none,id=drive-scsi0,format=raw",
                  "-drive", "if=none,id=drive-ide2,media=cdrom,aio=io_uring",
                  "-netdev", "type=tap,id=net0,ifname=tap100i0,script=/x,vhost=on",
                  "-device", "virtio-net-pci,mac=AA:BB:CC:DD:EE:FF,netdev=net0,id=net0",
                  program="/usr/bin/kvm")  # fmt: skip
    assert (parsed.vmid, parsed.name, parsed.cores, parsed.memory_kb) == (100, "web", 4, 2 << 20)
    assert parsed.drives == (
        Drive("drive-scsi0", "/dev/pve/vm-100-disk-0"),
        Drive("drive-ide2", None, "cdrom"),
    )
    assert parsed.nets == (Net("net0", "tap", "tap100i0"),)
    assert parsed.devices[0].mac == "AA:BB:CC:DD:EE:FF"
    assert parsed.monitors == ("/var/run/qemu-server/100.qmp",)


def test_blockdevs_are_followed_to_their_file_and_known_by_the_top_node() -> None:
    parsed = line(
        "-blockdev", '{"driver":"file","filename":"/a, b.qcow2","node-name":"s"}',
        "-blockdev", '{"driver":"qcow2","file":"s","node-name":"f"}',
        "-blockdev", json.dumps({"driver": "throttle", "node-name": "drive-scsi0",
                                 "file": {"driver": "raw", "file": {"driver": "host_device", "filename": "/dev/x"}}}),
        "-blockdev", "driver=rbd,pool=p,image=i,node-name=r",
        "-device", '{"driver":"virtio-blk-pci","drive":"f","id":"v0"}',
    )  # fmt: skip
    assert {drive.id: drive.file for drive in parsed.drives if drive.kind == "disk"} == {
        "f": "/a, b.qcow2",
        "drive-scsi0": "/dev/x",
        "r": "p/i",
    }


def test_firmware_and_removable_media_are_no_disks() -> None:
    parsed = line("-drive", "if=pflash,unit=0,file=/ovmf", "-blockdev", "driver=file,filename=/c.iso,node-name=c",
                  "-device", "ide-cd,drive=c", "-blockdev", "driver=file,filename=/code,node-name=p",
                  "-machine", "q35,pflash0=p", "/disk.img")  # fmt: skip
    assert [drive.file for drive in parsed.drives if drive.kind == "disk"] == ["/disk.img"]


def test_a_tap_that_is_handed_over_has_no_name() -> None:
    assert line("-netdev", '{"type":"tap","fds":"3:4","id":"n"}').nets == (Net("n", "tap", None, True),)


@pytest.mark.parametrize(
    ("value", "cores"),
    [
        ("2", 2),
        ("cpus=3,maxcpus=8", 3),
        ("sockets=2,cores=2,threads=2", 8),
        ("8,sockets=1", 8),
        ("maxcpus=6", 6),
        ("x", 1),
    ],
)
def test_smp(value: str, cores: int) -> None:
    assert line("-smp", value).cores == cores


@pytest.mark.parametrize(
    ("value", "kb"),
    [
        ("512", 512 << 10),
        ("999999999999999E", 128 << 10),  # more than QEMU can count, and than a frame can carry
        ("2G", 2 << 20),
        ("size=524288k,maxmem=8388608k", 524288),
        ("1.5G", 3 << 19),
        ("junk", 128 << 10),
    ],
)
def test_memory(value: str, kb: int) -> None:
    assert line("-m", value).memory_kb == kb


@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_line_or_none(text: bytes) -> None:
    parse_cmdline(text)
    assert parse_cmdline(b"kvm\0" + text) is not None


OPTIONS = [
    "-name",
    "-drive",
    "-blockdev",
    "-smp",
    "-m",
    "-netdev",
    "-device",
    "-net",
    "-chardev",
    "-mon",
    "-id",
    "-hda",
]
JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
ODD = st.text(st.sampled_from('{}[]":,=-abc019.kGfile\ud800\0٣²'), max_size=30)


@given(st.lists(st.sampled_from(OPTIONS) | ODD | JSON.map(json.dumps)))
def test_any_options_parse_to_what_a_frame_can_carry(arguments: list[str]) -> None:
    text = b"\0".join(argument.encode(errors="surrogatepass") for argument in ["kvm", *arguments])
    parsed = parse_cmdline(text)
    assert parsed is not None
    str(parsed).encode()


@given(st.text())
def test_suboptions_and_sizes_never_fail(value: str) -> None:
    suboptions(value, "first")
    parse_size_kb(value)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_escaped_names_survive(name: str) -> None:
    assert line("-name", "guest=" + name.replace(",", ",,")).name == name
