"""The API's operations, one row each: method, path, response and idempotence.

The pipeline sends from this table and the sandbox mounts it; the contract test holds it equal to
the OpenAPI spec and to the facade.
"""

from __future__ import annotations

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


@attrs.frozen
class Operation(Generic[T_co]):
    """One row: all differences between this operation and the others."""

    id: str
    """The `operationId` in the spec."""
    method: str
    path: str
    """Below `/v1/projects/{projectId}`; may contain `{phoneNumber}`."""
    response_model: type[T_co]
    """The model of a 200's body; NoneType where it is empty."""
    idempotent: bool = attrs.field(kw_only=True)
    """Is a retry safe when the outcome is unknown?

    False: it calls a phone, consumes a code, sends email or places an order.
    """
    required_field: str | None = attrs.field(default=None, kw_only=True)
    """The response field (wire name) without which a 200 is an error."""


_NUMBER = "/qualifiedNumbers/{phoneNumber}"

LIST_NUMBERS = Operation(
    "listQualifiedNumbers",
    "GET",
    "/qualifiedNumbers",
    ListQualifiedNumbersResponse,
    idempotent=True,
)
GET_NUMBER = Operation(
    "getQualifiedNumber",
    "GET",
    _NUMBER,
    QualifiedNumber,
    idempotent=True,
    required_field="phoneNumber",
)
DELETE_NUMBER = Operation("deleteQualifiedNumber", "DELETE", _NUMBER, type(None), idempotent=True)
ADD_NUMBERS = Operation(
    "addQualifiedNumbers",
    "POST",
    "/qualifiedNumbers:addNumbers",
    AddNumbersResponse,
    idempotent=False,
    required_field="qualifiedNumbers",
)
TEXT_ENABLE_NUMBERS = Operation(
    "textEnableNumbers",
    "POST",
    "/qualifiedNumbers:textEnableNumbers",
    TextEnableNumbersResponse,
    idempotent=False,
    required_field="hostingOrderId",
)
TEXT_ENABLE_TOLL_FREE_NUMBERS = Operation(
    "textEnableTollFreeNumbers",
    "POST",
    "/qualifiedNumbers:textEnableTollFreeNumbers",
    HostingOrder,
    idempotent=False,
    required_field="hostingOrderId",
)
SEND_VOICE_CHALLENGE = Operation(
    "sendVoiceChallenge",
    "POST",
    _NUMBER + ":sendVoiceChallenge",
    QualifiedNumber,
    idempotent=False,
    required_field="phoneNumber",
)
VERIFY_VOICE_CHALLENGE = Operation(
    "verifyVoiceChallenge",
    "POST",
    _NUMBER + ":verifyVoiceChallenge",
    QualifiedNumber,
    idempotent=False,
    required_field="phoneNumber",
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
