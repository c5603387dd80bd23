"""proxprofiler: watches VMs, or reads what was recorded, and gives their profiles."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

from proxprofiler import recorded
from proxprofiler.options import Profiling, parse
from proxprofiler.output import ProfilePrinter, rendered, text_header
from proxprofiler.table import duration
from proxtop import cli
from proxtop.printers import outputs
from proxtop.profiler.profiler import Profiler
from proxtop.view import View
from proxtopd.profiles import ProfileStore, StoreError

TOOLS = ("predict", "compare", "plan", "plot")
_FLUSH_S = 10.0


def say(text: str) -> None:
    """One line on stderr, which may be gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"proxprofiler: {text}\n")
        sys.stderr.flush()


def main(argv: Sequence[str]) -> int:
    """Runs proxprofiler; returns the exit status: 0, 2 for what the user can mend in the call, 1 for a failure
    later."""
    cli.open_standard_files()
    if argv and argv[0] in TOOLS:
        from proxprofiler.tools import main as use

        return use(argv[0], argv[1:])
    if argv and not argv[0].startswith("-"):
        say(f"there is no {argv[0]!r}; say {', '.join(TOOLS)}, or options alone")
        return 2
    asked = parse(argv)
    try:
        return _recorded(asked) if asked.recorded is not None else _watched(asked)
    except StoreError as error:
        say(f"--state-dir: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _store(asked: Profiling, stack: contextlib.ExitStack) -> ProfileStore | None:
    """Where the profiles are kept."""
    if asked.state_dir is None:
        return None
    store = ProfileStore(asked.state_dir, say)
    stack.callback(store.close)
    return store


def _profiler(asked: Profiling, interval: float, store: ProfileStore | None) -> Profiler:
    """The profiler of cycles that come every so many seconds."""
    settings = replace(asked.settings, interval=interval)
    return Profiler(settings, asked.watch.families, recall=store.load if store is not None else None)


def _watched(asked: Profiling) -> int:
    """Profiles from a bus."""
    with contextlib.ExitStack() as stack:
        store = _store(asked, stack)
        made: list[ProfilePrinter] = []

        def make(view: View, interval: float) -> ProfilePrinter:
            profiler = _profiler(asked, interval, store)
            made.append(ProfilePrinter(view, asked.watch.printer or "json", profiler, asked.every_s, store))
            return made[0]

        if sys.stdout is not None and sys.stdout.isatty():
            say(f"profiles come each {duration(asked.every_s)} (--outputFreq), and at the end: Ctrl-C")
        try:
            return cli.run(asked.watch, make)
        finally:
            for printer in made:
                printer.close()


def _recorded(asked: Profiling) -> int:
    """The profiles of a recording, once it has been read."""
    assert asked.recorded is not None
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(_opened(asked.recorded))
            interval, cycles = recorded.interval(recorded.cycles(source))
            if interval is None:
                say(f"--input: {asked.recorded}: fewer than two cycles; there is nothing to profile")
                return 2
            store = _store(asked, stack)
            profiler = _profiler(asked, interval, store)
            view = View.of(asked.watch)
            for cycle in cycles:
                profiler.feed(cycle.node, cycle.time, cycle.snapshot, set(view.select(cycle.snapshot).vm.ids))
        except recorded.RecordedError as error:
            say(f"--input: {asked.recorded}: {error}")
            return 2
        except (OSError, UnicodeDecodeError) as error:
            say(f"--input: {asked.recorded}: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}")
            return 2
        if store is not None:
            for profile in profiler.profiles.values():
                store.save(profile)
        text = asked.watch.printer == "text"
        lines = rendered(profiler.profiles.values(), text=text)
        if not lines:
            say(f"--input: {asked.recorded}: no VM has a whole buffer of samples; see --buffersize, --vm, families")
            return 2
        return _delivered(asked, lines, text_header(asked.settings.states) if text else b"")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    if path == "-":
        yield sys.stdin
        return
    with open(path, encoding="utf-8", newline="") as file:
        yield file


def _delivered(asked: Profiling, lines: list[bytes], header: bytes) -> int:
    """Brings the lines where they belong."""
    output = outputs.create(asked.watch)
    try:
        output.offer(lines, header)
        output.flush(None if asked.watch.output == "stdout" else _FLUSH_S)
    except outputs.SinkClosed:
        return 0
    finally:
        output.close()
    return 1 if output.incomplete else 0
