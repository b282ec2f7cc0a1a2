"""Enums that accept unknown values.

The API adds values to its enums without a new version, so an unknown value is kept unchanged and
not rejected. It compares, hashes, prints, pickles and copies like a member, but is absent from
`len` and iteration. Unknown values are not cached, so a server cannot fill the memory with them.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum, StrEnum
from typing import Any, Self, TypeVar


class OpenStrEnum(StrEnum):
    """A `StrEnum` that keeps unknown values.

    A member is found by its value and by its name, in any case, with or without the enum's name
    as prefix: `GlobalProcessState("VERIFIED")` is `GlobalProcessState.VERIFIED`.

    A member equals its value, `"GLOBAL_PROCESS_STATE_VERIFIED"`, and its name, `"VERIFIED"`, so
    `==` and `match` accept either. It hashes like its value, because a hash cannot be that of two
    strings: in a set or as a key of a dict, plain text must be the value. An unknown value equals
    itself only.
    """

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self._value_ in type(self)._value2member_map_

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return the member that *value* names, or *value* as an unknown value."""
        if not isinstance(value, str):
            return None
        if member := _member_named(cls, value):
            return member
        upper = value.upper()
        for member in cls:
            if member.value.upper() == upper:
                return member
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str(value)
        return unknown

    def __eq__(self, other: object) -> bool:
        if type(other) is str and other == self._name_ and self.is_known:
            return True
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        if type(other) is str:
            return not self == other
        return str.__ne__(self, other)

    __hash__ = str.__hash__

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        # Python 3.11 pickles by name, by which an unknown value cannot be found.
        return type(self), (self._value_,)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> dict[str, Any]:
        """Return how pydantic reads and documents a value: as text, which need not be known."""
        return _pydantic_schema(cls, {"type": "str"})


class OpenIntEnum(IntEnum):
    """An `IntEnum` that keeps unknown values.

    A member is also found by its digits (`"1"`), by its name (`"HOSTED"`) and by its name with
    the enum's name as prefix (`"HOSTING_STATUS_HOSTED"`), because the API uses all these forms.
    """

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self._value_ in type(self)._value2member_map_

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return the member that *value* names, or a number as an unknown value."""
        if isinstance(value, str):
            if member := _member_named(cls, value):
                return member
            return cls(int(value)) if re.fullmatch(r"-?[0-9]+", value) else None
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = str(int(value)), int(value)
        return unknown

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        # Python 3.11 pickles by name, by which an unknown value cannot be found.
        return type(self), (self._value_,)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> dict[str, Any]:
        """Return how pydantic reads and documents a value: as a number or its name."""
        return _pydantic_schema(
            cls, {"type": "union", "choices": [{"type": "int"}, {"type": "str"}]}
        )


_E = TypeVar("_E", bound=Enum)


def _member_named(enum: type[_E], name: str) -> _E | None:
    """Return the member of that name, which may have the name of *enum* as prefix."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.__name__).upper() + "_"
    return enum.__members__.get(name.upper().removeprefix(prefix))


def _pydantic_schema(enum: type[Enum], schema: dict[str, Any]) -> dict[str, Any]:
    documented = {"title": enum.__name__, "examples": [member.value for member in enum]}
    return {
        "type": "function-after",
        "function": {"type": "no-info", "function": enum},
        "schema": schema,
        "metadata": {"pydantic_js_updates": documented},
    }
