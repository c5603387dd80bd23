"""Real guests for the tests: small Linux machines under QEMU's TCG, each with a load that is known beforehand.

    with Lab() as lab:
        (web,) = lab.boot_libvirt([Spec("web", load="busy:1")])
        assert web.run("nproc") == "2\n"

Three layouts: libvirt domains, a directory like a Proxmox VE host's, bare QEMU processes.
Standard library only; nothing of proxtop is imported.
"""

from tests.lab.guests import Lab
from tests.lab.host import LabError, LabMissing, missing
from tests.lab.machine import Guest
from tests.lab.spec import Spec

__all__ = ["Guest", "Lab", "LabError", "LabMissing", "Spec", "missing"]
