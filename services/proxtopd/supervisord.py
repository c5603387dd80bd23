"""supervisord itself, as proxtopd starts it: `python -m proxtopd.supervisord`, with supervisord's own arguments.

It loads nothing of proxtopd's but what ties it to its parent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from proxtop.postpone import UNUSED, postpone
from proxtopd.worker import SUPERVISOR, end_with_parent

PARENT = "PROXTOP_PARENT"
"""The variable that holds the process id of the proxtopd that is to be survived by nobody."""


def main(argv: Sequence[str]) -> None:
    """Becomes supervisord; it ends when proxtopd does, however that ends."""
    if not end_with_parent(int(os.environ.pop(PARENT))):
        return
    os.environ[SUPERVISOR] = str(os.getpid())
    postpone((*UNUSED, "ssl"))  # its HTTP is on a Unix socket
    from supervisor import supervisord

    supervisord.main(list(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
