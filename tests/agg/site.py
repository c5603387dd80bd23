"""Several hypervisors and an aggregator on one machine: a network namespace for each, cables between them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pytest

from proxtop.bus import endpoints, keys
from proxtop.bus.curve import Joining
from proxtop.bus.keys import Pair
from tests.agg.cable import Cable
from tests.agg.rig import Process, Reader
from tests.faults.rig import PATIENCE_S, PROXTOP, QEMU, eventually

ROOT = pathlib.Path(__file__).parents[2]
INTERVAL_S = 1.0
AGGREGATOR = f"pxt{os.getpid()}-agg"
"""The namespace of the aggregator; other runs on this machine have names of their own."""


def missing() -> str | None:
    """Why this machine can't have it."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for tool in (QEMU, "ip", "unshare"):
        if not shutil.which(tool):
            return f"needs {tool} (Debian packages qemu-system-x86, iproute2, util-linux)"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return None


def require() -> None:
    """Skips where it can't be; CI has to have it."""
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Hypervisor:
    """A host with guests, a proxtopd and a door, reachable over a cable."""

    def __init__(self, site: Site, number: int, node: str, guests: Sequence[str]) -> None:
        self.node = node
        self.space = f"pxt{os.getpid()}-{node}"
        self.guests = {name: str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in guests}
        self.address = f"tcp://10.77.{number}.2:7654"
        self.folder = site.folder / node
        self.folder.mkdir()
        self.own = keys.create(str(self.folder / "door.key"), node)
        self.trusted = self.folder / keys.TRUSTED
        keys.trust(str(self.trusted), site.own.name, site.own.public)
        site.space(self.space)
        self.cable = Cable(number, AGGREGATOR, self.space)
        site.callback(self.cable.close)
        told = {"folder": str(self.folder), "guests": self.guests, "settings": {
            "PROXTOP_RUN": f"{self.folder}/bus", "PROXTOP_INTERVAL": f"{INTERVAL_S:g}", "PROXTOP_NODE": node,
            "PROXTOP_CONNECTOR": "qemu", "PROXTOP_FAMILIES": "cpu,mem", "PROXTOP_DOOR": "tcp://0.0.0.0:7654",
            "PROXTOP_DOOR_KEY": f"{self.folder}/door.key", "PROXTOP_DOOR_TRUSTED": str(self.trusted),
        }}  # fmt: skip
        command = ["ip", "netns", "exec", self.space, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
                   sys.executable, "-m", "tests.agg.hypervisor", json.dumps(told)]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True
        )  # fmt: skip
        site.callback(self.close)

    def ready(self) -> None:
        """Waits until its guests run."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", (self.folder / "said").read_text()

    def tell(self, words: str) -> None:
        """Has it done."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    @property
    def said(self) -> str:
        """What its fleet said on stderr."""
        return (self.folder / "said").read_text()

    def close(self) -> None:
        self.process.kill()  # and with it everything in its PID namespace, as if its power had gone
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


class Site(contextlib.ExitStack):
    """The aggregator and its hypervisors; all of it is gone at the end."""

    def __init__(self, hosts: Mapping[str, Sequence[str]], **options: Any) -> None:
        super().__init__()
        self._hosts = hosts
        self.hosts: dict[str, Hypervisor] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pts-"))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.own: Pair = keys.create(str(self.folder / "agg.key"), "agg1")
        self.trusted = self.folder / keys.TRUSTED
        self.viewer = keys.create(str(self.folder / "viewer.key"), "viewer")
        keys.trust(str(self.trusted), "viewer", self.viewer.public)
        self.space(AGGREGATOR)
        for number, (node, guests) in enumerate(self._hosts.items(), 1):
            self.hosts[node] = Hypervisor(self, number, node, guests)
        for host in self.hosts.values():
            host.ready()
        self.path = self.folder / "agg.toml"
        self.directory = self.folder / "bus"
        self.configure()
        self.agg = self.start()
        return self

    def space(self, name: str) -> None:
        """A network namespace with its loopback up."""
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False, timeout=30)
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
        self.callback(subprocess.run, ["ip", "netns", "delete", name], check=False, timeout=30)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=30)

    def configure(self) -> None:
        """Writes agg.toml."""
        lines = ['name = "agg1"', f'directory = "{self.directory}"', f'key = "{self.folder}/agg.key"',
                 "[door]", 'address = "tcp://0.0.0.0:7655"', f'trusted = "{self.trusted}"']  # fmt: skip
        for host in self.hosts.values():
            lines += ["[[hypervisors]]", f'node = "{host.node}"', f'address = "{host.address}"',
                      f'key = "{host.own.public.decode()}"']  # fmt: skip
        self.path.write_text("\n".join(lines) + "\n")

    def start(self) -> Process:
        """The aggregator in its namespace."""
        command = ["ip", "netns", "exec", AGGREGATOR, str(PROXTOP.with_name("proxtop-agg")), "run"]
        agg = Process([*command, f"--config={self.path}"])
        self.callback(agg.close)
        return agg

    def status(self) -> dict[str, Any]:
        """What `proxtop-agg status` says of each host, empty while nobody answers."""
        command = [str(PROXTOP.with_name("proxtop-agg")), "status", "--json", f"--config={self.path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        hosts: dict[str, Any] = json.loads(done.stdout)["hosts"] if done.returncode == 0 else {}
        return hosts

    def reader(self) -> Reader:
        """A reader of the aggregator's bus."""
        reader = Reader(endpoints.subscribe(str(self.directory)), None, (b"snapshot/", b"status/"))
        self.callback(reader.close)
        return reader

    def joining(self) -> Joining:
        """How the viewer joins the aggregator's door."""
        return Joining(self.viewer, self.own.public)

    def up(self) -> None:
        """Waits until every host is heard with all its guests."""
        reader = self.reader()

        def whole() -> bool:
            reader.take()
            last = {m.stamp.node: m.body for m in reader.messages if m.kind == "snapshot"}
            return all(
                node in last and set(host.guests) <= set(last[node].tables["vm"].columns["name"])  # type: ignore[union-attr]
                for node, host in self.hosts.items()
            )

        eventually("every host and guest", whole, 90)
