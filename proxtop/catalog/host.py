"""Who the host is."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric

HOST = (
    Metric("host_name", "host", "", "info", "HOST", "PROCFS/sys/kernel/hostname, or --node", "name of the hypervisor"),
    Metric(
        "host_uuid",
        "host",
        "",
        "info",
        "HOSTUUID",
        "/sys/class/dmi/id/product_uuid",
        "the machine's DMI UUID (requires root)",
        True,
    ),
)

COLUMNS = tuple(Column(metric.name, "host", "", "info", metric.help) for metric in HOST)

FAMILY = Family("host", "--host", "host identification metrics", HOST, COLUMNS, default=False)
