"""Dataclasses ⇄ plain maps and lists, checked: what came over the network becomes a value of the declared type or
one FrameError. A decoder per type is built once, from the annotations; unknown keys are ignored, missing ones take
the default."""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from math import isfinite
from typing import Any

from proxtop.bus.ids import Ids, IdsWriter
from proxtop.model import Columns, Constant, Table, Value

Decoder = Callable[[Any], Any]

_SCALARS = frozenset({int, float, str, bool, type(None)})
_NUMBERS = frozenset({int, float})
_TIMES = frozenset({int, float, type(None)})
_FLOATS = frozenset({float})
_SINGLE_BYTES = 4
_MOST_CELLS = 4_000_000


class FrameError(ValueError):
    """A frame that is not ours: too large, too deep, of an unknown version or wrong in shape."""


def to_wire(value: Any, ids: IdsWriter, *, single: bool = False) -> Any:
    """Plain maps, lists and scalars of a dataclass of the model. `single`: columns of floats with the seven digits of
    single precision, in less than half the bytes."""
    if value.__class__ is Table:
        return {
            "ids": ids.pack(value.ids),
            "columns": {name: _thin(column, single) for name, column in value.columns.items()},
            "at": None if value.at is None else _thin(value.at, False),
        }
    if dataclasses.is_dataclass(value):
        return {name: to_wire(getattr(value, name), ids, single=single) for name in _fields(value.__class__)}
    if isinstance(value, tuple):
        return [to_wire(item, ids, single=single) for item in value]
    if isinstance(value, Mapping):
        return {
            key: to_wire(item, ids, single=single) if isinstance(item, Table) else item for key, item in value.items()
        }
    return value


def _thin(values: list[Any], single: bool) -> Any:
    """The column, or its one value where all rows hold the same of the same type."""
    if not values:
        return values
    first = values[0]
    if values.__class__ is Constant:
        return first
    if first == values[-1] and values.count(first) == len(values) and len(set(map(type, values))) == 1:
        return first
    if single and first.__class__ is float and set(map(type, values)) == _FLOATS:
        try:
            return struct.pack(f"<{len(values)}f", *values)
        except OverflowError:  # past 3.4e38
            return values
    return values


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def column(raw: Any, length: int) -> list[Value]:
    """A list of that many finite scalars, or one for all; floats of single precision as their bytes."""
    if raw.__class__ is bytes:
        return _singles(raw, length)
    if raw.__class__ is not list:
        if raw.__class__ not in _SCALARS or (raw.__class__ is float and not isfinite(raw)):
            raise FrameError("a value that is no finite scalar")
        return Constant.of(raw, length)
    if len(raw) != length:
        raise FrameError("a column of another length")
    kinds = set(map(type, raw))
    if not kinds <= _SCALARS:
        raise FrameError("a value that is no scalar")
    if float in kinds and not (kinds <= _NUMBERS and isfinite(sum(raw))):
        for value in raw:
            if value.__class__ is float and not isfinite(value):
                raise FrameError("a number that is not finite")
    values: list[Value] = raw
    return values


def _singles(raw: bytes, length: int) -> list[Value]:
    if len(raw) != _SINGLE_BYTES * length:
        raise FrameError("a column of another length")
    values: list[Value] = list(struct.unpack(f"<{length}f", raw))
    if not isfinite(sum(typing.cast(list[float], values))):
        raise FrameError("a number that is not finite")
    return values


def table(raw: Any) -> Table:
    """A table whose ids were read: columns and times of the same length."""
    if raw.__class__ is not dict:
        raise FrameError("no table")
    ids = raw.get("ids")
    if ids.__class__ is not Ids:
        raise FrameError("a table without ids")
    columns = raw.get("columns")
    if columns.__class__ is not dict:
        raise FrameError("no columns")
    length = len(ids)
    checked: Columns = {name: column(values, length) for name, values in columns.items()}
    at = raw.get("at")
    return Table(ids, checked, None if at is None else _times(at, length))


def _times(raw: Any, length: int) -> list[float | None]:
    values = column(raw, length)
    if not set(map(type, values)) <= _TIMES:
        raise FrameError("times that are no numbers")
    return typing.cast(list[float | None], values)


def read_ids(tables: Iterable[Any], read: Callable[[Any], Ids]) -> None:
    """Puts the ids in the place of what stands for them in tables as they come; FrameError where they or all the
    columns would be too many."""
    cells = 0
    for raw in tables:
        if raw.__class__ is not dict or raw.get("columns").__class__ is not dict:
            raise FrameError("no table")
        raw["ids"] = found = read(raw.get("ids"))
        cells += len(found) * (1 + len(raw["columns"]))
        if cells > _MOST_CELLS:
            raise FrameError("too many values")


def prepare(kind: type) -> None:
    """Builds what a dataclass needs to be written and read ahead of its first use."""
    _fields(kind)
    _decoder(kind)


def from_wire(kind: type, raw: Any) -> Any:
    """A dataclass of that kind; FrameError where the map does not fit."""
    return _decoder(kind)(raw)


@cache
def _decoder(annotation: Any) -> Decoder:
    if annotation is Table:
        return table
    if annotation in (int, str, bool):
        return _scalar(annotation)
    if annotation is float:
        return _float
    if annotation is type(None):
        return _scalar(type(None))
    if dataclasses.is_dataclass(annotation):
        return _dataclass(typing.cast(type, annotation))
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(tuple(_decoder(item) for item in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return _sequence(_decoder(arguments[0]))
    if origin is tuple:
        return _fixed(tuple(_decoder(item) for item in arguments))
    return _mapping(_decoder(arguments[1]))


def _scalar(kind: type) -> Decoder:
    def decode(raw: Any) -> Any:
        if raw.__class__ is not kind:
            raise FrameError(f"no {kind.__name__}")
        return raw

    return decode


def _float(raw: Any) -> float:
    if raw.__class__ is int:
        return float(raw)
    if raw.__class__ is not float or not isfinite(raw):
        raise FrameError("no finite number")
    value: float = raw
    return value


def _union(decoders: tuple[Decoder, ...]) -> Decoder:
    def decode(raw: Any) -> Any:
        for decoder in decoders:
            try:
                return decoder(raw)
            except FrameError:
                continue
        raise FrameError("none of the allowed types")

    return decode


def _sequence(item: Decoder) -> Decoder:
    def decode(raw: Any) -> Any:
        if raw.__class__ is not list:
            raise FrameError("no list")
        return tuple([item(value) for value in raw])

    return decode


def _fixed(items: tuple[Decoder, ...]) -> Decoder:
    def decode(raw: Any) -> Any:
        if raw.__class__ is not list or len(raw) != len(items):
            raise FrameError("a list of another length")
        return tuple([item(value) for item, value in zip(items, raw, strict=True)])

    return decode


def _mapping(item: Decoder) -> Decoder:
    def decode(raw: Any) -> Any:
        if raw.__class__ is not dict:
            raise FrameError("no map")
        return {key: item(value) for key, value in raw.items()}

    return decode


def _dataclass(kind: type) -> Decoder:
    hints = typing.get_type_hints(kind)
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    decoders = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(kind)}

    def decode(raw: Any) -> Any:
        if raw.__class__ is not dict:
            raise FrameError("no map")
        values = {name: decoder(raw[name]) for name, decoder in decoders.items() if name in raw}
        if not required <= values.keys():
            raise FrameError("a field is missing")
        return kind(**values)

    return decode
