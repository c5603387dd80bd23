"""proxtop: options → attach to a bus → the screen or a printer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from proxtop.catalog import DEFAULT_FAMILIES, FAMILIES
from proxtop.model import EMPTY
from proxtop.options import Options, parse

if TYPE_CHECKING:
    from proxtop.attach import PrivateFleet
    from proxtop.buses import Bus, Finder
    from proxtop.model import Snapshot, Stamp
    from proxtop.printers import Printer
    from proxtop.stream import Recomputed, Snapshots
    from proxtop.view import View

Make = Callable[["View", float], "Printer"]
"""Makes a printer of what is asked for and the seconds between two cycles."""

_SILENCE_S = 5.0
_START_S = 15.0
"""How long a private fleet may take to reach the hypervisor or to say why it can't."""

_FLUSH_S = 2.0
_FLUSH_TURN_S = 0.1
_LAST_S = 0.5
"""How long what comes after the last cycle is waited for when a signal ends the run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs proxtop; returns the exit status: 0, 2 for what the user can mend in the call, 1 for a failure later."""
    open_standard_files()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["keys"]:
        from proxtop import keys

        return keys.main(words[1:])
    return run(parse(words))


def run(options: Options, make: Make | None = None) -> int:
    """Runs what the options ask for, with the printer that `make` makes where it is not to be one of proxtop's own;
    returns the exit status."""
    stop = _Signals()
    from proxtop.attach import AttachError

    try:
        return _Client(options, stop, make).run()
    except AttachError as error:
        _say(str(error))
        return error.status
    except KeyboardInterrupt:
        return 130


def open_standard_files() -> None:
    """Where who started us had closed one, there is nothing, instead of what we open next."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _on_terminal() -> bool:
    return os.isatty(0) and os.isatty(1)


def _say(text: str) -> None:
    """One line on stderr; diagnostics never mix with data."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"proxtop: {text}\n")
        sys.stderr.flush()


class _Signals:
    """SIGINT and SIGTERM end the run; SIGPIPE is an error of a write."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.wake, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that the signal asks for."""
        return 130 if self.number == signal.SIGINT else 0


class _Client:
    """One run: a bus, a view, a printer and an output."""

    def __init__(self, options: Options, stop: _Signals, make: Make | None) -> None:
        self._options = options
        self._stop = stop
        self._make = make
        self._notes: set[str] = set()
        self._opening: str | None = None

    def run(self) -> int:
        """Finds or starts a bus and prints from it until the runs are done."""
        from proxtop.buses import Finder

        finder = Finder(self._options, self._note)
        if self._screen:
            return self._show(finder)
        with contextlib.ExitStack() as stack:
            bus = self._attach(stack, finder)
            return _Loop(self._options, self._stop, bus, stack, self._make, self._note, self._announce).run()

    @property
    def _screen(self) -> bool:
        """Whether the screen was asked for: by name, or by a terminal where no printer is named."""
        options = self._options
        if self._make is not None:
            return False
        if options.printer is None:
            return options.output == "stdout" and _on_terminal() and os.environ.get("TERM", "dumb") != "dumb"
        if options.printer not in ("ncurses", "tui"):
            return False
        from proxtop.attach import AttachError

        if options.output != "stdout":
            raise AttachError(
                f"-p {options.printer}: the screen goes to a terminal, not to {options.output}; name text, json or csv"
            )
        if not _on_terminal():
            raise AttachError(f"-p {options.printer}: standard input and output are no terminal; use --printer=text")
        return True

    def _show(self, finder: Finder) -> int:
        """The full screen, on a bus as any printer."""
        from proxtop.buses import setup
        from proxtop.tui import link

        options = self._options
        families = tuple(FAMILIES) if options.families == DEFAULT_FAMILIES else options.families

        def start(interval: float) -> PrivateFleet:
            from proxtop.attach import PrivateFleet

            return PrivateFleet(setup(replace(options, frequency=interval, families=families)))

        found = finder.existing()
        if found is None:
            bus = link.private(start, options.frequency)
            note = f"{finder.unserved}; started a private fleet"
        else:
            from proxtop import control

            note = ""
            bus = link.Bus(
                found.endpoint,
                found.interval,
                secure=found.secure,
                node=options.node if options.bus is not None else None,
                control=control.directory(found.endpoint),
                cluster=found.cluster,
            )
        from proxtop.tui import app  # only now: the fleet, a fork of ours, has no use for it and starts meanwhile

        return app.run(options, bus, start, note)

    def _note(self, text: str) -> None:
        """Says something once, and again only after something else."""
        if text not in self._notes:
            self._notes.add(text)
            _say(text)

    def _announce(self, more: str | None = None) -> None:
        """Says, once there is something to show, that a private fleet had to be started; in the same line what must be
        said at once with it. A start that fails has said only why."""
        opening, self._opening = self._opening, None
        if opening is not None:
            _say(f"{opening}; {more}" if more else opening)
            self._notes.add(more or opening)
        elif more:
            self._note(more)

    def _attach(self, stack: contextlib.ExitStack, finder: Finder) -> Bus:
        """The bus to read from: one that there is, else our own."""
        found = finder.existing()
        if found is not None:
            return found
        from proxtop.attach import PrivateFleet
        from proxtop.buses import Bus, setup

        fleet = PrivateFleet(setup(self._options))
        stack.callback(fleet.close)
        self._opening = f"{finder.unserved}; started a private fleet"
        return Bus(fleet.endpoint, self._options.frequency, None, fleet)


class _Loop:
    """Reads snapshots and prints them."""

    def __init__(
        self,
        options: Options,
        stop: _Signals,
        bus: Bus,
        stack: contextlib.ExitStack,
        make: Make | None,
        note: Callable[[str], None],
        announce: Callable[[str | None], None],
    ) -> None:
        import zmq

        from proxtop import printers, stream
        from proxtop.printers import outputs
        from proxtop.view import View

        self._options = options
        self._stop = stop
        self._bus = bus
        self._note = note
        self._announce = announce
        self._left = options.runs
        self._seen: dict[str, dict[str, str]] = {}
        self._lost: dict[str, int] = {}
        self._lost_in_all = 0
        self._missing: frozenset[str] = frozenset()
        self._starting = bus.fleet is not None
        self._view = View.of(options)
        name = options.printer or "text"
        interval = options.frequency if bus.recompute is not None or bus.interval is None else bus.interval
        self._printer = printers.create(name, self._view) if make is None else make(self._view, interval)
        self._output = outputs.create(options)
        stack.callback(self._output.close)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self._snapshots: Snapshots | Recomputed
        if bus.recompute is not None:
            self._snapshots = stream.Recomputed(
                context, bus.endpoint, node=bus.recompute, families=options.families, frequency=options.frequency,
                secure=bus.secure,
            )  # fmt: skip
        else:
            local = bus.interval if bus.endpoint.startswith("ipc:") and not bus.cluster else None
            self._snapshots = stream.Snapshots(
                context, bus.endpoint, interval=local, counters=name == "prometheus", secure=bus.secure,
                node=options.node if options.bus is not None else None,
            )  # fmt: skip
        self._poller = zmq.Poller()
        for source in (self._snapshots.subscriber.socket, stop.wake, self._output.fileno()):
            self._poller.register(source, zmq.POLLIN)
        if bus.fleet is not None:
            for source in (bus.fleet.ready, bus.fleet.process):
                self._poller.register(source, zmq.POLLIN)
        self._heard = time.monotonic()

    def run(self) -> int:
        """Until the runs are done, a signal, or the end of what we read from or write to."""
        from proxtop.printers.outputs import SinkClosed

        try:
            while self._left and self._stop.number is None:
                self._turn()
            last = self._printer.end()
            self._output.offer(last, self._printer.header())
            if self._stop.number is None:
                self._deliver()
            elif last:
                self._output.flush(_LAST_S)
        except SinkClosed:
            return 0
        self._output.close()
        if self._stop.number is None and self._output.incomplete:
            return 1
        return self._stop.status

    def _deliver(self) -> None:
        """Waits until all that was printed has arrived: for a reader of stdout until a signal, for others a while."""
        end = None if self._options.output == "stdout" else time.monotonic() + _FLUSH_S
        while self._stop.number is None and not self._output.flush(_FLUSH_TURN_S):
            if self._output.closed or (end is not None and time.monotonic() > end):
                return

    def _turn(self) -> None:
        """One round of waiting and printing."""
        from proxtop.printers.outputs import SinkClosed

        wait = self._snapshots.wait()
        timeout = min(1.0, 1.0 if wait is None else wait)
        found: list[tuple[Any, int]] = self._poller.poll(int(timeout * 1000) + 1)
        ready = {source for source, _ in found}
        if self._output.fileno() in ready:
            raise SinkClosed
        fleet = self._bus.fleet
        if fleet is not None:
            if fleet.ready in ready:
                self._hear(fleet)
            if fleet.process in ready:
                raise self._error("the private fleet ended; see the lines above", 1)
        for stamp, snapshot in self._snapshots.take():
            if self._left:
                self._print(stamp, snapshot)
        patience = max(_SILENCE_S, 3 * (self._bus.interval or 0))
        if time.monotonic() - self._heard > (max(_START_S, patience) if self._starting else patience):
            self._silence()

    def _error(self, text: str, status: int) -> Exception:
        from proxtop.attach import AttachError

        return AttachError(text, status)

    def _hear(self, fleet: PrivateFleet) -> None:
        """The fleet's first word: the hypervisor answers, or why it does not."""
        word = os.read(fleet.ready, 4096).decode(errors="replace").strip()
        self._poller.unregister(fleet.ready)
        self._starting = False
        if word.startswith("error "):
            raise self._error(word.removeprefix("error "), 2)

    def _silence(self) -> None:
        self._heard = time.monotonic()
        if self._options.bus is not None and self._left == self._options.runs:
            keys = ", and does it let this key in" if self._bus.secure else ""
            raise self._error(f"--bus {self._options.bus}: nothing came; is a proxtopd or proxtop-agg there{keys}?", 2)
        self._announce(None)
        self._note("no snapshot comes; still waiting")
        if self._bus.secure is not None:
            import zmq

            self._poller.unregister(self._snapshots.subscriber.socket)
            self._snapshots.subscriber.renew()
            self._poller.register(self._snapshots.subscriber.socket, zmq.POLLIN)

    def _print(self, stamp: Stamp, snapshot: Snapshot) -> None:
        self._heard = time.monotonic()
        self._explain(snapshot)
        if self._options.verbose:
            self._log(stamp.node, snapshot)
        limit = self._output.limit
        printer = self._printer
        samples = self._snapshots.samples
        record = (
            printer.render(snapshot, stamp, samples)
            if limit is None
            else printer.parts(snapshot, stamp, limit, samples)
        )
        self._tell_missing(snapshot)
        self._output.offer(record, printer.header())
        if self._left > 0:
            self._left -= 1

    def _explain(self, snapshot: Snapshot) -> None:
        """What the numbers do not say: no VM, families that are missing or partial, and why."""
        if not snapshot.tables.get("vm", EMPTY).ids:
            why = f" ({snapshot.reason})" if snapshot.reason else ""
            self._announce(
                f"no VM runs on this host, says {snapshot.connector}{why}; `make lab` boots a few small ones"
            )
        else:
            self._announce(None)
            if snapshot.reason:
                self._note(snapshot.reason)
        for name in self._options.families:
            if name in snapshot.stale:
                self._note(f"{name}: {snapshot.stale[name]}")
            if name in snapshot.degraded:
                self._note(snapshot.degraded[name])

    def _tell_missing(self, snapshot: Snapshot) -> None:
        """What was asked for by name and matches nothing in the cycle just rendered, again when there is more of it. A
        family that is stale tells nothing of its devices: what was missing there still is."""
        missing = self._printer.missing
        more = not self._missing.issuperset(missing)
        self._missing = self._missing.union(missing) if snapshot.stale else frozenset(missing)
        if more:
            _say(f"nothing on this host matches {', '.join(missing)}; still looking")

    def _log(self, node: str, snapshot: Snapshot) -> None:
        """What --verbose tells beside the data: VMs that come and go on that host, and frames that were lost."""
        vms = snapshot.tables.get("vm", EMPTY)
        now = dict(zip(vms.ids, map(str, vms.columns.get("name", vms.ids)), strict=True))
        seen = self._seen.get(node)
        if seen is None:
            _say(f"connector {snapshot.connector}: {len(now)} VMs, families {', '.join(snapshot.families)}")
        else:
            for row in now.keys() - seen.keys():
                _say(f"VM {now[row]} ({row}) appeared")
            for row in seen.keys() - now.keys():
                _say(f"VM {seen[row]} ({row}) is gone")
        self._seen[node] = now
        fresh = self._more_lost(node, snapshot.lost) + self._more_lost("", self._snapshots.subscriber.tracker.lost)
        if fresh:
            self._lost_in_all += fresh
            _say(f"{fresh} frames were lost on the bus, {self._lost_in_all} in all")

    def _more_lost(self, where: str, lost: int) -> int:
        """What a host's aggregator lost since its last cycle, or we ("") did; one that began anew counts from 0."""
        before, self._lost[where] = self._lost.get(where, 0), lost
        return lost - before if lost >= before else lost
