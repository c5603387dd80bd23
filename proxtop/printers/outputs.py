"""Where records go: a bounded queue, drained by a thread, so that no sink, however slow or absent, holds up a cycle.

A sink that fails is tried again with growing pauses while whole cycles queue; past the bounds the oldest is dropped and
counted. What happens to a sink is said once on stderr when it changes.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from proxtop.options import Options, host_port
from proxtop.printers.sinks import (
    DATAGRAM_LIMIT,
    Closed,
    FileSink,
    Record,
    ReplaceSink,
    Sink,
    StreamSink,
    TcpSink,
    UdpSink,
    Unsendable,
)

MAX_RECORDS = 1024
MAX_BYTES = 16 << 20
FIRST_PAUSE = 0.25
LAST_PAUSE = 30.0


class SinkClosed(Exception):
    """The reader of stdout went away: there is nobody left to write for."""


def say(text: str) -> None:
    """One line on stderr, which may be gone."""
    try:
        sys.stderr.write(f"proxtop: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


class Output:
    """A queue in front of one sink. `dropped` counts the cycles that were given up; `limit` is the most bytes that a
    piece of a record may have, None without a limit. No method but flush waits for the sink. `incomplete` tells, once
    closed, whether something that counts did not arrive: any cycle, the last one where only the newest matters."""

    def __init__(
        self,
        sink: Sink,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        report: Callable[[str], None] = say,
        jitter: Callable[[], float] = random.random,
        first_pause: float = FIRST_PAUSE,
        limit: int | None = None,
    ) -> None:
        self.limit = limit
        self.dropped = 0
        self.incomplete = False
        self._sink = sink
        self._max_records, self._max_bytes = max_records, max_bytes
        self._report, self._jitter, self._first_pause = report, jitter, first_pause
        self._queue: deque[Record] = deque()
        self._bytes = 0
        self._busy = False
        self._closed = False
        self._ended = False
        self._failing = False
        self._unsendable = False
        self._flushing = False
        self._confirmed = True
        self._unproven = False
        self._told = 0
        self._change = threading.Condition()
        self._gone = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    def offer(self, record: bytes | list[bytes], header: bytes = b"") -> None:
        """Take a cycle's record, or its pieces. The header goes before it wherever the sink starts anew (a connection,
        a file) or the header changed. SinkClosed once stdout has no reader."""
        pieces = tuple(record) if isinstance(record, list) else (record,)
        if not any(pieces):
            return
        with self._change:
            if self._closed:
                raise SinkClosed
            self._put(Record(header, pieces))
            first_drop = self._trim()
            self._change.notify_all()
        if first_drop:
            self._report(self._too_little)
        if self._thread is None:  # not before: a fork must not lose it
            self._thread = threading.Thread(target=self._run, name="output", daemon=True)
            self._thread.start()

    def fileno(self) -> int:
        """A descriptor that turns readable when offer would raise SinkClosed: for a poller."""
        return self._gone

    @property
    def failing(self) -> bool:
        """Whether the sink takes nothing just now."""
        return self._failing

    @property
    def closed(self) -> bool:
        """Whether it takes no more: closed by us, or stdout's reader went away."""
        return self._closed

    def flush(self, timeout: float | None) -> bool:
        """Wait until all is delivered, at most so many seconds (None: for ever); whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._change:
            self._confirmed = self._thread is None
            self._unproven = False
            self._flushing = True
            self._change.notify_all()
            try:
                while not self._closed:
                    if self._confirmed and not (self._queue or self._busy):
                        return True
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        self._unproven = True
                        return False
                    self._change.wait(left)
            finally:
                self._flushing = False
        return False

    def close(self) -> None:
        """Stop, deliver nothing more, and let go of the sink."""
        if self._ended:
            return
        self._ended = True
        with self._change:
            was_closed, self._closed = self._closed, True
            if not was_closed:
                left = len(self._queue) + self._busy
                self.dropped += left
                lost = self.dropped if self._sink.every_record_counts else left
                self.incomplete = lost > 0 or self._unproven
            self._change.notify_all()
        self._sink.stop()
        if self._thread is not None:
            self._thread.join(1.0)
        # A thread that hangs in the kernel (a dead mount, a name server) ends with the process.
        if self._thread is None or not self._thread.is_alive():
            self._thread = None
            self._sink.close()
            os.close(self._gone)
            self._gone = -1
        if self.incomplete and not self._sink.every_record_counts:
            self._tell("closed without the last cycle")
        elif self.incomplete and self.dropped > self._told:
            self._tell("closed")
        elif self._unproven and not was_closed:
            self._tell("closed before all was known to have arrived")

    def _put(self, record: Record, *, first: bool = False) -> None:
        (self._queue.appendleft if first else self._queue.append)(record)
        self._bytes += record.size

    def _take(self) -> Record:
        record = self._queue.popleft()
        self._bytes -= record.size
        return record

    def _trim(self) -> bool:
        """Drop the oldest past the bounds; whether these are the first since the last report."""
        before = self.dropped
        while len(self._queue) > self._max_records or (self._bytes > self._max_bytes and len(self._queue) > 1):
            self._take()
            self.dropped += 1
        return before == self._told < self.dropped and self._sink.every_record_counts

    def _run(self) -> None:
        failures = 0
        record: Record | None = None
        while True:
            with self._change:
                self._busy = record is not None
                self._change.notify_all()
                if failures:
                    pause = min(LAST_PAUSE, self._first_pause * 2 ** (failures - 1)) * (0.5 + self._jitter() / 2)
                    self._change.wait_for(lambda: self._closed, pause)
                self._change.wait_for(lambda: self._closed or self._queue or self._busy or self._to_confirm)
                if self._closed:
                    return
                if record is not None and self._queue and not self._sink.every_record_counts:
                    self.dropped += 1
                    record = None
                if record is None and self._queue:
                    record = self._take()
                self._busy = record is not None
            try:
                if record is None:
                    self._confirmed = self._sink.confirm()
                else:
                    self._confirmed = False
                    self._sink.write(record)
            except Closed:
                self._end()
                return
            except Unsendable as error:
                self._give_up(str(error))
                record = None
            except OSError as error:
                failures = min(failures + 1, 16)
                record = self._failed(error, record)
            else:
                if record is not None:
                    self._recovered()
                failures, record = 0, None

    @property
    def _to_confirm(self) -> bool:
        return self._flushing and not self._confirmed

    def _end(self) -> None:
        with self._change:
            self._closed = True
            self._busy = False
            self._change.notify_all()
        os.eventfd_write(self._gone, 1)

    def _give_up(self, reason: str) -> None:
        with self._change:
            self.dropped += 1
        if not self._unsendable:
            self._unsendable = True
            self._report(f"{self._sink.name}: {reason}; such cycles are dropped")

    def _failed(self, error: OSError, record: Record | None) -> Record | None:
        """The record to go on with: the first that did not arrive."""
        again = self._sink.undelivered() + ([] if record is None else [record])
        with self._change:
            for later in reversed(again[1:]):
                self._put(later, first=True)
            first_drop = self._trim()
        if not self._failing:
            self._failing = True
            reason = error.strerror or str(error)
            self._report(f"{self._sink.name}: {reason}; cycles are kept and sent when it takes them again")
        if first_drop:
            self._report(self._too_little)
        return again[0] if again else None

    def _recovered(self) -> None:
        if self._failing:
            self._failing = False
            self._tell("takes cycles again")
        elif self.dropped > self._told and not self._queue and self._sink.every_record_counts:
            self._tell("keeps up again")

    def _tell(self, text: str) -> None:
        with self._change:
            lost, self._told = self.dropped - self._told, self.dropped
        cycles = "1 cycle was" if lost == 1 else f"{lost} cycles were"
        tail = f", {cycles} dropped" if lost and self._sink.every_record_counts else ""
        self._report(f"{self._sink.name}: {text}{tail}")

    @property
    def _too_little(self) -> str:
        return f"{self._sink.name}: takes too little; the oldest cycles are dropped"


def create(options: Options, report: Callable[[str], None] = say) -> Output:
    """The output that the options ask for. A Prometheus file is replaced whole each cycle, any other appended to."""
    if options.output == "stdout" or options.target is None:
        return Output(StreamSink(1, "stdout"), report=report)
    if options.output == "file":
        if options.printer == "prometheus":
            return Output(ReplaceSink(options.target), max_records=1, report=report)
        return Output(FileSink(options.target), report=report)
    host, port = host_port(options.target)
    if options.output == "tcp":
        return Output(TcpSink(host, port), report=report)
    return Output(UdpSink(host, port), limit=DATAGRAM_LIMIT, report=report)
