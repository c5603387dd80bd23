"""libvirt's event loop as a part of ours: its descriptors and timers are polled where the connector waits anyhow.

That costs far fewer wake-ups than libvirt's own loop in a thread, and must be registered before a connection is opened
(https://libvirt.org/html/libvirt-libvirt-event.html). Any thread that is in a call may change what is polled.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_READABLE, _WRITABLE, _ERROR, _HANGUP = 1, 2, 4, 8
_POLL = ((_READABLE, select.POLLIN), (_WRITABLE, select.POLLOUT), (_ERROR, select.POLLERR), (_HANGUP, select.POLLHUP))

Invoke = Callable[..., None]


@dataclass(slots=True)
class _Handle:
    """A descriptor that libvirt wants watched."""

    fd: int
    events: int
    invoke: Invoke
    opaque: Any


@dataclass(slots=True)
class _Timer:
    """A timer of libvirt's; one without a period sleeps."""

    period_s: float | None
    due: float
    invoke: Invoke
    opaque: Any


class EventLoop:
    """What libvirt wants to be told of. `free` is called with what a removed handle or timer held."""

    def __init__(self, free: Callable[[Any], None]) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._handles: dict[int, _Handle] = {}
        self._timers: dict[int, _Timer] = {}
        self._removed: list[Any] = []
        self._number = 0
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def poll(self, timeout: float, wake: int | None = None) -> bool:
        """Serves what comes within so many seconds, and returns after the first of it; whether `wake` is readable."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if wake is not None:
            poller.register(wake, select.POLLIN)
        now = time.monotonic()
        with self._lock:
            wanted: dict[int, int] = {}
            for handle in self._handles.values():
                wanted[handle.fd] = wanted.get(handle.fd, 0) | handle.events
            until = min((timer.due for timer in self._timers.values() if timer.period_s is not None), default=None)
        for fd, events in wanted.items():
            if mask := sum(flag for bit, flag in _POLL if events & bit):
                poller.register(fd, mask)
        if until is not None:
            timeout = min(timeout, until - now)
        ready = dict(poller.poll(max(0.0, timeout) * 1000))
        if ready.pop(self._wake, 0):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 512)
        awake = bool(wake is not None and ready.pop(wake, 0))
        self._serve(ready)
        return awake

    def _serve(self, ready: dict[int, int]) -> None:
        with self._lock:
            handles = list(self._handles.items())
        for watch, handle in handles:
            events = sum(bit for bit, flag in _POLL if ready.get(handle.fd, 0) & flag)
            # one served before may have removed it, or asked for less
            if events & (handle.events | _ERROR | _HANGUP) and self._handles.get(watch) is handle:
                handle.invoke(watch, handle.fd, events, handle.opaque)
        now = time.monotonic()
        with self._lock:
            due = [(number, timer) for number, timer in self._timers.items() if timer.period_s is not None]
        for number, timer in due:
            period = timer.period_s
            if period is not None and timer.due <= now and self._timers.get(number) is timer:
                timer.due = now + period
                timer.invoke(number, timer.opaque)
        with self._lock:
            removed, self._removed = self._removed, []
        for opaque in removed:
            self._free(opaque)

    def _changed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"x")

    def add_handle(self, fd: int, events: int, invoke: Invoke, opaque: Any) -> int:
        """virEventAddHandleFunc."""
        with self._lock:
            self._number += 1
            self._handles[self._number] = _Handle(fd, events, invoke, opaque)
            number = self._number
        self._changed()
        return number

    def update_handle(self, watch: int, events: int) -> None:
        """virEventUpdateHandleFunc."""
        with self._lock:
            if (handle := self._handles.get(watch)) is not None:
                handle.events = events
        self._changed()

    def remove_handle(self, watch: int) -> int:
        """virEventRemoveHandleFunc: what it held is freed later, never within this call."""
        with self._lock:
            handle = self._handles.pop(watch, None)
            if handle is not None:
                self._removed.append(handle.opaque)
        self._changed()
        return -1 if handle is None else 0

    def add_timeout(self, ms: int, invoke: Invoke, opaque: Any) -> int:
        """virEventAddTimeoutFunc: a negative time is a timer that rests."""
        with self._lock:
            self._number += 1
            self._timers[self._number] = _Timer(None, 0.0, invoke, opaque)
            number = self._number
        self.update_timeout(number, ms)
        return number

    def update_timeout(self, number: int, ms: int) -> None:
        """virEventUpdateTimeoutFunc."""
        with self._lock:
            if (timer := self._timers.get(number)) is not None:
                timer.period_s = None if ms < 0 else ms / 1000
                timer.due = time.monotonic() + max(0, ms) / 1000
        self._changed()

    def remove_timeout(self, number: int) -> int:
        """virEventRemoveTimeoutFunc."""
        with self._lock:
            timer = self._timers.pop(number, None)
            if timer is not None:
                self._removed.append(timer.opaque)
        self._changed()
        return -1 if timer is None else 0


@functools.cache
def event_loop() -> EventLoop:
    """The process' one loop, registered with libvirt at the first call: it can't be registered twice."""
    import libvirt

    loop = EventLoop(libvirt.virEventInvokeFreeCallback)
    libvirt.virEventRegisterImpl(
        loop.add_handle,
        loop.update_handle,
        loop.remove_handle,
        loop.add_timeout,
        loop.update_timeout,
        loop.remove_timeout,
    )
    return loop
