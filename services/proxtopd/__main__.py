"""The command `proxtopd`."""

from __future__ import annotations

import sys

from proxtop.postpone import UNUSED, postpone


def main() -> int:
    """Runs proxtopd on the command line's arguments; returns the exit status."""
    postpone((*UNUSED, "ssl"))  # what is spoken to supervisord is HTTP on a Unix socket
    from proxtopd.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
