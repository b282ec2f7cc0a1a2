"""The API's operations, a row each: method, path, answer, and whether it may be repeated.

The pipeline sends from this table and the sandbox mounts it; the contract test holds it equal to
the OpenAPI spec and to the facade.
"""

from __future__ import annotations

import enum
from typing import Any, Generic, TypeVar

import attrs

from sinch_qn.models import (
    AddNumbersResponse,
    HostingOrder,
    ListQualifiedNumbersResponse,
    QualifiedNumber,
    TextEnableNumbersResponse,
)

T_co = TypeVar("T_co", covariant=True)


class Replay(enum.Enum):
    """May an operation be repeated when it is not known whether it happened?"""

    SAFE = "safe"
    """Yes: it reads, or ends in the same state however often it is done."""
    NEVER = "never"
    """No: it rings a phone, uses up a code, sends an e-mail or places an order."""


@attrs.frozen
class Operation(Generic[T_co]):
    """One row: everything that tells this operation from the others."""

    id: str
    """The `operationId` in the spec."""
    method: str
    path: str
    """Below `/v1/projects/{projectId}`; may name `{phoneNumber}`."""
    answer: type[T_co]
    """The model of a 200's body; NoneType where it is empty."""
    replay: Replay
    required: str | None = None
    """The answer's field (wire name) without which a 200 is no answer."""


_NUMBER = "/qualifiedNumbers/{phoneNumber}"

LIST_NUMBERS = Operation(
    "listQualifiedNumbers", "GET", "/qualifiedNumbers", ListQualifiedNumbersResponse, Replay.SAFE
)
GET_NUMBER = Operation(
    "getQualifiedNumber", "GET", _NUMBER, QualifiedNumber, Replay.SAFE, "phoneNumber"
)
DELETE_NUMBER = Operation("deleteQualifiedNumber", "DELETE", _NUMBER, type(None), Replay.SAFE)
ADD_NUMBERS = Operation(
    "addQualifiedNumbers",
    "POST",
    "/qualifiedNumbers:addNumbers",
    AddNumbersResponse,
    Replay.NEVER,
    "qualifiedNumbers",
)
TEXT_ENABLE_NUMBERS = Operation(
    "textEnableNumbers",
    "POST",
    "/qualifiedNumbers:textEnableNumbers",
    TextEnableNumbersResponse,
    Replay.NEVER,
    "hostingOrderId",
)
TEXT_ENABLE_TOLL_FREE_NUMBERS = Operation(
    "textEnableTollFreeNumbers",
    "POST",
    "/qualifiedNumbers:textEnableTollFreeNumbers",
    HostingOrder,
    Replay.NEVER,
    "hostingOrderId",
)
SEND_VOICE_CHALLENGE = Operation(
    "sendVoiceChallenge",
    "POST",
    _NUMBER + ":sendVoiceChallenge",
    QualifiedNumber,
    Replay.NEVER,
    "phoneNumber",
)
VERIFY_VOICE_CHALLENGE = Operation(
    "verifyVoiceChallenge",
    "POST",
    _NUMBER + ":verifyVoiceChallenge",
    QualifiedNumber,
    Replay.NEVER,
    "phoneNumber",
)

OPERATIONS: tuple[Operation[Any], ...] = (
    LIST_NUMBERS,
    GET_NUMBER,
    DELETE_NUMBER,
    ADD_NUMBERS,
    TEXT_ENABLE_NUMBERS,
    TEXT_ENABLE_TOLL_FREE_NUMBERS,
    SEND_VOICE_CHALLENGE,
    VERIFY_VOICE_CHALLENGE,
)
