"""The guests' kernel and initramfs: Debian's cloud kernel, busybox, a few modules, the load program; cached.

A second initramfs is for guests whose root is a file system on a disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence

from tests.lab.host import LabError, LabMissing, run

KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon")
SCSI_MODULES = ("virtio_scsi", "sd_mod")
DISK_MODULES = ("virtio_pci", "virtio_blk")
SOURCES = pathlib.Path(__file__).parent / "guest"
LZ4_LEGACY_MAGIC = b"\x02\x21\x4c\x18"


def cache_dir() -> pathlib.Path:
    """`.lab` in the tree, or PROXTOP_LAB_CACHE."""
    default = pathlib.Path(__file__).parents[2] / ".lab"
    return pathlib.Path(os.environ.get("PROXTOP_LAB_CACHE") or default)


def build() -> tuple[pathlib.Path, pathlib.Path]:
    """(vmlinux, initramfs), from the cache when guest/ and busybox are still the same."""
    return _build("initramfs", _fill)


def build_for_disk() -> tuple[pathlib.Path, pathlib.Path]:
    """The same for a guest whose root is the ext4 file system on its first disk: the initramfs mounts it and starts its
    /sbin/init."""
    return _build("initramfs-disk", _fill_for_disk)


def _build(name: str, fill: Callable[[pathlib.Path, pathlib.Path], None]) -> tuple[pathlib.Path, pathlib.Path]:
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = _kernel_tree(cache)
        vmlinux, initramfs = tree / "vmlinux", tree / f"{name}-{_fingerprint()}.gz"
        if not vmlinux.exists():
            _unpack_kernel(tree, vmlinux)
        if not initramfs.exists():
            _pack_initramfs(tree, initramfs, fill)
    return vmlinux, initramfs


def _fingerprint() -> str:
    """Changes with whatever goes into the initramfs beside the kernel's own modules."""
    parts = (*sorted(SOURCES.iterdir()), pathlib.Path("/bin/busybox"), pathlib.Path(__file__))
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:16]


def _kernel_tree(cache: pathlib.Path) -> pathlib.Path:
    """The kernel package, unpacked; any cached version will do, so that nothing is downloaded twice."""
    kept = sorted(cache.glob("kernel-*"))
    if kept:
        return kept[-1]
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        package = _download(pathlib.Path(scratch))
        unpacked = pathlib.Path(scratch) / "tree"
        run("dpkg-deb", "-x", str(package), str(unpacked))
        (version,) = (path.name for path in (unpacked / "lib/modules").iterdir())
        run("depmod", "-b", str(unpacked), version)
        tree = cache / f"kernel-{version}"
        unpacked.rename(tree)
    return tree


def _download(into: pathlib.Path) -> pathlib.Path:
    """The .deb of the kernel that the meta package names. Without package lists: apt-get update, once."""
    for attempt in ("as it is", "updated"):
        if attempt == "updated":
            run("apt-get", "update", "-q")
        depends = run("apt-cache", "depends", KERNEL_PACKAGE, check=False)
        names = [line.split()[1] for line in depends.splitlines() if "Depends: linux-image-" in line]
        if names:
            subprocess.run(
                ["apt-get", "download", "-q", names[0]], cwd=into, capture_output=True, stdin=subprocess.DEVNULL
            )
            found = list(into.glob("*.deb"))
            if found:
                return found[0]
    raise LabMissing(f"no kernel for the guests: apt-get download of what {KERNEL_PACKAGE} depends on failed")


def _unpack_kernel(tree: pathlib.Path, vmlinux: pathlib.Path) -> None:
    """The ELF kernel out of the bzImage: QEMU boots it directly (PVH), with less memory and sooner."""
    (bzimage,) = (tree / "boot").glob("vmlinuz-*")
    image = bzimage.read_bytes()
    start = image.find(LZ4_LEGACY_MAGIC)
    if start < 0:
        raise LabError(f"{bzimage.name} is not compressed with LZ4")
    # What follows the stream makes lz4 fail at the end, with everything written.
    elf = subprocess.run(["lz4", "-dc"], input=image[start:], capture_output=True).stdout
    if not elf.startswith(b"\x7fELF"):
        raise LabError(f"no kernel came out of {bzimage.name}")
    scratch = vmlinux.with_suffix(".new")
    scratch.write_bytes(elf)
    run("strip", str(scratch))
    scratch.rename(vmlinux)


def _pack_initramfs(
    tree: pathlib.Path, initramfs: pathlib.Path, fill: Callable[[pathlib.Path, pathlib.Path], None]
) -> None:
    with tempfile.TemporaryDirectory(dir=tree) as scratch:
        root = pathlib.Path(scratch) / "root"
        for folder in ("bin", "dev", "modules", "proc", "root", "sys", "tmp"):
            (root / folder).mkdir(parents=True)
        shutil.copy2("/bin/busybox", root / "bin/busybox")
        for applet in run("/bin/busybox", "--list").split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        fill(tree, root)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), capture_output=True, check=True
        ).stdout
        packed = pathlib.Path(scratch) / "initramfs.gz"
        packed.write_bytes(subprocess.run(["gzip", "-1"], input=archive, capture_output=True, check=True).stdout)
        packed.rename(initramfs)


def _fill(tree: pathlib.Path, root: pathlib.Path) -> None:
    for script, place in (("init", "init"), ("start-load", "bin/start-load"), ("serve", "bin/serve")):
        _copy_script(script, root / place)
    run("gcc", "-O2", "-static", "-s", "-Wall", "-o", str(root / "bin/load"), str(SOURCES / "load.c"))
    _add_modules(tree, root / "modules", "order", MODULES)
    _add_modules(tree, root / "modules", "order.scsi", SCSI_MODULES)


def _fill_for_disk(tree: pathlib.Path, root: pathlib.Path) -> None:
    _copy_script("init-disk", root / "init")
    _add_modules(tree, root / "modules", "order", DISK_MODULES)


def _copy_script(name: str, place: pathlib.Path) -> None:
    shutil.copy2(SOURCES / name, place)
    place.chmod(0o755)


def _add_modules(tree: pathlib.Path, into: pathlib.Path, order: str, wanted: Sequence[str]) -> None:
    """Copy modules and what they depend on, without debug information; `order` lists them as they have to be loaded."""
    (modules,) = (tree / "lib/modules").iterdir()
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, depends = line.partition(":")
        needs[pathlib.Path(path).stem] = (modules / path, [pathlib.Path(depend).stem for depend in depends.split()])
    ordered: dict[str, None] = {}

    def add(names: Iterable[str]) -> None:
        for name in names:
            add(needs[name][1])
            ordered.setdefault(name)

    add(wanted)
    for name in ordered:
        run("strip", "--strip-debug", "-o", str(into / f"{name}.ko"), str(needs[name][0]))
    (into / order).write_text("".join(f"{name}\n" for name in ordered))
