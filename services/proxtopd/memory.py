"""What keeps workers small."""

from __future__ import annotations

import ctypes
import gc
import sys


def settle() -> None:
    """Gives back what a start left free, and has the collector pass over what will stay. Before a fork, or every
    worker would copy it; after a worker has loaded what it alone needs."""
    gc.collect()
    sys._clear_type_cache()  # its names, which a worker that puts others in their place would write to
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
