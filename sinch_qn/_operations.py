"""The API's operations, one row each: method, path, response and idempotence.

The pipeline sends from this table and the sandbox mounts it; the contract test holds it equal to
the OpenAPI spec and to the facade.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import attrs

from sinch_qn.models import (
    AddNumbersResponse,
    CallbackConfiguration,
    HostingOrder,
    HostingOrderNumber,
    HostingOrderReport,
    ImportedNumber,
    ListHostingOrderNumbersResponse,
    ListHostingOrdersResponse,
    ListImportedNumbersResponse,
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
    """Below `/v1/projects/{projectId}`; may contain `{phoneNumber}` and `{hostingOrderId}`."""
    response_model: type[T_co]
    """The model of a 200's body; NoneType where it is empty."""
    idempotent: bool = attrs.field(kw_only=True)
    """Is a retry safe when the outcome is unknown?

    False: it calls a phone, consumes a code, sends email, places an order or links a number.
    """
    required_field: str | None = attrs.field(default=None, kw_only=True)
    """The response field (wire name) without which a 200 is an error."""
    secret_response: bool = attrs.field(default=False, kw_only=True)
    """Does the response hold a secret? Then no error and no captured response has its body."""


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

_ORDERS = "/hostingOrders"
_ORDER = _ORDERS + "/{hostingOrderId}"

LIST_ORDERS = Operation(
    "listHostingOrders", "GET", _ORDERS, ListHostingOrdersResponse, idempotent=True
)
GET_ORDER = Operation(
    "getHostingOrder",
    "GET",
    _ORDER,
    HostingOrder,
    idempotent=True,
    required_field="hostingOrderId",
)
GET_ORDER_REPORT = Operation(
    "getHostingOrderReport", "GET", _ORDER + "/report", HostingOrderReport, idempotent=True
)
LIST_ORDER_NUMBERS = Operation(
    "listHostingOrderNumbers",
    "GET",
    _ORDER + "/numbers",
    ListHostingOrderNumbersResponse,
    idempotent=True,
)
GET_ORDER_NUMBER = Operation(
    "getHostingOrderNumber",
    "GET",
    _ORDER + "/numbers/{phoneNumber}",
    HostingOrderNumber,
    idempotent=True,
    required_field="phoneNumber",
)
CREATE_IMPORT_ORDER = Operation(
    "createImportOrder",
    "POST",
    _ORDERS + ":importNumbers",
    HostingOrder,
    idempotent=False,
    required_field="hostingOrderId",
)
CREATE_TEXT_ENABLE_ORDER = Operation(
    "createTextEnableOrder",
    "POST",
    _ORDERS + ":textEnableNumbers",
    HostingOrder,
    idempotent=False,
    required_field="hostingOrderId",
)
CREATE_TOLL_FREE_TEXT_ENABLE_ORDER = Operation(
    "createTollFreeTextEnableOrder",
    "POST",
    _ORDERS + ":textEnableTollFreeNumbers",
    HostingOrder,
    idempotent=False,
    required_field="hostingOrderId",
)

_IMPORTED = "/importedNumbers"
_IMPORTED_NUMBER = _IMPORTED + "/{phoneNumber}"

LIST_IMPORTED_NUMBERS = Operation(
    "listImportedNumbers", "GET", _IMPORTED, ListImportedNumbersResponse, idempotent=True
)
IMPORT_NUMBER = Operation(
    "importNumber",
    "POST",
    _IMPORTED,
    ImportedNumber,
    idempotent=False,
    required_field="phoneNumber",
)
GET_IMPORTED_NUMBER = Operation(
    "getImportedNumber",
    "GET",
    _IMPORTED_NUMBER,
    ImportedNumber,
    idempotent=True,
    required_field="phoneNumber",
)
UPDATE_IMPORTED_NUMBER = Operation(
    "updateImportedNumber",
    "PATCH",
    _IMPORTED_NUMBER,
    ImportedNumber,
    idempotent=False,
    required_field="phoneNumber",
)
DELETE_IMPORTED_NUMBER = Operation(
    "deleteImportedNumber", "DELETE", _IMPORTED_NUMBER, type(None), idempotent=True
)

_CALLBACKS = "/callbackConfiguration"

GET_CALLBACK_CONFIGURATION = Operation(
    "getCallbackConfiguration",
    "GET",
    _CALLBACKS,
    CallbackConfiguration,
    idempotent=True,
    secret_response=True,
)
UPDATE_CALLBACK_CONFIGURATION = Operation(
    "updateCallbackConfiguration",
    "PATCH",
    _CALLBACKS,
    CallbackConfiguration,
    idempotent=True,
    secret_response=True,
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
    LIST_ORDERS,
    GET_ORDER,
    GET_ORDER_REPORT,
    LIST_ORDER_NUMBERS,
    GET_ORDER_NUMBER,
    CREATE_IMPORT_ORDER,
    CREATE_TEXT_ENABLE_ORDER,
    CREATE_TOLL_FREE_TEXT_ENABLE_ORDER,
    LIST_IMPORTED_NUMBERS,
    IMPORT_NUMBER,
    GET_IMPORTED_NUMBER,
    UPDATE_IMPORTED_NUMBER,
    DELETE_IMPORTED_NUMBER,
    GET_CALLBACK_CONFIGURATION,
    UPDATE_CALLBACK_CONFIGURATION,
)
