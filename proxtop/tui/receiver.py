"""The bus in the event loop: one source of cycles, another one when the interval changes, fleets of our own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

import zmq

from proxtop.attach import AttachError
from proxtop.control import ask
from proxtop.model import Profiles, Snapshot, Stamp, Status
from proxtop.tui.link import Bus, Source, StartFleet, private

_AGAIN_S = 5.0
"""Seconds after which a key that was not let in is shown again."""

_ANSWER_S = 10.0
"""How long a fleet may take to change its interval: its workers are replaced."""


class Ended(Exception):
    """Ends the program: a line for the user, and the exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Receiver:
    """Calls back with the cycles that came, with what is wrong with the connection, and with what our own fleet says.

    While the interval changes there are two sources: the one before delivers until the new one has its first cycle,
    then ends, and its fleet with it, where it was our own and another took its place.
    """

    def __init__(
        self,
        bus: Bus,
        start: StartFleet,
        *,
        on_cycles: Callable[[list[tuple[Stamp, Snapshot]]], None],
        on_link: Callable[[str], None],
        on_said: Callable[[str], None],
        on_heard: Callable[[list[tuple[Stamp, Status | Profiles]]], None] = lambda heard: None,
        on_interval: Callable[[float], None] = lambda interval: None,
    ) -> None:
        self._start = start
        self._on_cycles = on_cycles
        self._on_link = on_link
        self._on_said = on_said
        self._on_heard = on_heard
        self._on_interval = on_interval
        self._wish: float | None = None
        self._asked: asyncio.Future[object] | None = None
        self._closed = False
        self._deadline: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._source = Source(self._context, bus)
        self._old: Source | None = None

    def open(self) -> None:
        """Begins to listen; the event loop must run."""
        self._watch(self._source)
        self._adopt(self._source.bus)
        asyncio.get_running_loop().call_soon(self._take)

    def close(self) -> None:
        """Ends all: sockets, and fleets of our own."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        buses = {self._source.bus.endpoint: self._source.bus}
        self._drop(self._source)
        if self._old is not None:
            buses[self._old.bus.endpoint] = self._old.bus
            self._drop(self._old)
        for bus in buses.values():
            self._dismiss(bus)
        self._context.destroy(linger=0)

    def retune(self, interval: float, node: str, families: tuple[str, ...], *, everyone: bool = False) -> str:
        """Cycles of another length: for `everyone`, a fleet that we may control is asked for them; else multiples of
        its interval are computed here, and for others our own fleet starts anew. Returns why not, empty where it can
        be done."""
        bus = self._source.bus
        if bus.interval is None:
            return "the interval of this bus is not known, so it can't be changed"
        if everyone and bus.control is not None:
            self._wish = interval
            self._ask(bus.control)
            return ""
        ratio = interval / bus.interval
        whole = ratio > 0.5 and abs(ratio - round(ratio)) < 1e-6
        recompute = None if abs(ratio - 1) < 1e-6 else (node, families, interval)
        if not whole:
            if bus.fleet is None:
                return f"{interval:g} s is no multiple of the fleet's {bus.interval:g} s"
            try:
                bus, recompute = private(self._start, interval), None
            except AttachError as error:
                return str(error)
            self._adopt(bus)
        self._change(bus, recompute)
        return ""

    def moved(self, interval: float) -> None:
        """The fleet's own interval is another one now."""
        self._source.bus = replace(self._source.bus, interval=interval)

    def _ask(self, directory: str) -> None:
        """Asks the fleet for the interval that is wished for, beside: one request at a time, the last wish counts."""
        if self._asked is not None or self._wish is None:
            return
        wish = self._wish
        loop = asyncio.get_running_loop()
        self._asked = loop.run_in_executor(None, lambda: ask(directory, "interval", f"{wish:g}", timeout=_ANSWER_S))
        self._asked.add_done_callback(lambda asked: self._on_answer(asked, wish, directory))

    def _on_answer(self, asked: asyncio.Future[object], wish: float, directory: str) -> None:
        self._asked = None
        if self._closed or asked.cancelled():
            return
        if (error := asked.exception()) is not None:
            self._wish = None
            self._on_said(str(error))
            self._on_interval(self._source.bus.interval or wish)
            return
        self._change(replace(self._source.bus, interval=wish), None)
        self._on_said(f"the fleet's interval is {wish:g} s now, for everyone")
        if self._wish != wish:
            self._ask(directory)

    def _change(self, bus: Bus, recompute: tuple[str, tuple[str, ...], float] | None) -> None:
        """Another source, once its first cycle is there."""
        if self._old is None:
            self._old = self._source
        else:  # one change after the other, before any cycle came: what was shown stays until one comes
            self._drop(self._source)
            if self._source.bus not in (bus, self._old.bus):
                self._dismiss(self._source.bus)
        self._source = Source(self._context, bus, recompute)
        self._watch(self._source)
        asyncio.get_running_loop().call_soon(self._take)

    def _watch(self, source: Source) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(source.socket.fileno(), self._take)
        loop.add_reader(source.monitor.fileno(), self._on_monitor)

    def _drop(self, source: Source) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(source.socket.fileno())
        loop.remove_reader(source.monitor.fileno())
        source.close()

    def _adopt(self, bus: Bus) -> None:
        """Listens to a fleet of our own."""
        if bus.fleet is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(bus.said, self._on_messages, bus)
            loop.add_reader(bus.fleet.ready, self._on_ready, bus)
            loop.add_reader(bus.fleet.process, self._on_end, bus)

    def _dismiss(self, bus: Bus) -> None:
        """Ends a fleet of our own."""
        if bus.fleet is not None:
            loop = asyncio.get_running_loop()
            for descriptor in (bus.said, bus.fleet.ready, bus.fleet.process):
                loop.remove_reader(descriptor)
            bus.end()

    def _take(self) -> None:
        """Cycles may have come."""
        found = list(self._source.take())
        if self._old is not None:
            if found:
                self._drop(self._old)
                if self._old.bus is not self._source.bus:
                    self._dismiss(self._old.bus)
                self._old = None
            else:
                found = list(self._old.take())
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if (wait := self._source.snapshots.wait()) is not None:
            self._deadline = asyncio.get_running_loop().call_later(wait + 0.001, self._take)
        heard, self._source.snapshots.heard = self._source.snapshots.heard, []
        if heard:
            self._on_heard(heard)
        if found:
            self._on_cycles(found)

    def _on_monitor(self) -> None:
        for source in (self._source, self._old):
            if source is not None and source.watch():
                self._on_link(source.problem)
        if self._source.refused and self._old is None and self._again is None:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self._knock)

    def _knock(self) -> None:
        """Another socket in the place of one that was not let in: libzmq itself does not try again."""
        self._again = None
        if self._old is None and self._source.refused:
            before = self._source
            self._source = Source(self._context, before.bus, before.recompute)
            self._source.problem = before.problem
            self._drop(before)
            self._watch(self._source)
            asyncio.get_running_loop().call_soon(self._take)

    def _on_messages(self, bus: Bus) -> None:
        found = bus.messages()
        if found is None:
            asyncio.get_running_loop().remove_reader(bus.said)
        elif found:
            self._on_said(found[-1])

    def _on_ready(self, bus: Bus) -> None:
        """Our fleet's first word: the hypervisor answers, or why it does not."""
        assert bus.fleet is not None
        word = os.read(bus.fleet.ready, 4096).decode(errors="replace").strip()
        asyncio.get_running_loop().remove_reader(bus.fleet.ready)
        if word.startswith("error "):
            raise Ended(word.removeprefix("error "), 2)

    def _on_end(self, bus: Bus) -> None:
        raise Ended("; ".join(["the private fleet ended", *(bus.messages() or [])]), 1)
