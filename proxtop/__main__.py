"""The command `proxtop`."""

from __future__ import annotations

import sys

from proxtop.postpone import postpone


def main() -> int:
    """Runs proxtop on the command line's arguments; returns the exit status."""
    postpone()  # before the imports that it shall spare
    from proxtop.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
