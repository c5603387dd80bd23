"""The ids of a table on the wire: a block of its own, as it is the same from cycle to cycle. Who packed or read it once
takes it as it is the next time.

A msgpack list. An id without a slash is a string; ids that follow one another and share what stands before their first
slash are one list: that, then what stands behind it in each. Where it is a UUID, it is 16 bytes.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, Generic, TypeVar

import msgpack

_MOST_ROWS = 200_000
_MOST_TEXT = 16_384
_MOST_CHARACTERS = 32 << 20
_UUID_LENGTH = 36
_UUID_BYTES = 16
_KEPT = 4 << 20
"""Bytes of blocks in a generation at most."""

_LEAST_USES = 64
_USES_EACH = 4
"""Uses after which a generation ends: so many, and this many for each block in it."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class IdsError(ValueError):
    """A block that is not one of ours."""


class Ids(list[str]):
    """Ids that were read from a block: unique strings."""

    __slots__ = ()


class _Recent(Generic[_K, _V]):
    """What was used of late: two generations, and what the older one has that was not asked for again goes."""

    __slots__ = ("_new", "_old", "_size", "_uses")

    def __init__(self) -> None:
        self._new: dict[_K, _V] = {}
        self._old: dict[_K, _V] = {}
        self._size = 0
        self._uses = 0

    def get(self, key: _K) -> _V | None:
        self._uses += 1
        value = self._new.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self._new[key] = value
        if self._uses > _LEAST_USES + _USES_EACH * len(self._new):
            self._turn()
        return value

    def put(self, key: _K, value: _V, size: int) -> None:
        """`size` in bytes, about."""
        self._new[key] = value
        self._size += size
        if self._size > _KEPT:
            self._turn()

    def _turn(self) -> None:
        self._old, self._new = self._new, {}
        self._size = self._uses = 0


class IdsWriter:
    """Packs ids, and remembers what it packed of late."""

    def __init__(self) -> None:
        self._packed: _Recent[tuple[int, str, str], tuple[list[str], bytes]] = _Recent()

    def pack(self, ids: list[str]) -> bytes:
        """The block of these ids."""
        key = (len(ids), ids[0], ids[-1]) if ids else (0, "", "")
        known = self._packed.get(key)
        if known is not None and known[0] == ids:
            return known[1]
        block: bytes = msgpack.packb([_entry(owner, list(group)) for owner, group in groupby(ids, _owner)])
        self._packed.put(key, (ids, block), len(block))
        return block


class IdsReader:
    """Reads blocks, and remembers what it read of late: the same block is the same list, which nobody may change."""

    def __init__(self) -> None:
        self._read: _Recent[bytes, Ids] = _Recent()

    def read(self, block: Any) -> Ids:
        """The ids of a block; IdsError where it is none."""
        if block.__class__ is not bytes:
            raise IdsError("no block of ids")
        ids = self._read.get(block)
        if ids is None:
            ids = _ids(block)
            self._read.put(block, ids, len(block))
        return ids


def listed(ids: Any) -> Ids:
    """The ids of a frame of version 1, where they are a list of strings; IdsError where they are not."""
    if ids.__class__ is not list or not set(map(type, ids)) <= {str} or len(set(ids)) != len(ids):
        raise IdsError("ids that are no list of unique strings")
    return Ids(ids)


def _owner(key: str) -> str | None:
    owner, slash, _ = key.partition("/")
    return owner if slash else None


def _entry(owner: str | None, group: list[str]) -> Any:
    if owner is None:
        return [None, *(_short(key) for key in group)]
    return [_short(owner), *(key[len(owner) + 1 :] for key in group)]


def _short(text: str) -> str | bytes:
    if len(text) == _UUID_LENGTH:
        try:
            value = bytes.fromhex(text.replace("-", ""))
        except ValueError:
            return text
        if _uuid(value) == text:
            return value
    return text


def _long(value: Any) -> str:
    if value.__class__ is bytes and len(value) == _UUID_BYTES:
        return _uuid(value)
    if value.__class__ is not str:
        raise IdsError("an id that is no string")
    text: str = value
    return text


def _uuid(value: bytes) -> str:
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _ids(block: bytes) -> Ids:
    entries = msgpack.unpackb(
        block,
        raw=False,
        timestamp=0,
        max_str_len=_MOST_TEXT,
        max_bin_len=_UUID_BYTES,
        max_ext_len=0,
        max_array_len=_MOST_ROWS,
        max_map_len=0,
    )
    if entries.__class__ is not list:
        raise IdsError("no list of ids")
    ids = Ids()
    characters = 0
    for entry in entries:
        if entry.__class__ is not list or not entry:
            raise IdsError("ids that are no list")
        owner, *parts = entry
        if owner is None:
            found = [_long(part) for part in parts]
        else:
            prefix = _long(owner) + "/"
            if not set(map(type, parts)) <= {str}:
                raise IdsError("an id that is no string")
            found = [prefix + part for part in parts]
            characters += len(prefix) * len(parts)
        characters += len(parts)
        if characters > _MOST_CHARACTERS or len(ids) + len(found) > _MOST_ROWS:
            raise IdsError("too many ids")
        ids += found
    if len(set(ids)) != len(ids):
        raise IdsError("ids that are not unique")
    return ids
