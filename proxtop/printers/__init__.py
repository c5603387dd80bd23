"""Snapshots → bytes: text, JSON, CSV and Prometheus; `outputs` brings the bytes where they belong."""

from __future__ import annotations

from proxtop.printers.base import Printer
from proxtop.printers.csv import CsvPrinter
from proxtop.printers.json import JsonPrinter
from proxtop.printers.prometheus import PrometheusPrinter
from proxtop.printers.text import TextPrinter
from proxtop.view import View

PRINTERS: dict[str, type[Printer]] = {
    "text": TextPrinter,
    "json": JsonPrinter,
    "csv": CsvPrinter,
    "prometheus": PrometheusPrinter,
}


def create(name: str, view: View) -> Printer:
    """The printer of that name (a key of PRINTERS) for that view."""
    return PRINTERS[name](view)


__all__ = ["PRINTERS", "Printer", "create"]
