"""Modules of the standard library that others' code imports at its top and seldom needs: they load when they are used.

`inspect` comes with dataclasses (which use it for a class without a docstring alone), `random` and `pickle` with pyzmq.
The standard library's own LazyLoader is no help: before 3.12, a second import of a module that it postponed loads it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

UNUSED = ("inspect", "random", "pickle")
"""What no worker and no printer needs: 0.5 MB in each of a fleet's processes, 12 ms of each start."""

_KNOWN = {"pickle": {"DEFAULT_PROTOCOL": 4}}
"""What is asked of them when others' code is imported; pyzmq makes it the default of calls that are never made."""


class _Postponed(ModuleType):
    def __getattr__(self, name: str) -> Any:
        """The first attribute that is asked for brings the module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def postpone(names: tuple[str, ...] = UNUSED) -> None:
    """From now on, an import of one of these binds a module that loads at its first use. To be called before the
    imports that it shall spare; a module that is there already stays."""
    for name in names:
        if name not in sys.modules:
            module = sys.modules[name] = _Postponed(name)
            module.__dict__.update(_KNOWN.get(name, {}))
