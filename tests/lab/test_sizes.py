"""What a guest's disks take of the host, held against what du counts and what virsh domblkinfo says."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.elsewhere import Port
from tests.e2e.running import Proxtop
from tests.lab import Guest, Lab, Spec
from tests.lab.libvirt import LibvirtGuest, virsh
from tests.lab.scenes import WRITE_RATE, LibvirtScene, ProxmoxScene

MIB = 1 << 20
EXTRA = {"vdb": "sparse", "vdc": "part", "vdd": "loop"}

Sizes = dict[str, tuple[int | None, int | None, int | None]]
"""(capacity, allocation, physical) by disk; the VM's own sum under its UUID."""


def taken(path: pathlib.Path) -> int:
    """Bytes, as du counts them."""
    return int(subprocess.run(["du", "--block-size=1", path], check=True, capture_output=True).stdout.split()[0])


def sparse(path: pathlib.Path, mib: int, written: bytes = b"") -> pathlib.Path:
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
        file.write(written)
        os.fsync(file.fileno())
    return path


def write(path: pathlib.Path) -> int:
    """Half a MiB more of it, behind what is there; what it takes then."""
    before = taken(path)
    with open(path, "r+b") as file:
        file.seek(8 * MIB)
        file.write(b"x" * (MIB // 2))
        os.fsync(file.fileno())
    assert taken(path) == before + MIB // 2
    return taken(path)


def sizes(line: Mapping[str, Any], guest: Guest) -> Sizes:
    vm = next(vm for vm in line["domains"] if vm["UUID"] == guest.uuid)
    return {
        row.get("disk", guest.uuid): (
            row["disk_size_capacity"],
            row["disk_size_allocation"],
            row["disk_size_physical"],
        )
        for row in (vm, *vm["disks"])
    }


def until(proxtop: Proxtop, condition: Callable[[Mapping[str, Any]], bool], lines: int = 60) -> Mapping[str, Any]:
    for _ in range(lines):
        line = proxtop.line().data
        if condition(line):
            return line
    raise AssertionError(f"not within {lines} lines: {line}")


@pytest.fixture
def loop(tmp_path: pathlib.Path) -> Iterator[str | None]:
    """A block device over a file of 4 MiB, where one can be had."""
    image = tmp_path / "loop.img"
    image.write_bytes(b"x" * (4 * MIB))
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    device = done.stdout.strip() if done.returncode == 0 else None
    yield device
    if device is not None:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextlib.contextmanager
def several_disks(lab: Lab, loop: str | None) -> Iterator[tuple[LibvirtGuest, dict[str, pathlib.Path]]]:
    """A guest that writes to its own disk, which is there in full, with others plugged in; their files by disk."""
    (guest,) = lab.boot_libvirt([Spec("sizes", vcpus=1, disk_load=f"write:{WRITE_RATE}")])
    try:
        assert guest.disk_path is not None
        files = {
            "vda": guest.disk_path,
            "vdb": sparse(lab.run_dir / "sparse.raw", 64),
            "vdc": sparse(lab.run_dir / "part.raw", 64, b"x" * MIB),
        }
        for disk, path in files.items():
            if disk != "vda":
                virsh("attach-disk", guest.uuid, str(path), disk, "--subdriver", "raw")
        if loop is not None:
            virsh("attach-disk", guest.uuid, loop, "vdd", "--subdriver", "raw", "--sourcetype", "block")
        yield guest, files
    finally:
        guest.kill()


def domblkinfo(guest: LibvirtGuest, disk: str) -> dict[str, int]:
    lines = virsh("domblkinfo", guest.uuid, disk).splitlines()
    return {key: int(value) for key, _, value in (line.partition(":") for line in lines) if value}


@pytest.mark.slow
def test_disks_of_a_libvirt_guest_take_what_du_counts(lab: Lab, libvirt_guests: LibvirtScene, loop: str | None) -> None:
    with several_disks(lab, loop) as (guest, files):
        arguments = ("-f", "0.5", "-p", "json", "--disk", "--verbose", f"--vm={guest.uuid}")
        with Proxtop("--libvirt", *arguments) as proxtop:
            line = until(proxtop, lambda line: len(sizes(line, guest)) == len(files) + 1 + (loop is not None))
            seen = sizes(line, guest)
            for disk, path in files.items():
                assert seen[disk] == (domblkinfo(guest, disk)["Capacity"], taken(path), path.stat().st_size)
            if loop is None:
                total = tuple(sum(column) for column in zip(*(seen[disk] for disk in files), strict=True))  # type: ignore[arg-type]
                assert seen[guest.uuid] == total
            else:  # what holds the loop's file is not known of the loop
                assert seen["vdd"] == (4 * MIB, None, 4 * MIB)
                assert seen[guest.uuid][1] is None
            # virsh's allocation is the same until the guest has written to the disk, and the highest offset then
            assert domblkinfo(guest, "vdc")["Allocation"] == seen["vdc"][1]
            more = write(files["vdb"])
            line = until(proxtop, lambda line: sizes(line, guest)["vdb"][1] == more)
            assert sizes(line, guest)["vda"] == seen["vda"], "it writes where it has written before"


@pytest.mark.slow
def test_disks_of_a_remote_libvirts_guest_take_what_du_counts(
    lab: Lab, libvirt_guests: LibvirtScene, loop: str | None
) -> None:
    """Files' blocks as QEMU counts them; no file is looked for on the wrong machine."""
    with several_disks(lab, loop) as (guest, files), Port() as port:
        arguments = ("-f", "0.5", "-p", "json", "--disk", "--verbose", f"--vm={guest.uuid}")
        with Proxtop("-c", port.uri, *arguments) as proxtop:
            line = until(proxtop, lambda line: len(sizes(line, guest)) == len(files) + 1 + (loop is not None))
            seen = sizes(line, guest)
            for disk, path in files.items():
                assert seen[disk] == (domblkinfo(guest, disk)["Capacity"], taken(path), None)
            if loop is not None:
                assert seen["vdd"] == (4 * MIB, None, 4 * MIB)


@contextlib.contextmanager
def proxmox_disks(
    lab: Lab, host: ProxmoxScene, home: pathlib.Path, more: Mapping[str, pathlib.Path]
) -> Iterator[tuple[Guest, dict[str, pathlib.Path]]]:
    """A guest with a disk that is there in part, an empty one and `more`; their files by disk."""
    files = {"scsi1": sparse(home / "part.raw", 64, b"x" * MIB), "scsi2": sparse(home / "empty.raw", 32), **more}
    arguments = ["-device", "virtio-scsi-pci,id=scsihw1"]
    for disk, path in files.items():
        arguments += ["-drive", f"file={path},if=none,id=drive-{disk},format=raw"]
        arguments += ["-device", f"scsi-hd,bus=scsihw1.0,drive=drive-{disk},id={disk}"]
    conf = "\n".join(f"{disk}: local:{path.name},size=64M" for disk, path in files.items())
    (guest,) = lab.boot_proxmox(host.root, [Spec("sizes", vcpus=1, arguments=tuple(arguments), conf=conf)])
    try:
        yield guest, files
    finally:
        guest.remove()


def watching(host: ProxmoxScene, guest: Guest) -> Proxtop:
    options = ("--proxmox", "-f", "0.5", "-p", "json", "--disk", "--verbose", f"--vm={guest.uuid}")
    return Proxtop(*options, env={"PROXTOP_ROOT": str(host.root)})


@pytest.mark.slow
def test_disks_of_a_proxmox_guest_take_what_du_counts(
    lab: Lab, proxmox_host: ProxmoxScene, tmp_path: pathlib.Path, loop: str | None
) -> None:
    more = {"scsi3": pathlib.Path(loop)} if loop else {}
    with proxmox_disks(lab, proxmox_host, tmp_path, more) as (guest, files), watching(proxmox_host, guest) as proxtop:
        seen = sizes(until(proxtop, lambda line: len(sizes(line, guest)) == len(files) + 2), guest)
        own = guest.disk_path
        assert own is not None
        assert seen["virtio0"] == (own.stat().st_size, taken(own), own.stat().st_size)
        assert seen["scsi1"] == (64 * MIB, taken(files["scsi1"]), 64 * MIB)
        assert taken(files["scsi2"]) == 0
        assert seen["scsi2"] == (32 * MIB, 0, 32 * MIB)
        if loop is not None:
            assert seen["scsi3"] == (4 * MIB, None, 4 * MIB)


@pytest.mark.slow
def test_disks_of_a_proxmox_guest_are_seen_to_grow(
    lab: Lab, proxmox_host: ProxmoxScene, tmp_path: pathlib.Path
) -> None:
    """QEMU is asked for the sizes once in thirty refreshes, a minute."""
    with proxmox_disks(lab, proxmox_host, tmp_path, {}) as (guest, files), watching(proxmox_host, guest) as proxtop:
        until(proxtop, lambda line: len(sizes(line, guest)) == len(files) + 2)
        more = {disk: write(path) for disk, path in files.items()}
        until(proxtop, lambda line: all(sizes(line, guest)[disk][1] == now for disk, now in more.items()), lines=150)
