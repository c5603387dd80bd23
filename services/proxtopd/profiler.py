"""The profiler worker: every VM's profile, kept in a state directory, and on the bus how unusual each VM is now.

PROXTOP_PROFILER turns it on: `on`, or options of proxprofiler, --states=4 --periodsize=7,24,180 --state-dir=/var/lib/…
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

from proxtop.bus import topics
from proxtop.catalog import FAMILIES
from proxtop.model import EMPTY, Message, Profiles, Snapshot, Table
from proxtop.postpone import postpone
from proxtop.profiler.profile import Profile
from proxtop.profiler.profiler import Profiler
from proxtop.profiler.settings import Settings
from proxtopd.actor import Actor
from proxtopd.configuration import PROFILER, profiler_options
from proxtopd.memory import settle
from proxtopd.profiles import ProfileStore, StoreError
from proxtopd.setup import Setup

KEEP_S = 600.0
"""Seconds within which each profile is written once; the VMs take turns."""


class Profiling:
    """Feeds the profiler, and publishes what is unusual after each step."""

    def __init__(self, actor: Actor, settings: Settings, state_dir: str | None) -> None:
        self._actor = actor
        self._store = ProfileStore(state_dir, self._hear) if state_dir is not None else None
        self._profiler = Profiler(settings, FAMILIES, recall=self._store.load if self._store is not None else None)
        self._turns: list[str] = []

    def _hear(self, text: str) -> None:
        """What is wrong with the state directory, or no longer; it is in the heartbeat too."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        self._actor.reason = self._store.trouble if self._store is not None else None

    def on_snapshot(self, message: Message) -> None:
        """A cycle of a host."""
        if not isinstance(message.body, Snapshot):
            return
        node, cycle = message.stamp.node, message.stamp.cycle
        if self._profiler.feed(node, cycle / 1000, message.body):
            self._actor.publish(topics.PROFILE, "", cycle, self._scores(message.body), node=node)
        self._keep()
        self._actor.finished(cycle)

    def _scores(self, snapshot: Snapshot) -> Profiles:
        """The scores of the VMs of that cycle."""
        vms = snapshot.tables.get("vm", EMPTY)
        known = [self._profiler.profiles[uuid] for uuid in vms.ids]
        return Profiles({"vm": scores(known)}, self._profiler.settings.step_s)

    def _keep(self) -> None:
        """Writes some profiles, each in its turn; those of VMs that have gone for good at once."""
        gone = self._profiler.gone()
        if self._store is None:
            return
        for profile in gone:
            self._store.save(profile)
        if not self._turns:
            self._turns = list(self._profiler.profiles)
        share = self._profiler.settings.interval / KEEP_S
        for _ in range(min(len(self._turns), math.ceil(len(self._profiler.profiles) * share))):
            if (due := self._profiler.profiles.get(self._turns.pop())) is not None:
                self._store.save(due)

    def close(self) -> None:
        """Writes all profiles: a restart loses no more than the buffers that are not full."""
        if self._store is not None:
            for profile in self._profiler.profiles.values():
                self._store.save(profile, durable=False)
            self._store.close()


def scores(profiles: Iterable[Profile]) -> Table:
    """A row for each VM: how unusual (profile_anomaly, in standard deviations), in which metric (profile_odd), how
    likely its last step was (profile_likelihood), its phase and the steps that are known of it."""
    known = list(profiles)
    return Table(
        [profile.name for profile in known],
        {
            "name": [profile.vm for profile in known],
            "profile_anomaly": [_rounded(profile.anomaly) for profile in known],
            "profile_odd": [profile.odd for profile in known],
            "profile_likelihood": [_rounded(profile.likelihood) for profile in known],
            "profile_phase": [profile.phases.current for profile in known],
            "profile_steps": [max((one.steps for one in profile.series.values()), default=0) for profile in known],
        },
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def serve(name: str, setup: Setup) -> int:
    """Profiles until SIGTERM, with what the configuration says."""
    return run(name, setup, setup.options[PROFILER], f"{topics.SNAPSHOT}/{setup.node}/")


def main(argv: Sequence[str]) -> int:
    """A profiler of all hosts of a bus as a process of its own: SETUP, a map in JSON, with PROXTOP_PROFILER among its
    options."""
    postpone()
    setup = Setup.load(argv[0])
    return run("profiler", setup, setup.options[PROFILER], f"{topics.SNAPSHOT}/")


def run(name: str, setup: Setup, options: str, subscription: str) -> int:
    """Profiles the snapshots of that subscription until SIGTERM; 1 where the directory can't be used."""
    settings, state_dir = profiler_options(options, setup.interval)
    with Actor(name, setup, [subscription]) as actor:
        try:
            profiling = Profiling(actor, settings, state_dir)
        except StoreError as error:
            sys.stderr.write(f"--state-dir: {error}\n")
            return 1
        settle()
        actor.run({topics.SNAPSHOT: profiling.on_snapshot})
        profiling.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
