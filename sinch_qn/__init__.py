"""Asyncio client for the Sinch Qualified Numbers API.

    async with QualifiedNumbersClient(project_id, OAuth2(key_id, key_secret)) as client:
        await client.send_voice_challenge("+12025550134")

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn import errors as errors
    from sinch_qn import models as models
    from sinch_qn._paging import Page as Page
    from sinch_qn._pipeline import PreparedCall as PreparedCall
    from sinch_qn._raw import CapturedResponses as CapturedResponses
    from sinch_qn._raw import RawResponse as RawResponse
    from sinch_qn._raw import capture_responses as capture_responses
    from sinch_qn._version import __version__ as __version__
    from sinch_qn.auth import BasicAuth as BasicAuth
    from sinch_qn.auth import OAuth2 as OAuth2
    from sinch_qn.client import QualifiedNumbersClient as QualifiedNumbersClient
    from sinch_qn.errors import OrderRejectedError as OrderRejectedError
    from sinch_qn.errors import Outcome as Outcome
    from sinch_qn.errors import SinchError as SinchError
    from sinch_qn.errors import UnlinkError as UnlinkError
    from sinch_qn.instrumentation.hooks import CallInfo as CallInfo
    from sinch_qn.instrumentation.hooks import Hooks as Hooks
    from sinch_qn.instrumentation.hooks import RequestInfo as RequestInfo
    from sinch_qn.instrumentation.hooks import ResponseInfo as ResponseInfo
    from sinch_qn.models import Address as Address
    from sinch_qn.models import AuthorizedPerson as AuthorizedPerson
    from sinch_qn.models import BlanketLoaInfo as BlanketLoaInfo
    from sinch_qn.models import CallbackConfiguration as CallbackConfiguration
    from sinch_qn.models import CampaignProvisioning as CampaignProvisioning
    from sinch_qn.models import CarrierState as CarrierState
    from sinch_qn.models import DirectLoaInfo as DirectLoaInfo
    from sinch_qn.models import GlobalProcessState as GlobalProcessState
    from sinch_qn.models import HostedNumberDetails as HostedNumberDetails
    from sinch_qn.models import HostingOrder as HostingOrder
    from sinch_qn.models import HostingOrderNumber as HostingOrderNumber
    from sinch_qn.models import HostingOrderReport as HostingOrderReport
    from sinch_qn.models import HostingOrderState as HostingOrderState
    from sinch_qn.models import HostingOrderType as HostingOrderType
    from sinch_qn.models import HostingStatus as HostingStatus
    from sinch_qn.models import ImportedNumber as ImportedNumber
    from sinch_qn.models import ImportNumberRequest as ImportNumberRequest
    from sinch_qn.models import ImportNumbersRequest as ImportNumbersRequest
    from sinch_qn.models import MnoConfiguration as MnoConfiguration
    from sinch_qn.models import NumberSearchPattern as NumberSearchPattern
    from sinch_qn.models import OperationStatus as OperationStatus
    from sinch_qn.models import OsrEligibilityDetails as OsrEligibilityDetails
    from sinch_qn.models import OsrUpdate as OsrUpdate
    from sinch_qn.models import OwnershipVerificationDetails as OwnershipVerificationDetails
    from sinch_qn.models import PlatformProvisioning as PlatformProvisioning
    from sinch_qn.models import ProvisionedService as ProvisionedService
    from sinch_qn.models import ProvisioningType as ProvisioningType
    from sinch_qn.models import QualifiedNumber as QualifiedNumber
    from sinch_qn.models import ResellerLoaInfo as ResellerLoaInfo
    from sinch_qn.models import ScheduledProvisioning as ScheduledProvisioning
    from sinch_qn.models import ServiceProvisioning as ServiceProvisioning
    from sinch_qn.models import SmsConfiguration as SmsConfiguration
    from sinch_qn.models import TextEnableNumbersRequest as TextEnableNumbersRequest
    from sinch_qn.models import TextEnableTollFreeNumbersRequest as TextEnableTollFreeNumbersRequest
    from sinch_qn.proxy import Proxy as Proxy
    from sinch_qn.rate_limit import RateLimit as RateLimit
    from sinch_qn.retry import Failure as Failure
    from sinch_qn.retry import RetryPolicy as RetryPolicy
    from sinch_qn.serialization import converter as converter
    from sinch_qn.serialization import from_dict as from_dict
    from sinch_qn.serialization import to_dict as to_dict
    from sinch_qn.serialization import to_json as to_json

_NAMES = {
    "_paging": ("Page",),
    "_pipeline": ("PreparedCall",),
    "_raw": ("CapturedResponses", "RawResponse", "capture_responses"),
    "_version": ("__version__",),
    "auth": ("BasicAuth", "OAuth2"),
    "client": ("QualifiedNumbersClient",),
    "errors": ("OrderRejectedError", "Outcome", "SinchError", "UnlinkError"),
    "instrumentation.hooks": ("CallInfo", "Hooks", "RequestInfo", "ResponseInfo"),
    "models": (
        "Address",
        "AuthorizedPerson",
        "BlanketLoaInfo",
        "CallbackConfiguration",
        "CampaignProvisioning",
        "CarrierState",
        "DirectLoaInfo",
        "GlobalProcessState",
        "HostedNumberDetails",
        "HostingOrder",
        "HostingOrderNumber",
        "HostingOrderReport",
        "HostingOrderState",
        "HostingOrderType",
        "HostingStatus",
        "ImportNumberRequest",
        "ImportNumbersRequest",
        "ImportedNumber",
        "MnoConfiguration",
        "NumberSearchPattern",
        "OperationStatus",
        "OsrEligibilityDetails",
        "OsrUpdate",
        "OwnershipVerificationDetails",
        "PlatformProvisioning",
        "ProvisionedService",
        "ProvisioningType",
        "QualifiedNumber",
        "ResellerLoaInfo",
        "ScheduledProvisioning",
        "ServiceProvisioning",
        "SmsConfiguration",
        "TextEnableNumbersRequest",
        "TextEnableTollFreeNumbersRequest",
    ),
    "proxy": ("Proxy",),
    "rate_limit": ("RateLimit",),
    "retry": ("Failure", "RetryPolicy"),
    "serialization": ("converter", "from_dict", "to_dict", "to_json"),
}
_MODULES = ("errors", "models")

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES, _MODULES)
