"""Every error this library raises, and what each says about the call's effect.

    SinchError
    ├── InvalidRequestError (also a ValueError)   refused here, before anything was sent
    ├── TokenError                                no access token could be had
    ├── TransportError                            broken after the request may have left
    │   └── ConnectError                          no connection: nothing was sent
    ├── DeadlineExceededError                     the deadline of the whole call passed
    ├── StatusError                               an answer with an error status
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── ConflictError           409
    │   ├── RateLimitError          429
    │   └── ServerError             5xx
    ├── InvalidResponseError                      an answer that cannot be understood
    ├── PaginationError                           a listing that would never end
    ├── UnexpectedStateError                      a wait that can no longer succeed
    ├── JournalError                              a run's journal cannot be used
    └── WebhookError                              a callback that is not to be trusted, or read

Ask an error's `outcome` before repeating a call that rings a phone or places an order:

    try:
        await client.send_voice_challenge("+12025550134")
    except SinchError as error:
        if error.outcome is Outcome.UNKNOWN:
            ...  # the phone may be ringing
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sinch_qn._redaction import printable

if TYPE_CHECKING:
    from datetime import datetime

    from sinch_qn.models import QualifiedNumber


_SHOWN_VIOLATIONS = 10
"""How many violated fields an error's text names; `details` has them all."""


class Outcome(enum.Enum):
    """Can a failed call have had its effect on the server?"""

    NOT_SENT = "not sent"
    """No: it never left this process, or never reached the server."""
    REJECTED = "rejected"
    """No: the server answered that it refused."""
    UNKNOWN = "unknown"
    """Perhaps: it may have been carried out. Look before you repeat it."""


class SinchError(Exception):
    """The root of all errors of this library; pickles and copies, and holds no secrets."""

    _default_outcome: ClassVar[Outcome] = Outcome.UNKNOWN

    def __init__(
        self, message: str = "", *, outcome: Outcome | None = None, attempts: int = 0
    ) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong; for an answered error, the server's own words."""
        self.outcome = outcome or self._default_outcome
        """Whether the call can have had its effect: look here before you repeat it."""
        self.attempts = attempts
        """How many times the request was tried, this failure included."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are not in `args`: rebuild without __init__, then set the state.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[SinchError], args: tuple[Any, ...]) -> SinchError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class InvalidRequestError(SinchError, ValueError):
    """An argument was refused here, before anything was sent; the message names it."""

    _default_outcome = Outcome.NOT_SENT


class TokenError(SinchError):
    """No access token could be had: its endpoint is down, limited, or gave no readable answer."""

    _default_outcome = Outcome.NOT_SENT


class TransportError(SinchError):
    """The connection broke after the request may have left."""


class ConnectError(TransportError):
    """No connection could be had: refused, DNS, TLS, or none free in time."""

    _default_outcome = Outcome.NOT_SENT


class DeadlineExceededError(SinchError):
    """The deadline of the whole call passed; `outcome` says whether the request had left."""


class StatusError(SinchError):
    """The server answered with an error status."""

    _default_outcome = Outcome.REJECTED

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int,
        code: str | None = None,
        status: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
        retry_at: datetime | None = None,
        outcome: Outcome | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, outcome=outcome, attempts=attempts)
        self.status_code = status_code
        """The HTTP status."""
        self.code = code
        """The body's `code`, as a string whichever shape the body had; None if it had none."""
        self.status = status
        """The body's `status`, such as `NOT_FOUND`; None if it had none."""
        self.details = list(details)
        """The body's `details`, such as the violations of single fields."""
        self.retry_after = retry_after
        """Seconds the server asked to wait, measured against its own clock; None if it did not."""
        self.retry_at = retry_at
        """The same moment as an aware UTC datetime."""

    def __str__(self) -> str:
        head = f"HTTP {self.status_code}" + (f" {self.status}" if self.status else "")
        return ": ".join(filter(None, [head, self.message, "; ".join(self._violations())]))

    def _violations(self) -> list[str]:
        """Return the first violated fields; a body's details are whatever the server made them."""
        lists = [d.get("fieldViolations") for d in self.details if isinstance(d, Mapping)]
        return [
            f"{_line(violation.get('field'))}: {_line(violation.get('description'))}"
            for violations in lists
            if isinstance(violations, list)
            for violation in violations[:_SHOWN_VIOLATIONS]
            if isinstance(violation, dict)
        ][:_SHOWN_VIOLATIONS]


def _line(value: object) -> str:
    return printable(value, 200) if isinstance(value, str) else "?"


class BadRequestError(StatusError):
    """400: the server found a parameter invalid; `details` may name the field."""


class AuthenticationError(StatusError):
    """The token endpoint refused the credentials, or the API did even with a fresh token."""


class PermissionDeniedError(StatusError):
    """403: these credentials may not do this in this project."""


class NotFoundError(StatusError):
    """404: the number, project or order is not known."""


class ConflictError(StatusError):
    """409: it exists already."""


class RateLimitError(StatusError):
    """429: too many requests, and no time left to wait; `retry_at` says until when, if known."""


class ServerError(StatusError):
    """5xx: the server failed, perhaps after doing what was asked."""

    _default_outcome = Outcome.UNKNOWN


class InvalidResponseError(SinchError):
    """The answer cannot be understood: a redirect, not JSON, the wrong shape, or too large."""

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        outcome: Outcome | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, outcome=outcome, attempts=attempts)
        self.status_code = status_code
        """The HTTP status of the answer, where there was one."""


class PaginationError(SinchError):
    """A page token came back a second time: the listing would never end."""


class UnexpectedStateError(SinchError):
    """A wait saw a final state other than those waited for."""

    def __init__(self, message: str = "", *, number: QualifiedNumber) -> None:
        super().__init__(message)
        self.number = number
        """The number as it was last seen."""


class JournalError(SinchError):
    """A run's journal cannot be used; the file is left as it was."""


class WebhookError(SinchError):
    """A callback was refused: not signed rightly, too large, or no event. Nothing was sent."""

    _default_outcome = Outcome.NOT_SENT


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}


def status_error_class(status_code: int) -> type[StatusError]:
    """Return the class for an HTTP error status."""
    return _BY_STATUS.get(status_code, ServerError if status_code >= 500 else StatusError)
