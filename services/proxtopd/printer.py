"""A printer worker: snapshots → text, JSON, CSV or Prometheus → a file or a socket, whatever that does meanwhile."""

from __future__ import annotations

import sys

from proxtop import printers
from proxtop.bus import topics
from proxtop.model import Message, Sample, Snapshot
from proxtop.printers import outputs
from proxtop.view import View
from proxtopd.actor import Actor
from proxtopd.configuration import PRINTER, printer_options
from proxtopd.setup import Setup

_FLUSH_S = 1.0


class Printing:
    """Renders each cycle and hands it to the output's queue; what becomes of it is in the heartbeat."""

    def __init__(self, actor: Actor, text: str) -> None:
        options = printer_options(text)
        name = options.printer or "text"
        self.counters = name == "prometheus"
        self._actor = actor
        self._printer = printers.create(name, View.of(options))
        self._samples: dict[str, Sample] = {}
        self.output = outputs.create(options, report=self._hear)
        self._trouble: str | None = None

    def _hear(self, text: str) -> None:
        """The output says that something changed; it does so from its own thread."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        self._trouble = text if self.output.failing else None

    def on_sample(self, message: Message) -> None:
        """Counters, for formats that carry them."""
        if isinstance(message.body, Sample):
            self._samples[message.body.family] = message.body

    def on_snapshot(self, message: Message) -> None:
        """A cycle."""
        if not isinstance(message.body, Snapshot):
            return
        printer, limit = self._printer, self.output.limit
        render = (message.body, message.stamp)
        record = (
            printer.render(*render, self._samples) if limit is None else printer.parts(*render, limit, self._samples)
        )
        self.output.offer(record, printer.header())
        self._actor.given_up = self.output.dropped
        missing = f"nothing matches {', '.join(printer.missing)}" if printer.missing else None
        self._actor.reason = self._trouble or missing
        self._actor.finished(message.stamp.cycle)

    def close(self) -> None:
        """Gives what is queued a moment to arrive."""
        self.output.flush(_FLUSH_S)
        self.output.close()


def serve(name: str, setup: Setup) -> int:
    """Prints until SIGTERM."""
    prefixes = [f"{topics.SNAPSHOT}/{setup.node}/"]
    text = setup.options[PRINTER]
    if printer_options(text).printer == "prometheus":
        prefixes.append(f"{topics.SAMPLE}/{setup.node}/")
    with Actor(name, setup, prefixes) as actor:
        printing = Printing(actor, text)
        actor.run({topics.SNAPSHOT: printing.on_snapshot, topics.SAMPLE: printing.on_sample})
        printing.close()
    return 0
