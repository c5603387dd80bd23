"""A cable between two network namespaces: a tap in each, and a process that carries Ethernet frames between them.

`python -m tests.agg.cable FD FD` does with the frames what it is told on its standard input, a line each: `delay MS`,
`loss PERCENT`, `cut` (every frame vanishes, the links stay up) and `mend`. So real TCP meets a real bad line where the
kernel has no netem.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_BYTES = 65_536
_MOST_WAITING = 10_000


def tap(name: str) -> int:
    """A new tap of that name in this namespace (linux/if_tun.h): the descriptor that its frames are read from, which
    stays good when the interface is moved to another one."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class Cable:
    """From one namespace to another; each end has an address in 10.77.NUMBER.0/24: .1 there, .2 here."""

    def __init__(self, number: int, there: str, here: str) -> None:
        names = (f"pxa{os.getpid()}-{number}", f"pxh{os.getpid()}-{number}")
        ends = [tap(name) for name in names]
        for name, space, last in zip(names, (there, here), (1, 2), strict=True):
            for words in (
                ("link", "set", name, "netns", space),
                ("-n", space, "addr", "add", f"10.77.{number}.{last}/24", "dev", name),
                ("-n", space, "link", "set", name, "up"),
            ):
                subprocess.run(("ip", *words), check=True, timeout=30)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.agg.cable", *map(str, ends)], pass_fds=ends, stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        for end in ends:
            os.close(end)

    def tell(self, words: str) -> None:
        """From now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """Takes it away, its ends with it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def main(argv: Sequence[str]) -> None:
    """Carries frames until standard input ends."""
    left, right = map(int, argv)
    other = {left: right, right: left}
    waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()
    delay = loss = 0.0
    cut = False
    os.set_blocking(0, False)
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([0, left, right], [], [], timeout)
        if 0 in ready:
            text = os.read(0, 4096)
            if not text:
                return
            for line in text.decode().splitlines():
                word, _, number = line.partition(" ")
                if word == "delay":
                    delay = float(number) / 1000
                elif word == "loss":
                    loss = float(number) / 100
                else:
                    cut = word == "cut"
        for end in (left, right):
            if end in ready:
                with contextlib.suppress(BlockingIOError, OSError):
                    while frame := os.read(end, _FRAME_BYTES):
                        if not cut and random.random() >= loss and len(waiting) < _MOST_WAITING:
                            waiting.append((time.monotonic() + delay, other[end], frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, end, frame = waiting.popleft()
            with contextlib.suppress(OSError):
                os.write(end, frame)


if __name__ == "__main__":
    main(sys.argv[1:])
