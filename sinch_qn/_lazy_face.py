"""A package's face: its names load their modules when they are first used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def open_face(
    package: str, names: Mapping[str, Sequence[str]], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], tuple[str, ...]]:
    """Return the `__getattr__`, `__dir__` and `__all__` of *package*.

    *names* are those that it offers, by the module below it that defines them; *modules* are
    modules below it that it offers themselves.
    """
    module_of = {name: module for module, offered in names.items() for name in offered}
    offered = tuple(sorted([*module_of, *modules]))

    def load(name: str) -> Any:
        if name in module_of:
            value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        elif name in modules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(import_module(package), name, value)  # it is loaded once
        return value

    return load, lambda: list(offered), offered
