"""VMs whose QEMU did not answer a bulk call: left out of the next ones, tried again alone and ever more rarely."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_FIRST_S = 10.0
_LONGEST_S = 300.0
_FORGIVEN_S = 3600.0


@dataclass(slots=True)
class _Suspect:
    """How often it did not answer, since when it is inside, and until when."""

    strikes: int
    since: float
    until: float


class Quarantine:
    """Times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._inside: dict[str, _Suspect] = {}
        self._released: dict[str, _Suspect] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._inside

    def __len__(self) -> int:
        return len(self._inside)

    def add(self, uuids: Iterable[str], now: float) -> None:
        """These did not answer."""
        for uuid in uuids:
            before = self._inside.get(uuid) or self._released.pop(uuid, None)
            strikes = 1 if before is None or now - before.since > _FORGIVEN_S else before.strikes + 1
            wait = min(_LONGEST_S, _FIRST_S * 2.0 ** (strikes - 1))
            self._inside[uuid] = _Suspect(strikes, now, now + wait)

    def due(self, now: float) -> str | None:
        """The one to be tried again now, alone; None where it is nobody's turn."""
        return min(
            (uuid for uuid, suspect in self._inside.items() if suspect.until <= now),
            key=lambda uuid: self._inside[uuid].until,
            default=None,
        )

    def hurry(self, now: float) -> None:
        """A call that did not return has returned: any of them may answer again."""
        for suspect in self._inside.values():
            suspect.until = now

    def release(self, uuid: str) -> None:
        """It answered."""
        if (suspect := self._inside.pop(uuid, None)) is not None:
            self._released[uuid] = suspect

    def keep(self, uuids: Iterable[str]) -> None:
        """Forgets all VMs but these."""
        kept = set(uuids)
        for known in (self._inside, self._released):
            for uuid in known.keys() - kept:
                del known[uuid]
