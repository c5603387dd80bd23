"""One VM on a screen of its own: vCPUs, other threads, memory, pressure, disks, NICs, and its last minute. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxtop import catalog
from proxtop.catalog import Metric, Scope
from proxtop.model import Value
from proxtop.tui import cells, table
from proxtop.tui.history import series
from proxtop.tui.scene import Scene
from proxtop.tui.state import State
from proxtop.tui.table import Line
from proxtop.tui.text import fit, sparkline, width

MINUTE_S = 60.0
_SPARK_CELLS = 30
_LABEL_CELLS = 10

_MEMORY = ("ram_total", "ram_used", "ram_current", "ram_free", "ram_balloon", "ram_active", "ram_rss", "ram_swap",
           "ram_swapin", "ram_swapout", "ram_majflt")  # fmt: skip
_CPU = ("cpu_total", "cpu_steal", "cpu_other_total", "cpu_other_steal", "cpu_throttled", "cpu_cores")
_IO = ("io_MBRD/s", "io_MBWR/s", "io_RDOPS", "io_WROPS", "disk_delayblkio")
_DISK = ("disk_device", "disk_reads", "disk_writes", "disk_mbread", "disk_mbwrite", "disk_lat_rd", "disk_lat_wr",
         "disk_lat_fl", "disk_ioutil", "disk_size_capacity", "disk_source")  # fmt: skip
_NIC = ("net_receivedBytes", "net_transmittedBytes", "net_receivedPackets", "net_transmittedPackets",
        "net_receivedDrop", "net_transmittedDrop", "net_receivedErrs", "net_transmittedErrs", "net_mac")  # fmt: skip
_THREAD = ("thread_count", "thread_total", "thread_steal")
_HISTORY = (("cpu_total", 100.0), ("cpu_steal", 100.0), ("ram_rss", None), ("disk_mbread", None),
            ("disk_mbwrite", None), ("disk_lat_avg", None), ("net_receivedBytes", None), ("net_transmittedBytes", None),
            ("psi_some_cpu", 100.0), ("psi_some_io", 100.0), ("psi_some_mem", 100.0))  # fmt: skip
_TEXT_CELLS = {"disk_device": 10, "net_mac": 17, "disk_source": 60}


def page(state: State, scene: Scene, columns: int) -> list[Line]:
    """All lines of the VM's page."""
    snapshot = scene.snapshot
    owner = state.selected or ""
    vm = snapshot.tables["vm"] if snapshot is not None else None
    if snapshot is None or vm is None or owner not in vm.ids:
        return [[("title", fit(f" This VM ({owner[:8]}) is gone.", columns))], [("", " Esc goes back.")]]
    values = {name: column[vm.ids.index(owner)] for name, column in vm.columns.items()}
    ids = "".join(f"  {key} {values[key]}" for key in ("vmid", "pid") if values.get(key) is not None)
    lines: list[Line] = [[("title", fit(f"{values.get('name', '')}  {owner}{ids}", columns))]]
    if values.get("reason"):
        lines.append([("note", fit(f" {values['reason']}", columns))])
    draw = _Draw(scene, columns, human=state.human)
    lines += draw.figures("CPU", values, _CPU)
    lines += draw.vcpus(table.parts(snapshot, "vcpu", owner))
    lines += draw.parts("THREADS", "thread", table.parts(snapshot, "thread", owner), _THREAD)
    lines += draw.figures("MEMORY", values, _MEMORY)
    lines += draw.pressure(values)
    lines += draw.parts("DISK", "disk", table.parts(snapshot, "disk", owner), _DISK)
    lines += draw.parts("NIC", "nic", table.parts(snapshot, "nic", owner), _NIC)
    lines += draw.figures("I/O", values, _IO)
    lines += draw.minute(owner)
    return lines


class _Draw:
    """The parts of the page."""

    def __init__(self, scene: Scene, columns: int, *, human: bool) -> None:
        self._scene = scene
        self._columns = columns
        self._human = human

    def _cell(self, metric: Metric, value: Value, whole: Value = None) -> tuple[str, str]:
        style = "dim" if value is None else self._scene.levels.style(metric.name, value, whole)
        return style, cells.cell(metric, value, cells.cells(metric, human=self._human), human=self._human)

    def figures(self, title: str, values: Mapping[str, Value], names: Sequence[str]) -> list[Line]:
        """Label and value, as many beside each other as fit."""
        metrics = [metric for name in names if name in values and (metric := catalog.metric("vm", name)) is not None]
        lines: list[Line] = []
        used = self._columns
        for metric in metrics:
            style, text = self._cell(metric, values[metric.name], values.get("ram_total"))
            taken = len(metric.label) + 1 + len(text) + 2
            if used + taken > self._columns:
                lines.append([("title", fit("" if lines else title, _LABEL_CELLS))])
                used = _LABEL_CELLS
            lines[-1] += [("part", f"{metric.label} "), (style, text), ("", "  ")]
            used += taken
        return lines

    def vcpus(self, parts: Sequence[tuple[str, Mapping[str, Value]]]) -> list[Line]:
        """Each vCPU: used, steal, and the core it was on; as many beside each other as fit."""
        each = 24
        across = max(1, (self._columns - _LABEL_CELLS) // each)
        head = f"{'vCPU':>5} {'%USED':>6} {'%RDY':>6} {'CPU':>4} "
        shown = min(across, max(1, len(parts)))
        lines: list[Line] = [[("title", fit("vCPU", _LABEL_CELLS)), ("part", head * shown)]] if parts else []
        for number, (part, values) in enumerate(parts):
            if number % across == 0:
                lines.append([("", " " * _LABEL_CELLS)])
            lines[-1].append(("", f"{part:>5} "))
            for name in ("vcpu_total", "vcpu_steal"):
                metric = catalog.metric("vcpu", name)
                assert metric is not None
                lines[-1] += [
                    (self._cell(metric, values.get(name))[0], cells.cell(metric, values.get(name), 6, human=False)),
                    ("", " "),
                ]
            core = values.get("vcpu_cpu")
            lines[-1].append(("part", f"{'-' if core is None else core!s:>4} "))
        return lines

    def parts(
        self, title: str, scope: Scope, parts: Sequence[tuple[str, Mapping[str, Value]]], names: Sequence[str]
    ) -> list[Line]:
        """A small table of the VM's parts: the columns that fit."""
        if not parts:
            return []
        metrics: list[Metric] = []
        used = _LABEL_CELLS + 12
        for name in names:
            metric = catalog.metric(scope, name)
            if metric is None or used + self._size(metric) + 1 > self._columns:
                continue
            metrics.append(metric)
            used += self._size(metric) + 1
        heads = "".join(
            (fit(m.label, self._size(m)) if m.kind == "info" else m.label.rjust(self._size(m))) + " " for m in metrics
        )
        lines: list[Line] = [[("title", fit(title, _LABEL_CELLS)), ("part", " " * 12 + heads)]]
        for part, values in parts:
            line: Line = [("", " " * _LABEL_CELLS + fit(part, 11) + " ")]
            for metric in metrics:
                value = values.get(metric.name)
                if metric.kind == "info":
                    line.append(("", fit("-" if value is None else str(value), self._size(metric)) + " "))
                else:
                    line += [self._cell(metric, value), ("", " ")]
            lines.append(line)
        return lines

    def _size(self, metric: Metric) -> int:
        return _TEXT_CELLS.get(metric.name) or cells.cells(metric, human=self._human)

    def pressure(self, values: Mapping[str, Value]) -> list[Line]:
        """Pressure of the VM's cgroup: in this cycle, and the kernel's averages."""
        lines: list[Line] = []
        for kind, resource in (("some", "cpu"), ("some", "mem"), ("full", "mem"), ("some", "io"), ("full", "io")):
            names = [f"psi_{kind}_{resource}{end}" for end in ("", "_avg10", "_avg60", "_avg300")]
            found = [metric for name in names if (metric := catalog.metric("vm", name)) is not None]
            if all(values.get(metric.name) is None for metric in found):
                continue
            if not lines:
                heads = "".join(f"{text:>8}" for text in ("now %", "10 s", "60 s", "300 s"))
                lines.append([("title", fit("PRESSURE", _LABEL_CELLS)), ("part", " " * 12 + heads)])
            line: Line = [("", " " * _LABEL_CELLS + fit(f"{resource} {kind}", 12))]
            for metric in found:
                style = self._cell(metric, values.get(metric.name))[0]
                line.append((style, cells.cell(metric, values.get(metric.name), 8, human=False)))
            lines.append(line)
        return lines

    def minute(self, owner: str) -> list[Line]:
        """The last minute as sparklines: the oldest at the left, with the least and the most."""
        entries = self._scene.history.since(MINUTE_S, self._scene.until)
        step = max(1, -(-len(entries) // _SPARK_CELLS))
        lines: list[Line] = []
        for name, high in _HISTORY:
            metric = catalog.metric("vm", name)
            values = series(entries, "vm", owner, name)
            known = [value for value in values if value is not None]
            if metric is None or not known:
                continue
            spark = sparkline(_thinned(values, step), high=high, sparks=self._scene.sparks)
            ends = " .. ".join(cells.text(metric, value, human=self._human) for value in (min(known), max(known)))
            unit = "" if ends[-1].isalpha() else f" {metric.unit}"
            lines.append([
                ("title", fit("MINUTE" if not lines else "", _LABEL_CELLS)), ("part", fit(metric.label, 9)),
                ("key", spark.rjust(_SPARK_CELLS)), ("", f"  {ends}{unit}"),
            ])  # fmt: skip
        return [line if sum(width(t) for _, t in line) <= self._columns else line[:3] for line in lines]


def _thinned(values: Sequence[float | None], step: int) -> list[float | None]:
    """The largest of each `step` values: a peak is never lost."""
    groups = [values[place : place + step] for place in range(0, len(values), step)]
    return [max((value for value in group if value is not None), default=None) for group in groups]
