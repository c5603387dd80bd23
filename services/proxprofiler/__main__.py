"""The command `proxprofiler`."""

from __future__ import annotations

import sys

from proxtop.postpone import postpone


def main() -> int:
    """Runs proxprofiler on the command line's arguments; returns the exit status."""
    postpone()  # before the imports that it shall spare
    from proxprofiler.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
