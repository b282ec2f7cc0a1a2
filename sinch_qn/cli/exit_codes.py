"""Exit codes, and the messages of a command that fails: a traceback only with `--debug`."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager

from sinch_qn import errors
from sinch_qn.cli.messages import print_message
from sinch_qn.errors import Outcome, SinchError

_POSIX = {"termios", "tty"}
"""Modules that Windows lacks: those of the prompt below a run's display."""


class Exit(enum.IntEnum):
    """Exit codes by kind of failure: what a script can do about it."""

    OK = 0
    FAILED = 1
    """Sinch rejected the request, its response is invalid, the code was wrong, or some numbers of
    a run need attention."""
    USAGE = 2
    """Rejected here: arguments, files, the environment, a journal that cannot be used."""
    AUTHENTICATION = 3
    """The credentials were rejected, or do not permit the request."""
    NOT_FOUND = 4
    """Sinch does not know the number or the project."""
    UNKNOWN = 5
    """The request may have had its effect: check before you repeat it."""
    TRY_AGAIN = 6
    """The request had no effect: no connection, no token, too many requests, out of time."""
    UNEXPECTED = 70
    """A fault of this program: `--debug` shows its traceback."""
    INTERRUPTED = 130
    """Ctrl-C, or a confirmation that was not answered with yes."""


@contextmanager
def error_context(phone_number: str) -> Iterator[None]:
    """Name *phone_number* in an error, where a command has several."""
    try:
        yield
    except SinchError as error:
        error.add_note(phone_number)
        raise


def report_error(error: SinchError, *, if_unknown: str = "", if_failed: str = "") -> Exit:
    """Print what failed and what to do next; return the exit code.

    *if_unknown* is printed if the outcome is unknown; it is empty for a command that changes
    nothing. *if_failed* is printed after any other error that is not about the command's usage.
    """
    context = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    print_message(f"{context}{error or type(error).__name__}", "error")
    code = _exit_code(error, changes_state=bool(if_unknown))
    if code is Exit.UNKNOWN:
        print_message(if_unknown, "outcome unknown")
    elif code is Exit.TRY_AGAIN and if_unknown:
        print_message("Nothing was done; you may try again.", "not sent")
    elif code is not Exit.USAGE and if_failed:
        print_message(if_failed)
    return code


def report_unexpected(error: Exception, *, if_unknown: str = "", if_failed: str = "") -> Exit:
    """Print one line about an error that no code here foresees; return the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name in _POSIX:
        print_message("this needs a POSIX system: use WSL, a container or another machine", "error")
        return Exit.USAGE
    print_message(f"unexpected {type(error).__name__}: {error}; --debug shows more", "error")
    if if_unknown or if_failed:
        print_message(if_unknown or if_failed)
    return Exit.UNEXPECTED


def report_interrupt(if_unknown: str = "") -> Exit:
    """Print what an interrupted command may have done; return the exit code."""
    print_message(if_unknown or "Nothing was changed.", "interrupted")
    return Exit.INTERRUPTED


def _exit_code(error: SinchError, *, changes_state: bool) -> Exit:
    match error:
        case errors.InvalidRequestError() | errors.JournalError():
            return Exit.USAGE
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            return Exit.AUTHENTICATION
        case errors.NotFoundError():
            return Exit.NOT_FOUND
    if error.outcome is Outcome.UNKNOWN and changes_state:
        return Exit.UNKNOWN
    transient = (
        errors.DeadlineExceededError,
        errors.RateLimitError,
        errors.ServerError,
        errors.TransportError,
    )
    if error.outcome is Outcome.NOT_SENT or isinstance(error, transient):
        return Exit.TRY_AGAIN
    return Exit.FAILED
