"""What a command exits with, and what it says when it fails: never a traceback."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from sinch_qn import errors
from sinch_qn.cli.output import say
from sinch_qn.errors import Outcome

if TYPE_CHECKING:
    from sinch_qn.errors import SinchError


class Exit(enum.IntEnum):
    """Exit codes by kind of failure: what a script can do about it."""

    OK = 0
    FAILED = 1
    """Sinch refused, or its answer cannot be understood; also a code that was wrong, or a run in
    which some numbers need a person."""
    USAGE = 2
    """Refused here: arguments, files, the environment, a journal that cannot be used."""
    AUTHENTICATION = 3
    """The credentials were refused, or may not do this."""
    NOT_FOUND = 4
    """Sinch does not know the number or the project."""
    UNKNOWN = 5
    """It may have happened: look before repeating it."""
    TRY_AGAIN = 6
    """It did not happen: no connection, no token, too many requests, out of time."""
    INTERRUPTED = 130
    """Ctrl-C, or a question that was not answered with yes."""


_IN_DOUBT: Final = {
    "add": "The numbers may have been added: look with `sinch-qn list` before you repeat it.",
    "delete": "The number may be deleted already. Deleting it again does no harm.",
    "send": "The phone may be ringing: wait for its code, or look with `sinch-qn get`, before you"
    " ring again.",
    "text-enable": "The order may have been placed: look with `sinch-qn list hosting_in_progress`"
    " before you repeat it, as a second order sends a second letter.",
    "verify": "The code may have been used: look with `sinch-qn get` before you try it again.",
}
_IN_DOUBT["text-enable-toll-free"] = _IN_DOUBT["text-enable"]
"""What may have happened when a command's outcome is unknown; for the others it is nothing."""


def explain(error: SinchError, command: str) -> Exit:
    """Say what went wrong, and return the exit code."""
    if command == "run":
        say(str(error) or type(error).__name__, "error")
        code = _exit_code(error, command)
        if code is not Exit.USAGE:  # that is to be put right first, and nothing may have begun
            say("The same command goes on where this stopped, and rings nobody twice.")
        return code
    about = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    say(f"{about}{error or type(error).__name__}", "error")
    code = _exit_code(error, command)
    if code is Exit.UNKNOWN:
        say(_IN_DOUBT[command], "outcome unknown")
    elif code is Exit.TRY_AGAIN and command in _IN_DOUBT:
        say("Nothing was done; you may try again.", "not sent")
    return code


def explain_interrupt(command: str) -> Exit:
    """Say what an interrupted command may have done."""
    say(_IN_DOUBT.get(command, "Nothing was changed."), "interrupted")
    return Exit.INTERRUPTED


def _exit_code(error: SinchError, command: str) -> Exit:
    match error:
        case errors.InvalidRequestError() | errors.JournalError():
            return Exit.USAGE
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            return Exit.AUTHENTICATION
        case errors.NotFoundError():
            return Exit.NOT_FOUND
    if error.outcome is Outcome.UNKNOWN and command in _IN_DOUBT:
        return Exit.UNKNOWN
    passing = (
        errors.DeadlineExceededError,
        errors.RateLimitError,
        errors.ServerError,
        errors.TransportError,
    )
    if error.outcome is Outcome.NOT_SENT or isinstance(error, passing):
        return Exit.TRY_AGAIN
    return Exit.FAILED
