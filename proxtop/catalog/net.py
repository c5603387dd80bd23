"""Network: the host's interfaces, and each VM's NICs seen from the VM (a tap's receive is its transmit)."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric, Scope, counters, gauges

RX = ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast")
TX = ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed")
"""The fields of /proc/net/dev, in its order."""

_LABEL = {"bytes": "B", "packets": "PKT", "errs": "ERR", "drop": "DRP", "fifo": "FIFO", "frame": "FRAME",
          "compressed": "COMP", "multicast": "MCAST", "colls": "COLLS", "carrier": "CARR"}  # fmt: skip


def _fields(scope: Scope, prefix: str, source: str) -> tuple[Metric, ...]:
    metrics = []
    for way, short, fields in (("received", "RX", RX), ("transmitted", "TX", TX)):
        for field in fields:
            unit = "bytes/s" if field == "bytes" else "1/s"
            metrics.append(
                Metric(f"{prefix}{way}{field.capitalize()}", scope, unit, "rate", f"{_LABEL[field]}{short}/s", source,
                       f"{field} {way}", field != "bytes")
            )  # fmt: skip
    return tuple(metrics)


_HOST_SOURCE = "PROCFS/1/net/dev"
_SPEED = "/sys/class/net"

HOST = (
    *_fields("host", "net_host_", _HOST_SOURCE),
    Metric("net_host_speed", "host", "Mbit/s", "gauge", "SPEED", _SPEED, "link speed of the interfaces counted: physical ones, or those of --netdev; null where none tells it"),
)  # fmt: skip

INTERFACE = (
    *_fields("interface", "net_host_", _HOST_SOURCE),
    Metric("net_host_speed", "interface", "Mbit/s", "gauge", "SPEED", _SPEED, "link speed"),
    Metric(
        "net_host_type",
        "interface",
        "",
        "info",
        "TYPE",
        _SPEED,
        "physical, bridge, bond, vlan, tap, veth, loopback or virtual",
    ),
)

VM = _fields("vm", "net_", "its taps in the host's net/dev, directions swapped")
NIC = (
    *_fields("nic", "net_", "its tap in the host's net/dev, directions swapped"),
    Metric("net_mac", "nic", "", "info", "MAC", "connector", "hardware address that the guest sees", True),
)

_COUNTERS = tuple(
    (f"{way}_{field}", f"{field} {text}")
    for way, text, fields in (("rx", "received", RX), ("tx", "transmitted", TX))
    for field in fields
)

COLUMNS = (
    Column("type", "interface", "", "info", "physical, bridge, bond, vlan, tap, veth, loopback or virtual"),
    *gauges("interface", "Mbit/s", (("speed", "link speed"),)),
    *counters("interface", "1", _COUNTERS),
    Column("gen", "nic", "", "info", "interface index: another value is another interface"),
    Column("mac", "nic", "", "info", "hardware address"),
    *counters("nic", "1", _COUNTERS),
)

FAMILY = Family("net", "--net", "network metrics", (*HOST, *INTERFACE, *VM, *NIC), COLUMNS)
