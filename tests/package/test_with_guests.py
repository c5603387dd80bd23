"""The Dockerfile's steps in a Debian root, and the documented run line: it shows the host's VMs."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from tests.lab.scenes import LibvirtScene
from tests.package import container
from tests.package.roots import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def run_line(text: str) -> str:
    """The line of a document that starts the container."""
    (line,) = re.findall(r"^[# ]*(docker run .* --procfs=/host/proc)$", text.replace("\\\n", ""), re.MULTILINE)
    return " ".join(str(line).split())


def test_the_documents_and_the_dockerfile_agree_on_how_it_is_run() -> None:
    documented = "docker run -v /proc:/host/proc:ro -v /var/run/libvirt:/var/run/libvirt proxtop --procfs=/host/proc"
    assert run_line(DOCKERFILE) == documented
    assert run_line((REPOSITORY / "docs/operations.md").read_text()) == documented


def test_the_container_sees_the_hosts_vms(image: container.Image, libvirt_guests: LibvirtScene) -> None:
    line = f"{run_line(DOCKERFILE)} --runs=2 --printer=json --cpu --mem --host --verbose"
    cycles = [json.loads(text) for text in image.run(line).splitlines() if text.startswith("{")]
    assert len(cycles) == 2
    names = {vm["name"] for vm in cycles[-1]["domains"]}
    assert {"web", "web-01"} <= names
    busy = next(vm for vm in cycles[-1]["domains"] if vm["name"] == "web-01")
    assert busy["cpu_total"] > 5
    assert cycles[-1]["host"]["ram_Total"] == int(
        re.findall(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[0]
    )


def test_what_it_may_not_read_is_null_and_said(image: container.Image, libvirt_guests: LibvirtScene) -> None:
    told = image.run(f"{run_line(DOCKERFILE)} --runs=1 --printer=json --io")
    (cycle,) = (json.loads(text) for text in told.splitlines() if text.startswith("{"))
    assert cycle["domains"] and all(vm["io_RDOPS"] is None for vm in cycle["domains"])
    assert any(line.startswith("proxtop: io: ") for line in told.splitlines())
