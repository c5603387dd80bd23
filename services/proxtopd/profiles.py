"""Profiles on disk: a file for each VM in a state directory, replaced as a whole; what is damaged is set aside."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from urllib.parse import quote

import orjson

from proxtop.profiler.document import DocumentError, document, profile_of
from proxtop.profiler.profile import Profile
from proxtop.profiler.settings import Settings

_SUFFIX = ".json"
_NAME_BYTES = 200


class StoreError(Exception):
    """A state directory that can't be used: which, why, and what to do."""


class ProfileStore:
    """The profiles below `directory`; one process at a time. `say` gets a line for what is wrong, once until it is
    right again; `trouble` is that line while it lasts. A profile is safe once `save` returns, unless `durable` is
    False: then it may take the kernel some seconds to write it down."""

    def __init__(self, directory: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self.trouble: str | None = None
        self._unreadable: set[str] = set()
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._lock = os.open(os.path.join(directory, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{directory}: {error.strerror}; give a directory that can be written to") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreError(f"{directory}: another profiler uses it; give each one of its own") from None

    def path(self, uuid: str) -> str:
        """Where that VM's profile is."""
        return os.path.join(self._directory, quote(uuid, safe="")[:_NAME_BYTES] + _SUFFIX)

    def load(self, uuid: str, settings: Settings) -> Profile | None:
        """The profile of that VM, None where there is none that can be gone on with: made with these settings."""
        path = self.path(uuid)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unreadable.add(uuid)
            self._say(f"{path}: {error.strerror}; it is left alone, and this VM's profile is not kept")
            return None
        try:
            profile = profile_of(orjson.loads(data))
            if profile.name != uuid:
                raise DocumentError(f"it is the profile of {profile.name}")
        except (DocumentError, orjson.JSONDecodeError) as error:
            self._set_aside(path, f"no profile that can be read ({error})")
            return None
        if profile.settings != settings:
            self._set_aside(path, "made with other settings")
            return None
        return profile

    def _set_aside(self, path: str, why: str) -> None:
        aside, number = f"{path}.old", 1
        while os.path.lexists(aside):
            number += 1
            aside = f"{path}.old{number}"
        try:
            os.rename(path, aside)
        except OSError as error:
            self._say(f"{path}: {why}, and it can't be set aside: {error.strerror}")
            return
        self._say(f"{path}: {why}; kept as {os.path.basename(aside)}, the VM's profile begins anew")

    def save(self, profile: Profile, *, durable: bool = True) -> None:
        """Writes a profile: the file is the old one or the new one, whatever happens."""
        if profile.name in self._unreadable or not profile.series:
            return
        path = self.path(profile.name)
        fresh = f"{path}.new"
        try:
            with open(fresh, "wb") as file:
                file.write(orjson.dumps(document(profile)))
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(fresh, path)
        except OSError as error:
            if self.trouble is None:
                self.trouble = f"{path}: {error.strerror}; profiles are kept in memory until it can be written"
                self._say(self.trouble)
            return
        if self.trouble is not None:
            self.trouble = None
            self._say(f"{self._directory}: profiles are written again")

    def close(self) -> None:
        """Lets another process use the directory."""
        os.close(self._lock)
