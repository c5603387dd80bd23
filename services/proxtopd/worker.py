"""A worker of a supervised fleet, as supervisord starts it: `python -m proxtopd.worker NAME`.

What it shall do stands in the file that PROXTOP_SETUP names, which belongs to whoever started the fleet. It ends when
supervisord does, however that ends. `proxtopd worker NAME`, in a supervisord.conf of one's own, works it out from the
configuration instead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from proxtop.postpone import postpone

SUPERVISOR = "PROXTOP_SUPERVISOR"
"""The variable that holds the process id of the supervisord that is to be survived by nobody."""

SETUP = "PROXTOP_SETUP"
MODULE = "PROXTOP_MODULE"

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def end_with_parent(parent: int | None) -> bool:
    """Has the kernel kill this process when its parent ends; False where that happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return parent is None or os.getppid() == parent


def _told() -> tuple[str, str]:
    with open(os.environ[SETUP], encoding="utf-8") as file:
        return os.environ[MODULE], file.read()


def main(argv: Sequence[str], told: tuple[str, str] | None = None) -> int:
    """Runs the worker of that name; its exit status is 1 after a failure, which is one line on stderr. `told` is its
    module and its setup, where no file has them."""
    (name,) = argv
    supervisor = os.environ.get(SUPERVISOR)
    if not end_with_parent(int(supervisor) if supervisor else None):
        return 0
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"pt-{name}".encode())
    postpone()
    from proxtopd.memory import settle
    from proxtopd.setup import Setup

    verbose = False
    try:
        path, text = told or _told()
        setup = Setup.load(text)
        verbose = setup.verbose
        module = import_module(path)
        settle()
        status: int = module.serve(name, setup)
    except BaseException as error:  # noqa: BLE001 - the edge of the process
        sys.stderr.write(f"proxtopd: worker {name} failed: {type(error).__name__}: {error}\n")
        if verbose:
            sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
