"""Enums that outlive the API that they describe.

The API adds values to its enums without a new version, so a value that nobody here has heard of is
kept as it came instead of being refused. Such a value is a member in all but membership: it
compares, hashes, prints, pickles and copies as itself, but is absent from `len` and iteration.
Nothing is cached, so a server cannot fill the memory with values.
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
        """Return the member that differs by case only, or *value* as an unknown one."""
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
        # Python 3.11 pickles the name, under which an unknown value cannot be found again.
        return type(self), (self._value_,)


class OpenIntEnum(IntEnum):
    """An `IntEnum` that keeps unknown values.

    A member is also found by its digits (`"1"`), by its name (`"HOSTED"`) and by its name with
    the enum's own in front (`"HOSTING_STATUS_HOSTED"`): the API writes its enums in many ways.
    """

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self._value_ in type(self)._value2member_map_

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return the member that *value* names, or a number as an unknown one."""
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
        # Python 3.11 pickles the name, under which an unknown value cannot be found again.
        return type(self), (self._value_,)
