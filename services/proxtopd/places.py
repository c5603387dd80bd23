"""The two directories of a supervised fleet: the bus, which its workers own, and proxtopd's own, which they can't
write.

Root without CAP_CHOWN (the systemd unit) finds the bus's directory made; with it, or as an ordinary user, it is made
here.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import stat
from dataclasses import dataclass

from proxtop.bus import endpoints
from proxtopd.configuration import Configuration, ConfigurationError


class Held(Exception):
    """Another fleet uses this bus; the text says which."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom workers run as; None in a fleet that runs as whoever started it."""

    user: str
    uid: int
    group: str
    gid: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of a fleet is."""

    run: str
    own: str
    logs: str

    @staticmethod
    def of(configuration: Configuration) -> Places:
        """The directories that the configuration names; logs go where systemd says, or beside the rest."""
        own = endpoints.own(configuration.run)
        return Places(configuration.run, own, configuration["PROXTOP_LOGS"] or _given_logs() or f"{own}/log")

    @property
    def control(self) -> str:
        """The socket that controls the fleet."""
        return endpoints.control(self.run)

    @property
    def supervisor(self) -> str:
        """supervisord's socket."""
        return f"{self.own}/supervisor.sock"

    @property
    def program(self) -> str:
        """supervisord's generated configuration."""
        return f"{self.own}/supervisord.conf"

    def setup(self, worker: str) -> str:
        """The file that tells a worker what to do."""
        return f"{self.own}/setup/{worker}.json"

    def log(self, worker: str) -> str:
        """What a worker says on stderr."""
        return f"{self.logs}/{worker}.log"


def _given_logs() -> str:
    return os.environ.get("LOGS_DIRECTORY", "").partition(":")[0]


def account(configuration: Configuration) -> Account | None:
    """The user and group of the workers; None where the caller is not root, and everything runs as the caller."""
    if os.geteuid() != 0:
        return None
    user, group = configuration["PROXTOP_USER"], configuration["PROXTOP_GROUP"]
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(
            f"PROXTOP_USER: there is no user {user!r}; create it (adduser --system --group {user}) or name another"
        ) from None
    return Account(user, entry.pw_uid, group, group_id("PROXTOP_GROUP", group))


def group_id(key: str, name: str) -> int:
    """The id of a group that the configuration names."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"{key}: there is no group {name!r}; create it (addgroup --system {name}) or name another"
        ) from None


def prepare(places: Places, account: Account | None) -> int:
    """Makes the directories, and takes the lock of this fleet, which is held as long as the descriptor is open: before
    anything is touched that a running one uses. ConfigurationError says what is in the way, Held who has the lock."""
    lock = -1
    try:
        _own(places)
        lock = _hold(places)
        _logs(places)
        _bus(places.run, account)
    except BaseException as error:
        if lock >= 0:
            os.close(lock)
        if not isinstance(error, OSError):
            raise
        path = error.filename or places.run
        raise ConfigurationError(f"{path}: {error.strerror}; proxtopd needs this directory") from None
    return lock


def _own(places: Places) -> None:
    for path in (places.own, f"{places.own}/setup"):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)  # its parent must be there: a wrong path is no wish for new directories
        found = os.stat(path, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigurationError(f"{path}: belongs to somebody else or others may write there; remove it")
        if found.st_mode & 0o755 != 0o755:  # made under another umask: workers and watchers have to get in
            os.chmod(path, 0o755)


def _logs(places: Places) -> None:
    link = f"{places.own}/log"  # where `proxtopd logs` looks
    if os.path.islink(link):
        os.unlink(link)
    os.makedirs(places.logs, mode=0o750, exist_ok=True)
    if places.logs != link:
        if os.path.isdir(link):  # what an earlier fleet said would pass for what this one says
            os.rename(link, f"{link}-{os.stat(link).st_mtime_ns}")
        os.symlink(places.logs, link)


def _bus(path: str, account: Account | None) -> None:
    uid, gid = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
    mode = 0o750 if account else 0o700
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    found = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{path}: is no directory; PROXTOP_RUN names the directory of the bus")
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (uid, gid, mode):
        _check_ours(path)
    if (found.st_uid, found.st_gid) != (uid, gid):
        _empty(path)
        try:
            os.chown(path, uid, gid)
        except OSError:
            raise ConfigurationError(
                f"{path}: belongs to {found.st_uid}:{found.st_gid}, not to {uid}:{gid}; "
                f"install -d -o {uid} -g {gid} -m {mode:o} {path}, or remove it"
            ) from None
        found = os.stat(path, follow_symlinks=False)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(path, mode)


def _check_ours(path: str) -> None:
    """Others lose what they have in a directory that becomes a bus's: one with anything else in it is not taken."""
    others = sorted(set(os.listdir(path)) - {"subscribe.sock", "workers"})
    if others:
        raise ConfigurationError(
            f"{path}: holds {others[0]!r}, so it is not the directory of a bus; give PROXTOP_RUN one of its own"
        )


def _empty(path: str) -> None:
    """Takes away the sockets that a fleet of another user left in a bus's directory."""
    for name in ("subscribe.sock", "workers/publish.sock"):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/{name}")
    with contextlib.suppress(OSError):
        os.rmdir(f"{path}/workers")


def _hold(places: Places) -> int:
    """The lock; Held names the one that has it."""
    path = f"{places.own}/lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise Held(
            f"{places.run}: another proxtopd (PID {owner or 'unknown'}) serves this bus; "
            "stop it with `proxtopd stop`, or give another PROXTOP_RUN"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
