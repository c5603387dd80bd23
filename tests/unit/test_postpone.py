"""Modules that are postponed: nothing that a fleet or a printer does at its start brings them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxtop.postpone import UNUSED

NOT_FOR_WORKERS = (*UNUSED, "ast", "pathlib", "shutil", "socket", "urllib.parse", "proxtop.printers", "proxtop.view")
NOT_FOR_PRINTERS = (*UNUSED, "ast", "pathlib", "shutil", "prompt_toolkit", "proxtop.collectors", "proxtop.join")


def ask(code: str) -> str:
    """What a new interpreter prints that first postponed."""
    start = "from proxtop.postpone import postpone; postpone(); import sys; "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("modules", "spared"),
    [
        ("proxtopd.fleet, proxtopd.workers", NOT_FOR_WORKERS),
        ("proxtopd.cli, proxtopd.supervise", (*UNUSED, "proxtop.collectors", "proxtop.join")),
        ("proxtopd.supervisord", (*UNUSED, "proxtop.model", "proxtopd.configuration", "http.client", "zmq")),
        ("proxtop.cli, proxtop.attach, proxtop.stream, proxtop.printers.text", NOT_FOR_PRINTERS),
    ],
)
def test_what_is_not_needed_is_not_loaded(modules: str, spared: tuple[str, ...]) -> None:
    loaded = f"[n for n in {spared!r} if n in sys.modules and getattr(sys.modules[n], '__spec__', None) is not None]"
    assert ask(f"import {modules}; print({loaded})") == "[]\n"


def test_a_postponed_module_is_whole_at_its_first_use() -> None:
    code = (
        "import random, inspect; print(type(random.random()).__name__, inspect.signature(len), random.Random.__name__)"
    )
    assert ask(code) == "float (obj, /) Random\n"


def test_what_pyzmq_asks_of_pickle_does_not_load_it() -> None:
    code = (
        "import zmq, pickle; spared = 'dumps' not in vars(pickle); "
        "print(spared, pickle.loads(pickle.dumps([1])), pickle.DEFAULT_PROTOCOL >= 4)"
    )
    assert ask(code) == "True [1] True\n"


def test_a_module_that_is_there_stays() -> None:
    code = "import decimal; before = decimal; postpone(('decimal',)); import decimal; print(decimal is before)"
    assert ask(code) == "True\n"
