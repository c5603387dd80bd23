"""What a private fleet takes of the host's memory."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import unavailable
from tests.e2e.running import Proxtop
from tests.lab import Lab, Spec, missing
from tests.lab.machine import Guest

LIMIT_KB = 70 << 10
VMS = 10
CYCLES = 4
FAMILIES = ("--cpu", "--mem", "--disk", "--net", "--io", "--pressure", "--host")


def pss_kb(pid: int) -> int:
    """Proportional set size of a process: what it shares counts in parts."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    (value,) = (int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return value


@pytest.fixture(params=["libvirt", "qemu"])
def ten(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """The connector's name, with ten halted guests of its kind at least."""
    boot: dict[str, Callable[[Sequence[Spec]], Sequence[Guest]]] = {"libvirt": lab.boot_libvirt, "qemu": lab.boot_bare}
    if request.param == "libvirt" and (reason := missing("libvirt")):
        unavailable(reason)
    specs = [Spec(f"still-{number}", memory_mib=16, disk_mib=1, bootable=False) for number in range(VMS)]
    guests = boot[request.param](specs)
    yield request.param
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda guest: guest.stop(), guests))


@pytest.mark.slow
def test_a_fleet_with_all_collectors_on_ten_vms_takes_less_than_70_mb(ten: str) -> None:
    with Proxtop(f"--{ten}", *FAMILIES, "-p", "json", "-f", "1") as proxtop:
        line = proxtop.lines(CYCLES)[-1].data
        assert len(line["domains"]) >= VMS
        sizes = {pathlib.Path(f"/proc/{pid}/comm").read_text().strip(): pss_kb(pid) for pid in proxtop.fleet()}
    assert len(sizes) == 4 + len(FAMILIES) + 1  # the broker, connector, lookup and aggregator; and the fleet's parent
    assert sum(sizes.values()) < LIMIT_KB, sizes
