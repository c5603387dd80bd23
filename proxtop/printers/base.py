"""What all printers share: one interface, rounding, and lines packed into datagrams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from proxtop.catalog import Metric
from proxtop.model import Constant, Sample, Snapshot, Stamp, Value
from proxtop.view import Selection, View

NO_SAMPLES: Mapping[str, Sample] = {}

_DECIMALS = {"MB/s": 6}
"""Digits kept behind the point by unit, so that a rate of one byte a second still shows; 3 for the rest."""


class Printer(ABC):
    """Snapshots → bytes. `missing` are the names of --vm, --netdev, --storedev that match nothing in the last cycle."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.missing: tuple[str, ...] = ()

    def header(self) -> bytes:
        """What a reader must have seen before the record rendered last; empty where records explain themselves."""
        return b""

    def render(self, snapshot: Snapshot, stamp: Stamp, samples: Mapping[str, Sample] = NO_SAMPLES) -> bytes:
        """The whole record of a cycle, its last newline included. `samples` are raw counters by family."""
        return b"".join(self.lines(self.select(snapshot), stamp, samples))

    def parts(
        self, snapshot: Snapshot, stamp: Stamp, limit: int, samples: Mapping[str, Sample] = NO_SAMPLES
    ) -> list[bytes]:
        """The same record in pieces of at most `limit` bytes, each of whole lines; a longer line is a piece alone."""
        return packed(self.lines(self.select(snapshot), stamp, samples), limit)

    def end(self) -> bytes:
        """What is to come after the last cycle of a run."""
        return b""

    def select(self, snapshot: Snapshot) -> Selection:
        """What is shown of a snapshot."""
        selection = self.view.select(snapshot)
        self.missing = selection.missing
        return selection

    @abstractmethod
    def lines(self, selection: Selection, stamp: Stamp, samples: Mapping[str, Sample]) -> list[bytes]:
        """The record in pieces that must not be torn apart, each with its newline."""


def rounded(metric: Metric, column: list[Value]) -> list[Value]:
    """The column with its floats rounded; whatever is no float is left as it is."""
    digits = _DECIMALS.get(metric.unit, 3)
    if column.__class__ is Constant and column:
        return rounded(metric, column[:1]) * len(column)
    return [round(value, digits) if type(value) is float else value for value in column]


def packed(lines: Iterable[bytes], limit: int) -> list[bytes]:
    """Lines joined into as few pieces of at most `limit` bytes as keep their order."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > limit:
            pieces.append(b"".join(piece))
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        pieces.append(b"".join(piece))
    return pieces
