"""The error response to a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

Status: TypeAlias = Literal[
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ALREADY_EXISTS", "INTERNAL"
]


class Refusal(Exception):  # noqa: N818 - a response of the API, not a defect
    """The error response to a request; nothing was changed, unless it is INTERNAL."""

    def __init__(
        self, status: Status, message: str, fields: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.fields = tuple(fields)
        """Invalid fields, each with a description."""


def invalid(*fields: tuple[str, str], message: str = "The request is not valid.") -> Refusal:
    """Return the refusal of a request with invalid *fields*, each with a description."""
    return Refusal("INVALID_ARGUMENT", message, fields)


def number_not_found() -> Refusal:
    """Return the refusal of a request for an unknown number."""
    return Refusal("NOT_FOUND", "The imported number could not be found.")


def number_exists() -> Refusal:
    """Return the refusal of a request to import a number twice."""
    return Refusal("ALREADY_EXISTS", "The imported number already exists.")
