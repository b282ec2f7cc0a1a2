"""How much of a matrix of tests is run: all of it by `make fuzz`, else one column of each kind."""

from __future__ import annotations

import os
from typing import Any

from sinch_qn._operations import OPERATIONS, SEND_VOICE_CHALLENGE, Operation

ALL = "SINCH_QN_FUZZ" in os.environ


def kind(operation: Operation[Any]) -> tuple[object, ...]:
    """Return all that the code between client and wire knows of an operation, but its names."""
    return (
        operation.method,
        operation.idempotent,
        operation.response_model is type(None),
        operation.required_field is None,
        operation.secret_response,
    )


_ONE_OF_EACH_KIND = {kind(each): each for each in reversed((SEND_VOICE_CHALLENGE, *OPERATIONS))}

EACH_KIND: tuple[Operation[Any], ...] = OPERATIONS if ALL else tuple(_ONE_OF_EACH_KIND.values())
"""An operation of each kind, a call to a phone among them, or all operations."""
