"""The program on the terminal: prompt_toolkit for its modes, keys and sizes; the painter for what is on it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Container, Dimension, Layout, Window
from prompt_toolkit.layout.mouse_handlers import MouseHandlers
from prompt_toolkit.layout.screen import Screen, WritePosition
from prompt_toolkit.output import ColorDepth, create_output
from prompt_toolkit.styles import DummyStyle

from proxtop.attach import AttachError
from proxtop.model import Profiles, Snapshot, Stamp, Status
from proxtop.options import Options
from proxtop.tui import keys, settings, theme
from proxtop.tui.frame import Frame
from proxtop.tui.link import Bus, StartFleet
from proxtop.tui.live import Live
from proxtop.tui.paint import Painter
from proxtop.tui.receiver import Ended, Receiver
from proxtop.tui.screen import render
from proxtop.tui.state import State
from proxtop.tui.text import PLAIN_SPARKS, SPARKS
from proxtop.view import View

_ESCAPE_S = 0.03
"""How long to wait for the rest of an escape sequence before Escape itself was meant."""
_MOUSE = re.compile(r"\x1b\[<(\d+);(\d+);(\d+)([Mm])")
_WHEEL = 3
_MINUTE_S = 60.0
_GATHER_S = 0.05
_GATHER_EACH_S = 0.002
_NAMES = {"c-m": "enter", "c-i": "tab", "c-h": "backspace"}


class _Nothing(Container):
    """prompt_toolkit wants a layout; what is on the screen is the painter's."""

    def __init__(self) -> None:
        self.window = Window()

    def reset(self) -> None:
        """Nothing to reset."""

    def preferred_width(self, max_available_width: int) -> Dimension:
        """All there is."""
        return Dimension()

    def preferred_height(self, width: int, max_available_height: int) -> Dimension:
        """All there is."""
        return Dimension()

    def write_to_screen(self, screen: Screen, mouse_handlers: MouseHandlers, write_position: WritePosition,
                        parent_style: str, erase_bg: bool, z_index: int | None) -> None:  # fmt: skip
        """Writes nothing."""

    def get_children(self) -> list[Container]:
        """The window that has the focus."""
        return [self.window]


class Program:
    """One run of the screen on a bus."""

    def __init__(self, options: Options, bus: Bus, start: StartFleet, note: str) -> None:
        environ = os.environ
        self._file = settings.path(environ)
        self._wanted = _wanted(options, bus)
        loaded = settings.load(
            self._file,
            State(human=options.human, verbose=options.verbose, interval=bus.interval or self._wanted, note=note),
        )
        self._state = replace(loaded.state, human=loaded.state.human or options.human)
        self._thresholds = loaded.thresholds
        devices = bool(options.netdev or options.storedev)
        colour = theme.colour(environ)
        self._live = Live(
            () if options.families == Options().families else options.families, theme.Levels(loaded.thresholds),
            _sparks(environ.get("TERM", "")), only=options.vms, interval=bus.interval,
            view=View(verbose=True, netdev=options.netdev, storedev=options.storedev) if devices else None,
            base=None if bus.fleet is not None or bus.control is not None else bus.interval,
            notes=(loaded.warning,) if loaded.warning else (),
        )  # fmt: skip
        self._painter = Painter(theme.styles(colour=colour), together=colour)
        self._frame: Frame | None = None
        self._left = options.runs
        self._crash: BaseException | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._receiver = Receiver(
            bus, start, on_cycles=self._on_cycles, on_link=self._on_link, on_said=self._on_said,
            on_heard=self._on_heard, on_interval=self._on_interval,
        )  # fmt: skip
        self._app = self._application()

    def _application(self) -> Application[None]:
        bindings = KeyBindings()
        bindings.add(Keys.Any, eager=True)(self._on_key)
        app: Application[None] = Application(
            layout=Layout(_Nothing()), key_bindings=bindings, full_screen=True, mouse_support=True,
            style=DummyStyle(), include_default_pygments_style=False, color_depth=ColorDepth.DEPTH_1_BIT,
            input=create_input(sys.stdin), output=create_output(sys.stdout), before_render=self._before_render,
            after_render=self._after_render, terminal_size_polling_interval=None,
        )  # fmt: skip
        app.ttimeoutlen = _ESCAPE_S
        return app

    async def run(self) -> int:
        """Until the user quits, a signal, or the end of the terminal."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_crash)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._exit)
        self._receiver.open()
        try:
            await self._app.run_async(set_exception_handler=False)
        except (EOFError, KeyboardInterrupt):
            pass
        finally:
            self._receiver.close()
        if self._crash is not None:
            raise self._crash
        return 0

    def _exit(self) -> None:
        if self._app.is_running and not self._app.is_done:
            self._app.exit()

    def _on_crash(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._crash = self._crash or context.get("exception") or RuntimeError(context["message"])
        self._exit()

    # Data

    def _on_cycles(self, found: list[tuple[Stamp, Snapshot]]) -> None:
        now = time.monotonic()
        for stamp, snapshot in found:
            if self._left:
                self._live.add(stamp, snapshot, now)
                self._left -= self._left > 0
        self._live.link = ""
        if self._live.moved is not None:
            self._follow(self._live.moved)
        node = self._live.shown(self._state)
        if self._wanted != self._state.interval and self._live.interval is not None:
            self._become(replace(self._state, interval=self._wanted), pressed=False)
        elif self._live.interval is None and node is not None:
            self._state = replace(self._state, interval=node.interval)
            self._wanted = node.interval
        self._set_alarm()
        if self._live.together(self._state):
            self._draw_soon()
        else:
            self._invalidate()
        if not self._left:
            self._exit()

    def _follow(self, interval: float) -> None:
        """The fleet's own interval was changed by somebody who may."""
        self._live.moved = None
        self._receiver.moved(interval)
        self._wanted = interval
        self._state = replace(self._state, interval=interval, note=f"the fleet's interval is {interval:g} s now")

    def _on_heard(self, heard: list[tuple[Stamp, Status | Profiles]]) -> None:
        now = time.monotonic()
        for stamp, told in heard:
            if isinstance(told, Profiles):
                self._live.score(stamp.node, told, now)
            else:
                self._live.hear(told, now)
        if self._live.together(self._state):
            self._set_alarm()
            self._draw_soon()

    def _draw_soon(self) -> None:
        """Many hosts come one after the other: the screen is drawn once for all that come within a while, which is
        longer the more there are."""
        if self._soon is None:
            wait = _GATHER_S + _GATHER_EACH_S * len(self._live.nodes)
            self._soon = asyncio.get_running_loop().call_later(wait, self._draw_now)

    def _draw_now(self) -> None:
        self._soon = None
        self._invalidate()

    def _on_link(self, problem: str) -> None:
        self._live.link = problem
        self._invalidate()

    def _on_said(self, text: str) -> None:
        self._state = replace(self._state, note=text)
        self._invalidate()

    def _on_interval(self, interval: float) -> None:
        """Cycles have this length, whatever was wished for."""
        self._wanted = self._live.interval = interval
        self._state = replace(self._state, interval=interval)
        self._set_alarm()
        self._invalidate()

    def _set_alarm(self) -> None:
        """Wakes up when what is shown becomes old, then now and then: its age is on the screen."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._live.together(self._state):
            self._alarm = asyncio.get_running_loop().call_later(1.0, self._on_alarm)
        elif (old := self._live.old_at(self._state)) is not None:
            late = time.monotonic() - old
            wait = -late if late < 0 else 1.0 if late < _MINUTE_S else 5.0
            self._alarm = asyncio.get_running_loop().call_later(wait, self._on_alarm)

    def _on_alarm(self) -> None:
        self._set_alarm()
        self._invalidate()

    def _retune(self, interval: float, *, everyone: bool) -> None:
        """Cycles of another length from now on, or a word why not."""
        live = self._live
        node = live.shown(self._state)
        if node is None or len(live.nodes) > 1:
            why = "nothing has come yet" if node is None else "the hosts on this bus have their own intervals"
        else:
            why = self._receiver.retune(interval, node.stamp.node, node.snapshot.families, everyone=everyone)
        if why:
            self._wanted = live.interval or self._wanted
            self._state = replace(self._state, interval=self._wanted, note=why)
            return
        self._wanted = live.interval = interval
        self._set_alarm()

    # Keys and the mouse

    def _on_key(self, event: KeyPressEvent) -> None:
        for key in event.key_sequence:
            if key.key == Keys.Vt100MouseEvent:
                self._on_mouse(key.data)
            elif key.key == Keys.ControlZ:
                self._app.suspend_to_background()
            elif key.key == Keys.ControlL:
                self._app.renderer.clear()
            elif key.key == Keys.BracketedPaste:
                for char in key.data if self._state.typing else "":
                    self._become(keys.press(char, self._state, self._current()))
            else:
                name = str(getattr(key.key, "value", key.key))
                self._become(keys.press(_NAMES.get(name, name), self._state, self._current()))

    def _on_mouse(self, data: str) -> None:
        match = _MOUSE.fullmatch(data)
        if match is None:
            return
        button, x, y = int(match[1]), int(match[2]) - 1, int(match[3]) - 1
        state, frame = self._state, self._current()
        if button in (64, 65):
            step = -1 if button == 64 else 1
            if state.overlay:
                self._become(keys.press("up" if step < 0 else "down", state, frame))
            else:
                self._become(keys.scrolled(state, frame, step * _WHEEL))
        elif button == 0 and match[4] == "M" and not state.overlay:
            self._become(keys.clicked(state, frame, x, y))

    def _become(self, state: State, *, pressed: bool = True) -> None:
        """Shows another state, and does what it asks for beside. What was not pressed concerns this screen alone."""
        before = self._state
        if state == before:
            return
        self._state = state
        if state.quit:
            self._exit()
        if state.saves != before.saves:
            self._state = replace(self._state, note=settings.save(self._file, state, self._thresholds))
        if state.interval != before.interval:
            self._retune(state.interval, everyone=pressed)
        self._invalidate()

    # The screen

    def _invalidate(self) -> None:
        self._frame = None
        self._app.invalidate()

    def _current(self) -> Frame:
        """The screen of now."""
        if self._frame is None:
            size = self._app.output.get_size()
            scene = self._live.scene(self._state, time.monotonic())
            self._frame = render(self._state, scene, size.columns, size.rows)
        return self._frame

    def _before_render(self, app: Application[None]) -> None:
        if app.renderer.last_rendered_screen is None:  # cleared: the first time, another size, back from a shell
            self._painter.forget()
            self._frame = None

    def _after_render(self, app: Application[None]) -> None:
        if app.is_done:
            return
        frame = self._current()
        text = self._painter.paint(frame.lines, frame.width)
        if text:
            app.output.write_raw(text)
            app.output.flush()


def _wanted(options: Options, bus: Bus) -> float:
    """The interval to show: the one that was asked for, where the bus can have it; a named bus has its own, unless
    another one was asked for."""
    if bus.interval is None or (options.bus is not None and options.frequency == Options().frequency):
        return bus.interval or options.frequency
    ratio = options.frequency / bus.interval
    return options.frequency if ratio > 0.5 and abs(ratio - round(ratio)) < 1e-6 else bus.interval


def _sparks(term: str) -> str:
    """Block elements, where the terminal can be believed to have them."""
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "")
    return SPARKS if encoding == "utf8" and not term.startswith(("vt", "linux", "dumb", "ansi")) else PLAIN_SPARKS


def run(options: Options, bus: Bus, start: StartFleet, note: str = "") -> int:
    """Runs the screen, which says `note` at first; returns the exit status. Whatever happens, the terminal is as it was
    before."""
    try:
        return asyncio.run(Program(options, bus, start, note).run())
    except Ended as end:
        raise AttachError(str(end), end.status) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, a user gets one line, not a traceback
        if isinstance(error, OSError) and _terminal_lost():
            return 0
        raise AttachError(_crash_line(error), 1) from None


def _terminal_lost() -> bool:
    """Whether there is no terminal any more; what is written from now on goes nowhere."""
    try:
        termios.tcgetattr(1)
        return False
    except (termios.error, OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (1, 2):
            os.dup2(nowhere, number)
        return True


def _crash_line(error: BaseException) -> str:
    trace = error.__traceback__
    where = ""
    while trace is not None:
        where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    words: Sequence[str] = str(error).split()
    return f"internal error: {type(error).__name__}: {' '.join(words)}{where}; please report it"
