"""Proxmox's configuration files: the running VM's part alone, and no bytes make it fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxtop.connectors.pve_config import PveConfig, parse_config

CONFIG = """\
#a description with name: other
agent: 1
balloon: 1024
boot: order=scsi0;ide2
cores: 4
efidisk0: local-lvm:vm-100-disk-1,efitype=4m,size=4M
ide2: local:iso/debian.iso,media=cdrom,size=600M
ide3: none,media=cdrom
memory: 4096
name: web-\u00fc
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1
net1: model=e1000,macaddr=BC:24:11:00:00:02,bridge=vmbr1
scsi0: local-lvm:vm-100-disk-0,iothread=1,size=32G
smbios1: uuid=0f3b3c6a-2f1c-4a52-9c1d-0123456789ab,manufacturer=QQ==,base64=1
sockets: 2
virtio1: file=/srv/a b.raw,size=1G
unused0: local-lvm:vm-100-disk-9

[PENDING]
cores: 8
scsi5: local-lvm:vm-100-disk-5

[before-upgrade]
name: old
lock: snapshot
"""


def test_only_the_part_before_the_first_section_counts() -> None:
    assert parse_config(CONFIG.encode()) == PveConfig(
        name="web-ü",
        uuid="0f3b3c6a-2f1c-4a52-9c1d-0123456789ab",
        cores=8,
        memory_kb=4 << 20,
        disks={
            "efidisk0": "local-lvm:vm-100-disk-1",
            "scsi0": "local-lvm:vm-100-disk-0",
            "virtio1": "/srv/a b.raw",
        },
        nets={0: "BC:24:11:00:00:01", 1: "BC:24:11:00:00:02"},
        lock=None,
    )


def test_lock_vcpus_and_the_new_form_of_memory() -> None:
    config = parse_config(b"lock: backup\nvcpus: 3\ncores: 4\nmemory: current=1024\n")
    assert (config.lock, config.cores, config.memory_kb) == ("backup", 3, 1 << 20)


def test_an_empty_file_has_proxmoxs_defaults() -> None:
    assert parse_config(b"") == PveConfig(cores=1, memory_kb=512 << 10)


def test_numbers_that_are_none_are_the_defaults() -> None:
    config = parse_config("cores: \u0663\nmemory: -5\nsockets: 99999999999999999999\n".encode())
    assert (config.cores, config.memory_kb) == (1, 512 << 10)


@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("cores: memory=[]\n,scsi0net1\u0663"), max_size=80).map(str.encode)
)
def test_any_bytes_are_a_configuration(text: bytes) -> None:
    str(parse_config(text)).encode()
