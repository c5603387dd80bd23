"""Snapshots → profiles: every VM that comes by, on whatever host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet

from proxtop.model import Snapshot
from proxtop.profiler.metrics import measures, readings
from proxtop.profiler.profile import Profile
from proxtop.profiler.settings import Settings

FORGET_S = 3600.0
"""Seconds after which a VM that does not come by any more is let go."""

Recall = Callable[[str, Settings], Profile | None]


class Profiler:
    """The profiles of all VMs that were seen of late, by UUID. `recall` finds the profile of a VM that was known
    earlier; `families` are those whose metrics are profiled."""

    def __init__(
        self,
        settings: Settings,
        families: Collection[str],
        *,
        recall: Recall | None = None,
    ) -> None:
        self.settings = settings
        self.profiles: dict[str, Profile] = {}
        self._measures = measures(families)
        self._recall = recall
        self._times: dict[str, float] = {}
        """The newest cycle of each host, by its own clock."""
        self._past: dict[str, float] = {}
        """The seconds for which each host was watched, no gap among them; one that is new begins where the first is."""
        self._seen: dict[str, float] = {}
        """The most of these when each VM came by last."""

    def feed(self, node: str, time: float, snapshot: Snapshot, wanted: AbstractSet[str] | None = None) -> list[Profile]:
        """Takes a cycle of a host, of all its VMs or of those whose UUIDs are wanted; the profiles that have a new
        state now."""
        now = self._went_on(node, time)
        stepped = []
        for reading in readings(snapshot, self._measures, bounds=self.settings.fixedbound):
            if wanted is not None and reading.uuid not in wanted:
                continue
            profile = self.profiles.get(reading.uuid)
            if profile is None:
                profile = self.profiles[reading.uuid] = self._opened(reading.uuid)
            self._seen[reading.uuid] = now
            profile.vm, profile.node = reading.name, node
            if reading.vcpus is not None:
                profile.vcpus = reading.vcpus
            if profile.put(time, reading.values, reading.bounds):
                stepped.append(profile)
        return stepped

    def _opened(self, uuid: str) -> Profile:
        known = self._recall(uuid, self.settings) if self._recall is not None else None
        return known if known is not None else Profile(uuid, self.settings)

    def _went_on(self, node: str, time: float) -> float:
        """The seconds that have passed, whichever host's clock is ahead and whichever is set."""
        settings, step = self.settings, time - self._times.get(node, time)
        self._times[node] = time
        known = self._past.get(node)
        if known is None:
            known = max(self._past.values(), default=0.0)
        self._past[node] = known + (step if 0 < step <= settings.step_s + settings.interval else 0.0)
        return max(self._past.values())

    def gone(self) -> list[Profile]:
        """Lets go of the VMs that have not come by for an hour."""
        now = max(self._past.values(), default=0.0)
        old = [self.profiles[uuid] for uuid, seen in self._seen.items() if now - seen > FORGET_S]
        for profile in old:
            del self.profiles[profile.name], self._seen[profile.name]
        return old


def ordered(profiles: Iterable[Profile]) -> list[Profile]:
    """By the VM's name, then UUID."""
    return sorted(profiles, key=lambda profile: (profile.vm, profile.name))
