"""All errors of this library; each says whether the call can have had its effect.

    SinchError
    ├── InvalidRequestError (also a ValueError)   rejected here, before anything was sent
    ├── TokenError                                no access token
    ├── TransportError                            broken after the request may have been sent
    │   └── ConnectError                          no connection: nothing was sent
    │       └── ClosedError (also a RuntimeError) the client was closed: nothing was sent
    ├── DeadlineExceededError                     the deadline of the whole call passed
    ├── StatusError                               a response with an error status
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── ConflictError           409
    │   ├── RateLimitError          429
    │   └── ServerError             5xx
    ├── InvalidResponseError                      an unreadable response
    ├── PaginationError                           a listing that would never end
    ├── UnexpectedStateError                      a wait that can no longer succeed
    ├── OrderRejectedError                        a hosting order that Sinch rejected
    ├── UnlinkError                               an imported number that could not be unlinked
    ├── JournalError                              a run's journal cannot be used
    ├── EmailError                                an email was not accepted, or perhaps was
    └── WebhookError                              a callback that is not authentic or not readable

Check an error's `outcome` before you repeat a call that calls a phone or places an order:

    try:
        await client.send_voice_challenge("+12025550134")
    except SinchError as error:
        if error.outcome is Outcome.UNKNOWN:
            ...  # the phone may be ringing
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sinch_qn._redaction import masked_number, printable

if TYPE_CHECKING:
    from sinch_qn.models import HostingOrder, ImportedNumber, QualifiedNumber


_SHOWN_VIOLATIONS = 10
"""Invalid fields that an error's text names; `details` has all of them."""


class Outcome(enum.Enum):
    """Can a failed call have had its effect on the server?"""

    NOT_SENT = "not sent"
    """No: the request was not sent, or did not reach the server."""
    REJECTED = "rejected"
    """No: the server rejected the request."""
    UNKNOWN = "unknown"
    """Perhaps: the request may have been carried out. Check the state before you repeat it."""


class SinchError(Exception):
    """The base of all errors of this library; can be pickled and copied, holds no secrets.

    Its text ends with the operation, the masked number and the server's request id, where known:
    `HTTP 404 NOT_FOUND: no such number (getQualifiedNumber, +1202•••0134, request 7f3a)`.
    """

    _default_outcome: ClassVar[Outcome] = Outcome.UNKNOWN

    def __init__(
        self,
        message: str = "",
        *,
        outcome: Outcome | None = None,
        attempts: int = 0,
        retry_after: float | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What happened; for a `StatusError`, the server's message."""
        self.outcome = outcome or self._default_outcome
        """Whether the call can have had its effect: check it before you repeat the call."""
        self.attempts = attempts
        """Number of attempts, including the failed one."""
        self.retry_after = retry_after
        """Seconds to wait as requested by the API or the token endpoint, by its clock, or None."""
        self.retry_at = retry_at
        """The same as an aware UTC datetime."""
        self.operation: str | None = None
        """The `operationId` of the call, such as `sendVoiceChallenge`; None outside of a call."""
        self.phone_number: str | None = None
        """The number that the call is about, if it is one; in the error's text it is masked."""
        self.request_id: str | None = None
        """The id that the server gave the request, for a ticket at Sinch's support."""
        self.headers: Mapping[str, str] = {}
        """The response's headers, looked up in any case; empty without a response."""
        self.body: str = ""
        """The first KiB of the response's body as text; the secrets that were sent are redacted."""

    @property
    def reason(self) -> str:
        """The error's text without operation, number and request id."""
        return self.message

    def __str__(self) -> str:
        number, masked = self.phone_number or "", masked_number(self.phone_number or "")
        request = self.request_id and f"request {printable(self.request_id, 100)}"
        context = ", ".join(filter(None, [self.operation, number and masked, request]))
        reason = self.reason.replace(number, masked) if number else self.reason
        return " ".join(filter(None, [reason, context and f"({context})"]))

    def __reduce__(self) -> tuple[Any, ...]:
        # `args` lacks keyword-only arguments: rebuild without __init__, then set the state.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[SinchError], args: tuple[Any, ...]) -> SinchError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class InvalidRequestError(SinchError, ValueError):
    """An argument was rejected before anything was sent; the message names it."""

    _default_outcome = Outcome.NOT_SENT


class TokenError(SinchError):
    """No access token: the endpoint is down, rate-limited, or its response is unreadable."""

    _default_outcome = Outcome.NOT_SENT


class TransportError(SinchError):
    """The connection broke after the request may have been sent."""


class ConnectError(TransportError):
    """Failed to connect: refused, DNS, TLS, or no free connection in time."""

    _default_outcome = Outcome.NOT_SENT


class ClosedError(ConnectError, RuntimeError):
    """The client, or the session that it was given, is closed; nothing was sent."""


class DeadlineExceededError(SinchError):
    """The deadline of the call passed; `outcome` says whether the request may have been sent."""


class StatusError(SinchError):
    """The server returned an error status."""

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
        super().__init__(
            message,
            outcome=outcome,
            attempts=attempts,
            retry_after=retry_after,
            retry_at=retry_at,
        )
        self.status_code = status_code
        """The HTTP status; of an error in the body of a 2xx, the status that it says."""
        self.code = code
        """The body's `code` as a string, or None."""
        self.status = status
        """The body's `status`, such as `NOT_FOUND`, or None."""
        self.details = list(details)
        """The body's `details`, such as violations of single fields."""

    @property
    def reason(self) -> str:
        """The error's text without operation, number and request id."""
        head = f"HTTP {self.status_code}" + (f" {self.status}" if self.status else "")
        return ": ".join(filter(None, [head, self.message, "; ".join(self._violations())]))

    def _violations(self) -> list[str]:
        """Return the first invalid fields; the details may have any shape."""
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
    """400: a parameter is invalid; `details` may name the field."""


class AuthenticationError(StatusError):
    """The token endpoint refused the credentials, or the API refused a fresh token."""


class PermissionDeniedError(StatusError):
    """403: the credentials do not permit this in this project."""


class NotFoundError(StatusError):
    """404: the number, project or order does not exist."""


class ConflictError(StatusError):
    """409: it exists already."""


class RateLimitError(StatusError):
    """429: too many requests, and no time left to wait; `retry_at` says until when, if known."""


class ServerError(StatusError):
    """5xx: the server failed, perhaps after carrying out the request."""

    _default_outcome = Outcome.UNKNOWN


class InvalidResponseError(SinchError):
    """The response is unreadable: a redirect, not JSON, the wrong shape, or too large."""

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
        """The HTTP status, or None."""


class PaginationError(SinchError):
    """A page token repeats: the listing would never end."""


class UnexpectedStateError(SinchError):
    """A number reached a state from which none of the awaited states can follow."""

    def __init__(self, message: str = "", *, number: QualifiedNumber) -> None:
        super().__init__(message)
        self.phone_number = number.phone_number
        self.number = number
        """The number as last seen."""


class OrderRejectedError(SinchError):
    """A hosting order is REJECTED; the API tells the reasons by number and carrier, if at all."""

    _default_outcome = Outcome.REJECTED

    def __init__(self, message: str = "", *, order: HostingOrder) -> None:
        super().__init__(message)
        self.order = order
        """The order as last seen."""


class UnlinkError(SinchError):
    """An imported number could not be unlinked, so it was not linked anew."""

    def __init__(self, message: str = "", *, number: ImportedNumber) -> None:
        super().__init__(message)
        self.phone_number = number.phone_number
        self.number = number
        """The number as last seen, with the error code."""


class JournalError(SinchError):
    """A run's journal cannot be used; the file is left as it was."""


class EmailError(SinchError):
    """A mail server did not accept an email, or its response was lost: see `outcome`."""

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        outcome: Outcome | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, outcome=outcome, attempts=attempts)
        self.code = code
        """The reply code of the server, such as 550, or None."""


class WebhookError(SinchError):
    """A callback was rejected: wrong signature, too large, or not an event. Nothing was sent."""

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
