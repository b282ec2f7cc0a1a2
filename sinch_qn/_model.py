"""What all models share: equality, repr, `dict(model)`, and being fields and bodies for pydantic.

attrs would compile equality, hash and repr for each class anew: half of the import's time.

pydantic, and FastAPI with it, asks a class for its schema. A schema is made of plain dicts, so
nothing of pydantic is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import attrs


class Model:
    """The base of the models: frozen attrs classes whose fields have a name on the wire."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash((type(self), _values(self)))

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in _fields(type(self)) if f.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield wire name and value of each field that is not None: `dict(model)`."""
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            if value is not None:
                yield field.metadata["wire"], value

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> dict[str, Any]:
        """Return how pydantic reads, writes and documents this model: as the API's JSON."""
        attrs.resolve_types(cls)  # type: ignore[type-var]
        fields = {
            field.metadata["wire"]: {
                "type": "typed-dict-field",
                "schema": handler.generate_schema(field.type),
                "required": field.default is attrs.NOTHING,
            }
            for field in _fields(cls)
        }
        typed_dict = {"type": "typed-dict", "fields": fields, "cls_name": cls.__name__}
        return {
            "type": "function-wrap",
            "function": {"type": "no-info", "function": cls._validate},
            "schema": typed_dict,
            "serialization": {"type": "function-wrap", "function": _serialize},
            "ref": f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
        }

    @classmethod
    def _validate(cls, value: Any, validate_fields: Callable[[Any], dict[str, Any]]) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            value = without_aliases(value, wire_aliases(cls))
        valid = validate_fields(value)
        return cls(**{f.name: valid.get(f.metadata["wire"]) for f in _fields(cls)})


def _fields(cls: type) -> tuple[Any, ...]:
    fields: tuple[Any, ...] = attrs.fields(cls)
    return fields


def _values(model: object) -> tuple[Any, ...]:
    return tuple(getattr(model, field.name) for field in _fields(type(model)))


def wire_aliases(model: type) -> dict[str, str]:
    """Return the wire name by each of the other names that a field of *model* may have."""
    return {
        alias: field.metadata["wire"]
        for field in _fields(model)
        for alias in field.metadata.get("wire_aliases", ())
    }


def without_aliases(value: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object *value* with each field under its wire name, if it has one."""
    for alias, wire in aliases.items():
        if value.get(wire) is None and alias in value:
            value = {**value, wire: value[alias]}
    return value


def _serialize(model: Model, serialize_fields: Callable[[dict[str, Any]], Any]) -> Any:
    return serialize_fields(dict(model))
