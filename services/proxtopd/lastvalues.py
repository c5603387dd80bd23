"""The last frame of every topic, for who subscribes late. Cycles that nobody renews are forgotten: what a publisher
said before it vanished would look alive to who comes then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxtop.bus.topics import PROFILE, SAMPLE, SNAPSHOT

_AGEING = (f"{SNAPSHOT}/".encode(), f"{SAMPLE}/".encode(), f"{PROFILE}/".encode())
_GAPS = 3.0
_LEAST_S = 5.0
_UNKNOWN_GAP_S = 20.0


@dataclass(slots=True)
class _Entry:
    frames: list[bytes]
    came: float
    gap: float


class LastValues:
    """At most so many topics, and bytes of payload in all; what does not fit in is not kept."""

    def __init__(self, most_topics: int, most_bytes: int) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._most_topics = most_topics
        self._most_bytes = most_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, frames: list[bytes], now: float) -> None:
        """Takes a frame, [topic, payload], that came now (monotonic seconds)."""
        topic, payload = frames
        before = self._entries.get(topic)
        if before is None:
            if len(self._entries) < self._most_topics and self.bytes + len(payload) <= self._most_bytes:
                self._entries[topic] = _Entry(frames, now, _UNKNOWN_GAP_S)
                self.bytes += len(payload)
            return
        if before.frames[1] == payload:
            return  # replayed for somebody else: no news
        self.bytes += len(payload) - len(before.frames[1])
        before.frames, before.gap, before.came = frames, now - before.came, now

    def drop(self, prefix: bytes) -> None:
        """Forgets every topic that begins so."""
        for topic in [topic for topic in self._entries if topic.startswith(prefix)]:
            self.bytes -= len(self._entries.pop(topic).frames[1])

    def matching(self, prefixes: Iterable[bytes], now: float) -> Iterator[list[bytes]]:
        """The last frame of each topic that begins with one of the prefixes and is not too old by now."""
        wanted = tuple(prefixes)
        for topic, entry in self._entries.items():
            if topic.startswith(wanted):
                patience = max(_LEAST_S, _GAPS * entry.gap)
                if not topic.startswith(_AGEING) or now - entry.came <= patience:
                    yield entry.frames
