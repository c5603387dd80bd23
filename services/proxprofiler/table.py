"""Tables for people: columns as wide as what is in them, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence

from wcwidth import wcswidth


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table; the first `left` columns stand to the left. Names are without control characters already."""
    every = [head, *rows]
    widths = [max(wide(row[place]) for row in every) for place in range(len(head))]
    lines = []
    for row in every:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - wide(cell))
            cells.append(cell + space if place < left else space + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def wide(text: str) -> int:
    """The columns of a terminal that the text takes."""
    width = wcswidth(text)
    return width if width >= 0 else len(text)


def number(value: float | None) -> str:
    """Three or four digits of a number, - where it is not known."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 1 else f"{value:.2g}" if size else "0"


def percent(share: float, digits: int = 1) -> str:
    """A share as percent; one that is neither nothing nor everything is shown as neither."""
    text = f"{100 * share:.{digits}f}"
    if share > 0 and float(text) == 0:
        return f"<{10**-digits:.{digits}f} %"
    if share < 1 and float(text) == 100:
        return f">{100 - 10**-digits:.{digits}f} %"
    return f"{text} %"


def duration(seconds: float) -> str:
    """20 s, 1 min 20 s, 5 min, 3.5 h, 2 d."""
    if 60 < seconds < 600 and seconds % 60:
        return f"{seconds // 60:.0f} min {seconds % 60:g} s"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:g} s"


def amount(value: float | None, unit: str) -> str:
    """A value of a metric with its unit, in the unit's multiple that suits it."""
    if value is None:
        return "-"
    factor = {"KB": 1024.0, "bytes/s": 1.0}.get(unit)
    if factor is None:
        return f"{number(value)} {unit}".rstrip()
    size, tail = value * factor, "/s" if unit.endswith("/s") else ""
    for name in ("B", "KB", "MB", "GB", "TB"):
        if abs(size) < 1000 or name == "TB":
            return f"{number(size)} {name}{tail}"
        size /= 1024
    raise AssertionError
