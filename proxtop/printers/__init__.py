"""Snapshots → bytes: text, JSON, CSV and Prometheus; `outputs` brings the bytes where they belong."""

from __future__ import annotations

from importlib import import_module

from proxtop.printers.base import Printer
from proxtop.view import View

PRINTERS = {
    "text": "TextPrinter",
    "json": "JsonPrinter",
    "csv": "CsvPrinter",
    "prometheus": "PrometheusPrinter",
}
"""The class of each, in the module of the printer's name."""


def create(name: str, view: View) -> Printer:
    """The printer of that name (a key of PRINTERS) for that view; only its own module is loaded."""
    printer: Printer = getattr(import_module(f"{__name__}.{name}"), PRINTERS[name])(view)
    return printer


__all__ = ["PRINTERS", "Printer", "create"]
