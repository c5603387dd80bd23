"""Rows of one table by their owner in another: a VM's vCPUs, threads, disks, NICs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from proxtop.model import Constant
from proxtop.rates import Numbers


class Groups:
    """The places of each owner's rows, in the order of the owners."""

    __slots__ = ("_all", "_in_order", "_one_each", "_pickers", "places")

    def __init__(self, rows: Iterable[Hashable], owners: Sequence[Hashable]) -> None:
        """`rows` names the owner of each row."""
        found: dict[Hashable, list[int]] = {owner: [] for owner in owners}
        for place, owner in enumerate(rows):
            if owner in found:
                found[owner].append(place)
        self.places = [found[owner] for owner in owners]
        self._all = all(self.places)
        self._one_each = [own[0] for own in self.places] if all(len(own) == 1 for own in self.places) else None
        self._in_order = self._one_each == list(range(len(self.places)))
        self._pickers = [_picker(own) for own in self.places]

    def totals(self, column: Numbers) -> Numbers:
        """Each owner's sum; None where a part is unknown, or where there is no part."""
        if self._one_each is not None:
            if self._in_order and len(column) == len(self.places):
                return column
            if column.__class__ is Constant and column:
                return Constant.of(column[0], len(self.places))
            return [column[place] for place in self._one_each]
        if not any(self.places):
            return Constant.of(None, len(self.places))
        if self._all and column.__class__ is Constant and not column[0]:
            return Constant.of(column[0], len(self.places))  # of zeros and of unknowns the sum is the same
        return [
            picker(column) if single else None if None in (part := picker(column)) else sum(part)
            for picker, single in self._pickers
        ]


def _picker(places: list[int]) -> tuple[Callable[[Numbers], Any], bool]:
    """What takes those places of a column, and whether that is one value: of no place None, of several a tuple."""
    return (itemgetter(*places), len(places) == 1) if places else (_nothing, True)


def _nothing(column: Numbers) -> None:
    """The sum of no rows is unknown."""


class Grouping:
    """Remembers the groups for as long as rows and owners stay the same."""

    __slots__ = ("_groups", "_key")

    def __init__(self) -> None:
        self._key: tuple[list[str], list[str]] | None = None
        self._groups = Groups((), ())

    def by_vm(self, ids: list[str], vms: list[str]) -> Groups:
        """Rows whose ids are UUID/part, by their VMs' UUIDs."""
        if self._key is None or self._key[0] != ids or self._key[1] != vms:
            self._groups = Groups([row.partition("/")[0] for row in ids], vms)
            self._key = ids, vms
        return self._groups
