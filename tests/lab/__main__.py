"""`python3 -m tests.lab up|down`: guests to look at with proxtop, which stay until taken down."""

from __future__ import annotations

import contextlib
import sys

from tests.lab import Lab, LabError, Spec, host, libvirt, missing

SPECS = (
    Spec("lab-idle"),
    Spec("lab-busy", load="busy:1"),
    Spec("lab-io", vcpus=1, disk_load="write:1048576", net_load="send:100000"),
)
SUMMARY = host.RUNS / host.DETACHED / "summary"


def up() -> None:
    """Boot under libvirt when it can be had, else bare. When they are up already: only say so."""
    if host.processes(SUMMARY.parent):
        print(SUMMARY.read_text(), end="")
        return
    with Lab(detached=True) as lab:
        reason = missing("libvirt")
        if reason:
            print(f"bare QEMU, not libvirt: {reason}", file=sys.stderr)
        guests = lab.boot_bare(SPECS) if reason else lab.boot_libvirt(SPECS)
        rows = [f"{guest.name:9} pid {guest.pid:<7} {guest.tap:7} {guest.spec.expected()}" for guest in guests]
        SUMMARY.write_text("\n".join(rows) + "\n")
    print(SUMMARY.read_text(), end="")


def down() -> None:
    """End them, and what killed test runs may have left."""
    host.sweep(SUMMARY.parent)
    with contextlib.suppress(LabError), host.locked(wait_s=0):
        host.sweep_leftovers()
        libvirt.stop_daemon()
        host.remove_bridge()


def main(arguments: list[str]) -> int:
    commands = {"up": up, "down": down}
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python3 -m tests.lab up|down", file=sys.stderr)
        return 2
    reason = missing()
    try:
        if reason:
            raise LabError(reason)
        commands[arguments[0]]()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
