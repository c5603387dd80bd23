"""Keys on disk: a node's own pair, and the list of those that are let in. No sockets.

A key file is TOML: name, public, secret, the keys in Z85 (ZeroMQ RFC 32). It belongs to who reads it or to root, and
nobody else may look at it. The list `trusted` has a line for each key, `NAME KEY`; nobody but its owner may change it.
What is wrong with either is an error that names the file: a list with one bad line lets nobody new in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import struct
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import zmq
from zmq.utils import z85

TRUSTED = "trusted"
"""The name of the list in a directory of keys."""

_HEAD = "# Keys that are let in: NAME KEY. Changed by `proxtop keys trust` and `revoke`.\n"
_LENGTH = 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)
_MOST_BYTES = 1 << 20


class KeyProblem(Exception):
    """A key, a file of keys or a name that is none; the text says which, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A node's own keys, in Z85, and the name that it goes by."""

    name: str
    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Pair({self.name!r}, {self.public.decode()!r})"  # never the secret


def directory(environ: Mapping[str, str]) -> str:
    """Where keys are unless another place is named: /etc/proxtop for root, else proxtop in XDG_CONFIG_HOME."""
    if os.geteuid() == 0:
        return "/etc/proxtop"
    base = environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(base if base.startswith("/") else f"{environ.get('HOME') or '/'}/.config", "proxtop")


def checked_name(name: str) -> str:
    """The name, if a key can be bound to it."""
    if not _NAME.fullmatch(name):
        raise KeyProblem(f"{name!r} is no name for a key; give a node's name: letters, digits, '.', '_' and '-'")
    return name


def is_key(text: str) -> bool:
    """Whether that is a key in Z85."""
    try:
        return len(text) == _LENGTH and z85.encode(z85.decode(text)) == text.encode()
    except (ValueError, KeyError, struct.error):
        return False


def public_key(text: str) -> bytes:
    """The key in a Z85 text of 40 characters."""
    if is_key(text):
        return text.encode()
    raise KeyProblem(f"{text[:50]!r} is no key; give the 40 characters that `proxtop keys show` prints")


def shown(path: str) -> tuple[str, bytes]:
    """Name and key in a file that holds what `proxtop keys show NAME` printed."""
    text = _read(path, others=0, mend="").strip()
    words = text.partition("  #")[0].split()  # what follows says whose it is
    if len(words) != 2 or "\n" in text:
        raise KeyProblem(f"{path}: is not one line NAME KEY, as `proxtop keys show NAME` prints it")
    try:
        return checked_name(words[0]), public_key(words[1])
    except KeyProblem as problem:
        raise KeyProblem(f"{path}: {problem}") from None


def named_key(text: str) -> bytes:
    """The key that is meant: itself, or the path of a file that `proxtop keys show NAME` filled."""
    try:
        return public_key(text)
    except KeyProblem:
        if "/" not in text and not os.path.exists(text):
            raise
    return shown(text)[1]


def create(path: str, name: str, owner: tuple[int, int] | None = None) -> Pair:
    """A new pair in a new file of mode 0600, which belongs to `owner` (user and group id), by default to us."""
    public, secret = zmq.curve_keypair()
    pair = Pair(checked_name(name), public, secret)
    text = (
        "# The keys of a proxtop node. Whoever has the secret one is this node: keep it to yourself.\n"
        f'name = "{name}"\npublic = "{public.decode()}"\nsecret = "{secret.decode()}"\n'
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyProblem(f"{path}: is there already; remove it first if its key is to be given up") from None
    except OSError as error:
        raise KeyProblem(f"{path}: {error.strerror}") from None
    try:
        os.fchmod(descriptor, 0o600)
        if owner is not None:
            os.fchown(descriptor, *owner)
        with os.fdopen(os.dup(descriptor), "w", encoding="ascii") as file:
            file.write(text)
        os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise KeyProblem(f"{path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return pair


def load(path: str, *, owned: bool = True) -> Pair:
    """The pair in a file; KeyProblem where others may read it, where it does not hold together, or (`owned`) where it
    belongs to neither us nor root."""
    text = _read(path, others=0o077, mend="chmod 600", owned=owned)
    try:
        fields = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, or nothing that anybody would write
        raise KeyProblem(f"{path}: {error}; `proxtop keys new` makes such files") from None
    if not all(isinstance(fields.get(key), str) for key in ("name", "public", "secret")):
        raise KeyProblem(f"{path}: name, public or secret is missing; `proxtop keys new` makes such files")
    try:
        pair = Pair(checked_name(fields["name"]), public_key(fields["public"]), public_key(fields["secret"]))
    except KeyProblem:
        raise KeyProblem(f"{path}: a key or the name in it is damaged; restore the file or make a new key") from None
    if zmq.curve_public(pair.secret) != pair.public:
        raise KeyProblem(f"{path}: its two keys do not belong together; restore the file or make a new key")
    return pair


def trusted(path: str) -> dict[bytes, str]:
    """The keys of a list, each with the name that it is bound to. KeyProblem where any line is wrong: half a list is
    none. A list that is not there lets nobody in, and is a problem too."""
    return _bound(_read(path, others=0o022, mend="chmod 644"), path)


def _bound(text: str, path: str) -> dict[bytes, str]:
    """The keys in the text of a list, each with its name."""
    found: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if len(words) != 2:
                raise KeyProblem("not NAME KEY")
            name, key = checked_name(words[0]), public_key(words[1])
        except KeyProblem as problem:
            raise KeyProblem(f"{path}: line {number}: {problem}") from None
        if found.setdefault(key, name) != name:
            raise KeyProblem(f"{path}: line {number}: this key is bound to {found[key]} already; a key has one name")
    return found


def trust(path: str, name: str, key: bytes) -> bool:
    """Adds a key to the list; whether it is new there."""
    with _changing(path) as known:
        if known.get(key) == name:
            return False
        if key in known:
            raise KeyProblem(f"{path}: this key is bound to {known[key]} already; a key has one name")
        known[key] = checked_name(name)
        return True


def revoke(path: str, name: str) -> int:
    """Takes every key of that name off the list; how many there were."""
    with _changing(path) as known:
        gone = [key for key, bound in known.items() if bound == name]
        for key in gone:
            del known[key]
        return len(gone)


@contextlib.contextmanager
def _changing(path: str) -> Iterator[dict[bytes, str]]:
    """The list, to be changed by one at a time; it is written whole or not at all. What else is said in it stays, and
    a link to it."""
    path = os.path.realpath(path)
    folder = os.path.dirname(path) or "."
    temporary = f"{path}.{os.getpid()}.new"
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = _read(path, others=0o022, mend="chmod 644") if os.path.lexists(path) else _HEAD
            known = _bound(text, path)
            before = dict(known)
            yield known
            if known != before:
                lines = [line for line in text.splitlines() if _bound(line, path).items() <= known.items()]
                lines += [f"{name} {key.decode()}" for key, name in known.items() if key not in before]
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    os.fchmod(descriptor, 0o644)
                    file.write("".join(f"{line}\n" for line in lines))
                    file.flush()
                    os.fsync(descriptor)
                os.rename(temporary, path)
        finally:
            os.close(lock)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise KeyProblem(f"{error.filename or path}: {error.strerror}") from None


def _read(path: str, *, others: int, mend: str, owned: bool = True) -> str:
    """The text of a file that others have none of these rights to, and that belongs to us or root."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeyProblem(f"{path}: {error.strerror}; see `proxtop keys`") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyProblem(f"{path}: is no file")
        if owned and others and status.st_uid not in (0, os.geteuid()):
            raise KeyProblem(
                f"{path}: belongs to user {status.st_uid}, who is neither root nor who runs this; chown it"
            )
        if status.st_mode & others:
            raise KeyProblem(f"{path}: its mode {status.st_mode & 0o7777:04o} is too open; {mend} it")
        raw = os.read(descriptor, _MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        if len(raw) > _MOST_BYTES:
            raise KeyProblem(f"{path}: is longer than a file of keys can be")
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise KeyProblem(f"{path}: is no file of keys") from None
