"""Pressure stall information of the host and of each VM's cgroup (kernel: Documentation/accounting/psi.rst)."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric, counters, gauges, rescoped

RESOURCES = (("cpu", "cpu"), ("io", "io"), ("mem", "memory"), ("irq", "irq"))
"""(name in the metrics, name of the kernel's file)"""

WINDOWS = ("avg10", "avg60", "avg300")


def _kinds(resource: str) -> tuple[str, ...]:
    return ("full",) if resource == "irq" else ("some", "full")


_DEFAULT = {"psi_some_cpu_avg60", "psi_some_io_avg60", "psi_full_io_avg60", "psi_some_mem_avg60", "psi_full_mem_avg60"}


def _metrics() -> tuple[Metric, ...]:
    metrics = []
    for name, file in RESOURCES:
        for kind in _kinds(name):
            who = "some task was" if kind == "some" else "all tasks were"
            label = f"{kind[0].upper()}{name.upper()}"
            source = f"/proc/pressure/{file}"
            for window in WINDOWS:
                metric = f"psi_{kind}_{name}_{window}"
                seconds = window.removeprefix("avg")
                text = f"share of the last {seconds} s in which {who} held up by {file}"
                metrics.append(
                    Metric(metric, "host", "%", "gauge", f"{label}{seconds}", source, text, metric not in _DEFAULT)
                )
            text = f"share of the cycle in which {who} held up by {file}"
            metrics.append(Metric(f"psi_{kind}_{name}", "host", "%", "rate", f"%{label}", source, text, True))
    return tuple(metrics)


HOST = _metrics()
VM = rescoped(HOST, "vm")

AVERAGES = tuple(metric.name for metric in HOST if metric.kind == "gauge")
TOTALS = tuple(metric.name + "_us" for metric in HOST if metric.kind == "rate")

COLUMNS = (
    *gauges("host", "%", tuple((name, "the kernel's average") for name in AVERAGES)),
    *counters("host", "us", tuple((name, "time stalled") for name in TOTALS)),
    Column("gen", "vm", "", "info", "start time and PID in one number"),
    *gauges("vm", "%", tuple((name, "the kernel's average, of its cgroup") for name in AVERAGES)),
    *counters("vm", "us", tuple((name, "time stalled, of its cgroup") for name in TOTALS)),
)

FAMILY = Family("psi", "--pressure", "PSI metrics (requires kernel 4.20+)", (*HOST, *VM), COLUMNS, default=False)
