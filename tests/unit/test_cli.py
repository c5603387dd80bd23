"""A run: what it says beside the data, of one host and of many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxtop.buses import Bus
from proxtop.cli import _Loop
from proxtop.model import Snapshot, Stamp, Table
from proxtop.options import parse


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[_Loop]:
    """A run that prints a bus of many hosts into a file."""
    options = parse(["-p", "json", "-o", "file", f"--target={tmp_path}/out", "--verbose"])
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read)
        stack.callback(os.close, write)
        stop = SimpleNamespace(number=None, wake=read)
        bus = Bus(f"ipc://{tmp_path}/bus", 1.0, None, None, cluster=True)
        yield _Loop(options, stop, bus, stack, None, lambda text: None, lambda text: None)  # type: ignore[arg-type]


def _cycle(loop: _Loop, seq: int, node: str, *names: str, lost: int = 0) -> None:
    tables = {"host": Table([node], {}), "vm": Table([f"{name}-uuid" for name in names], {"name": list(names)})}
    loop._print(Stamp(node, 1, seq, seq * 1000, float(seq), float(seq)), Snapshot(tables, 1.0, (), "qemu", lost=lost))


def test_the_vms_of_another_host_have_not_gone(loop: _Loop, capsys: pytest.CaptureFixture[str]) -> None:
    for seq, more in ((1, ()), (2, ("fresh",))):
        _cycle(loop, seq, "a", "web")
        _cycle(loop, seq, "b", "db", *more)
    said = capsys.readouterr().err
    assert "is gone" not in said
    assert said.count("appeared") == 1 and "VM fresh (fresh-uuid) appeared" in said


def test_losses_are_counted_by_host_and_from_zero_after_a_restart(
    loop: _Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    for seq, (a, b) in enumerate(((5, 0), (5, 7), (2, 7)), 1):
        _cycle(loop, seq, "a", "web", lost=a)
        _cycle(loop, seq, "b", "db", lost=b)
    told = [line for line in capsys.readouterr().err.splitlines() if "lost" in line]
    assert told == [
        "proxtop: 5 frames were lost on the bus, 5 in all",
        "proxtop: 7 frames were lost on the bus, 12 in all",
        "proxtop: 2 frames were lost on the bus, 14 in all",
    ]


def test_a_cycle_without_tables_does_not_end_the_run(loop: _Loop) -> None:
    loop._print(Stamp("a", 1, 1, 1000, 1.0, 1.0), Snapshot({}, 1.0, (), "qemu"))
