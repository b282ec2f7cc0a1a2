"""Enums that accept unknown values.

The API adds values to its enums without a new version, so an unknown value is kept unchanged and
not rejected. It compares, hashes, prints, pickles and copies like a member, but is absent from
`len` and iteration. Unknown values are not cached, so a server cannot fill the memory with them.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Any, Self


class OpenStrEnum(StrEnum):
    """A `StrEnum` that keeps unknown values."""

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self._value_ in type(self)._value2member_map_

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return the member that differs only in case, or *value* as an unknown value."""
        if not isinstance(value, str):
            return None
        upper = value.upper()
        for member in cls:
            if member.value.upper() == upper:
                return member
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str(value)
        return unknown

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        # Python 3.11 pickles by name, by which an unknown value cannot be found.
        return type(self), (self._value_,)


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
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper() + "_"
            if member := cls.__members__.get(value.upper().removeprefix(prefix)):
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
