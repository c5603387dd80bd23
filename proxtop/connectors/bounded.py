"""Calls that may never return, made in threads of their own: their caller waits for so long and not longer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Late(Exception):
    """A call did not return in time: it is left to itself (`call`), or was not made, as too many are (None)."""

    def __init__(self, text: str, call: Pending[object] | None = None) -> None:
        super().__init__(text)
        self.call = call


class Pending(Generic[T]):
    """A call that was made: its result, once it has one."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.begun = time.monotonic()
        self._function = function
        self._done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Makes the call, in the thread that is there for it."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error
        self._done.set()

    def wait(self, timeout: float) -> bool:
        """Whether it returned within so many seconds."""
        return self._done.wait(timeout)

    @property
    def returned(self) -> bool:
        """Whether it returned by now."""
        return self._done.is_set()

    def result(self) -> T:
        """What it returned; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


class Bounded:
    """One thread that makes the calls, replaced by another when a call does not return; `most` calls may hang at a
    time, then no more are made until one of them returns."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._hanging: list[Pending[object]] = []
        self._tasks: queue.SimpleQueue[Pending[object] | None] | None = None

    @property
    def hanging(self) -> int:
        """How many calls hang now."""
        self._hanging = [call for call in self._hanging if not call.returned]
        return len(self._hanging)

    def call(self, function: Callable[[], T], timeout: float) -> T:
        """What the function returns or raises; Late after so many seconds, or at once when too many calls hang."""
        return self.end(self.begin(function), timeout)

    def begin(self, function: Callable[[], T]) -> Pending[T]:
        """Has the call made, to be ended before the next one is begun; Late when too many calls hang."""
        if self.hanging >= self._most:
            raise Late(f"{self._most} calls do not return")
        if self._tasks is None:
            self._tasks = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._tasks,), name=self._name, daemon=True).start()
        call: Pending[T] = Pending(function)
        self._tasks.put(cast("Pending[object]", call))
        return call

    def end(self, call: Pending[T], timeout: float) -> T:
        """What a call that was begun returns or raises; Late after so many seconds more."""
        if call.wait(timeout):
            return call.result()
        self.hangs(cast("Pending[object]", call))
        self.close()  # its thread ends when the call returns
        raise Late(f"no answer within {timeout:g} s", cast("Pending[object]", call))

    def hangs(self, call: Pending[object]) -> None:
        """Counts a call that does not return among those that hang."""
        self._hanging.append(call)

    def close(self) -> None:
        """Ends the thread that waits for calls; those that hang are left to themselves."""
        if self._tasks is not None:
            self._tasks.put(None)
            self._tasks = None


def _serve(tasks: queue.SimpleQueue[Pending[object] | None]) -> None:
    while (call := tasks.get()) is not None:
        call.run()
