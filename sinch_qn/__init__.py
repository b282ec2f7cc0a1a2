"""Asyncio client for the Sinch Qualified Numbers API.

async with QualifiedNumbersClient(project_id, OAuth2(key_id, key_secret)) as client:
    await client.send_voice_challenge("+12025550134")

Names are loaded when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sinch_qn._version import __version__

if TYPE_CHECKING:
    from sinch_qn import errors, models
    from sinch_qn._paging import Page
    from sinch_qn._pipeline import PreparedCall
    from sinch_qn.auth import BasicAuth, OAuth2
    from sinch_qn.client import QualifiedNumbersClient
    from sinch_qn.errors import Outcome, SinchError
    from sinch_qn.models import (
        Address,
        AuthorizedPerson,
        BlanketLoaInfo,
        DirectLoaInfo,
        GlobalProcessState,
        HostedNumberDetails,
        HostingOrder,
        HostingOrderState,
        HostingOrderType,
        HostingStatus,
        OperationStatus,
        OsrEligibilityDetails,
        OwnershipVerificationDetails,
        QualifiedNumber,
        ResellerLoaInfo,
        TextEnableNumbersRequest,
        TextEnableTollFreeNumbersRequest,
    )
    from sinch_qn.rate_limit import RateLimit
    from sinch_qn.retry import Failure, RetryPolicy

_MODULE_OF = {
    "BasicAuth": "auth",
    "Failure": "retry",
    "OAuth2": "auth",
    "Outcome": "errors",
    "Page": "_paging",
    "PreparedCall": "_pipeline",
    "QualifiedNumbersClient": "client",
    "RateLimit": "rate_limit",
    "RetryPolicy": "retry",
    "SinchError": "errors",
    "Address": "models",
    "AuthorizedPerson": "models",
    "BlanketLoaInfo": "models",
    "DirectLoaInfo": "models",
    "GlobalProcessState": "models",
    "HostedNumberDetails": "models",
    "HostingOrder": "models",
    "HostingOrderState": "models",
    "HostingOrderType": "models",
    "HostingStatus": "models",
    "OperationStatus": "models",
    "OsrEligibilityDetails": "models",
    "OwnershipVerificationDetails": "models",
    "QualifiedNumber": "models",
    "ResellerLoaInfo": "models",
    "TextEnableNumbersRequest": "models",
    "TextEnableTollFreeNumbersRequest": "models",
}
_MODULES = ("errors", "models")

__all__ = [
    "Address",
    "AuthorizedPerson",
    "BasicAuth",
    "BlanketLoaInfo",
    "DirectLoaInfo",
    "Failure",
    "GlobalProcessState",
    "HostedNumberDetails",
    "HostingOrder",
    "HostingOrderState",
    "HostingOrderType",
    "HostingStatus",
    "OAuth2",
    "OperationStatus",
    "OsrEligibilityDetails",
    "Outcome",
    "OwnershipVerificationDetails",
    "Page",
    "PreparedCall",
    "QualifiedNumber",
    "QualifiedNumbersClient",
    "RateLimit",
    "ResellerLoaInfo",
    "RetryPolicy",
    "SinchError",
    "TextEnableNumbersRequest",
    "TextEnableTollFreeNumbersRequest",
    "__version__",
    "errors",
    "models",
]


def __getattr__(name: str) -> Any:
    """Load the module that *name* lives in (PEP 562)."""
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
