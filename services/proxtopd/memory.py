"""What keeps workers small."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys


def settle() -> None:
    """Gives back what a start left free, and has the collector pass over what will stay. Before a fork, or every
    worker would copy it; after a worker has loaded what it alone needs."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # Python may call it otherwise one day
        sys._clear_type_cache()  # of its names, each is written to by a worker that puts another in its place
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
