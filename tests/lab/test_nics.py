"""A NIC that is plugged into a guest and out of it, as proxtop prints it: by /proc, and by the URI of another host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.e2e.elsewhere import Elsewhere, Port
from tests.e2e.running import Proxtop
from tests.e2e.test_truth import domain
from tests.lab.host import BRIDGE, BRIDGE_MAC, SINK_ADDRESS, wait_for
from tests.lab.libvirt import LibvirtGuest, virsh
from tests.lab.scenes import LibvirtScene

INTERVAL_S = 0.5
MAC = "52:54:00:1a:fe:01"
RATE = 50_000
TOTALS = ("net_receivedBytes", "net_receivedPackets", "net_transmittedBytes", "net_transmittedPackets")


def taps(guest: LibvirtGuest) -> dict[str, str]:
    """The host's interface of each of the guest's NICs, by the NIC's address."""
    found = {}
    for nic in ElementTree.fromstring(virsh("dumpxml", guest.uuid)).iterfind("devices/interface"):
        mac, target = nic.find("mac"), nic.find("target")
        assert mac is not None and target is not None
        found[mac.get("address", "")] = target.get("dev", "")
    return found


@contextlib.contextmanager
def plugged_in(guest: LibvirtGuest) -> Iterator[None]:
    """A second NIC, by which the guest reaches the sink."""
    virsh("attach-interface", guest.uuid, "bridge", BRIDGE, "--model", "virtio", "--mac", MAC, "--live")
    try:
        yield
    finally:
        wait_for("the guest to know its NIC", lambda: "eth1" in guest.run("ls /sys/class/net"), 20)
        virsh("detach-interface", guest.uuid, "bridge", "--mac", MAC, "--live")
        wait_for("the NIC to be gone", lambda: MAC not in taps(guest), 20)


def lines_until(proxtop: Proxtop, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The lines up to the first of which that is true."""
    lines = [proxtop.line().data]
    while not condition(lines[-1]):
        assert len(lines) < 30, f"not within 30 lines: {lines[-1]}"
        lines.append(proxtop.line().data)
    return lines


def test_a_nic_is_there_and_counted_from_the_next_cycle_on_and_gone_as_soon(libvirt_guests: LibvirtScene) -> None:
    guest = libvirt_guests.web
    arguments = ("-f", str(INTERVAL_S), "-p", "json", "--verbose", "--net")
    with (
        Port() as port,
        Proxtop(*arguments, "--libvirt") as local,
        Elsewhere(*arguments, "-c", port.uri) as remote,
    ):
        both = local, remote

        def nics(line: dict[str, Any]) -> dict[str, dict[str, Any]]:
            return {nic["net_mac"]: nic for nic in domain(line, guest)["nics"]}

        def since(change: float) -> list[dict[str, Any]]:
            """Of each the first line of a cycle that begins half an interval after that time."""
            return [
                lines_until(proxtop, lambda line: line["cycle"] / 1000 > change + INTERVAL_S / 2)[-1]
                for proxtop in both
            ]

        first = guest.place.mac
        for line in since(time.time()):
            assert nics(line).keys() == {first}
        with plugged_in(guest):
            known = taps(guest)
            for line in since(time.time()):
                assert {mac: nic["nic"] for mac, nic in nics(line).items()} == known
            wait_for("the guest to know its NIC", lambda: "eth1" in guest.run("ls /sys/class/net"), 20)
            guest.run(
                f"ip link set eth1 up; ip route add {SINK_ADDRESS} dev eth1; arp -i eth1 -s {SINK_ADDRESS} {BRIDGE_MAC}"
            )
            with guest.loaded(f"send:{RATE}"):

                def sent(line: dict[str, Any]) -> bool:
                    return float(nics(line)[MAC]["net_transmittedBytes"] or 0) > RATE / 2

                for proxtop in both:
                    lines = lines_until(proxtop, sent)
                    lines += [line.data for line in proxtop.lines(4)]
                    rates = [nics(line)[MAC]["net_transmittedBytes"] for line in lines[-4:]]
                    assert sum(rates) / 4 == pytest.approx(RATE, rel=0.5)
                    for line in lines[-4:]:
                        for name in TOTALS:
                            assert domain(line, guest)[name] == pytest.approx(
                                sum(nic[name] for nic in nics(line).values()), abs=0.01
                            )
                        assert nics(line)[first]["net_transmittedBytes"] < RATE / 10
        for line in since(time.time()):
            assert nics(line).keys() == {first}
            assert domain(line, guest)["net_transmittedBytes"] == nics(line)[first]["net_transmittedBytes"] < RATE / 10
    assert "Traceback" not in local.stderr + remote.stderr
