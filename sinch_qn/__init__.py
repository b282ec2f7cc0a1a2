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
    from sinch_qn._client_options import ClientOptions as ClientOptions
    from sinch_qn._paging import Page as Page
    from sinch_qn._pipeline import PreparedCall as PreparedCall
    from sinch_qn._raw import CapturedResponses as CapturedResponses
    from sinch_qn._raw import RawResponse as RawResponse
    from sinch_qn._raw import capture_responses as capture_responses
    from sinch_qn._version import __version__ as __version__
    from sinch_qn.auth import Auth as Auth
    from sinch_qn.auth import BasicAuth as BasicAuth
    from sinch_qn.auth import OAuth2 as OAuth2
    from sinch_qn.client import QualifiedNumbersClient as QualifiedNumbersClient
    from sinch_qn.errors import AuthenticationError as AuthenticationError
    from sinch_qn.errors import BadRequestError as BadRequestError
    from sinch_qn.errors import ClosedError as ClosedError
    from sinch_qn.errors import ConflictError as ConflictError
    from sinch_qn.errors import ConnectError as ConnectError
    from sinch_qn.errors import DeadlineExceededError as DeadlineExceededError
    from sinch_qn.errors import EmailError as EmailError
    from sinch_qn.errors import InvalidRequestError as InvalidRequestError
    from sinch_qn.errors import InvalidResponseError as InvalidResponseError
    from sinch_qn.errors import JournalError as JournalError
    from sinch_qn.errors import NotFoundError as NotFoundError
    from sinch_qn.errors import OrderRejectedError as OrderRejectedError
    from sinch_qn.errors import Outcome as Outcome
    from sinch_qn.errors import PaginationError as PaginationError
    from sinch_qn.errors import PermissionDeniedError as PermissionDeniedError
    from sinch_qn.errors import RateLimitError as RateLimitError
    from sinch_qn.errors import ServerError as ServerError
    from sinch_qn.errors import SinchError as SinchError
    from sinch_qn.errors import StatusError as StatusError
    from sinch_qn.errors import TokenError as TokenError
    from sinch_qn.errors import TransportError as TransportError
    from sinch_qn.errors import UnexpectedStateError as UnexpectedStateError
    from sinch_qn.errors import UnlinkError as UnlinkError
    from sinch_qn.errors import WebhookError as WebhookError
    from sinch_qn.instrumentation.hooks import CallInfo as CallInfo
    from sinch_qn.instrumentation.hooks import Hooks as Hooks
    from sinch_qn.instrumentation.hooks import RequestInfo as RequestInfo
    from sinch_qn.instrumentation.hooks import ResponseInfo as ResponseInfo
    from sinch_qn.models import AddNumbersRequest as AddNumbersRequest
    from sinch_qn.models import AddNumbersResponse as AddNumbersResponse
    from sinch_qn.models import Address as Address
    from sinch_qn.models import AuthorizedPerson as AuthorizedPerson
    from sinch_qn.models import BlanketLoaInfo as BlanketLoaInfo
    from sinch_qn.models import CallbackConfiguration as CallbackConfiguration
    from sinch_qn.models import CallbackEvent as CallbackEvent
    from sinch_qn.models import CallbackEventType as CallbackEventType
    from sinch_qn.models import CallbackFailureCode as CallbackFailureCode
    from sinch_qn.models import CallbackResourceType as CallbackResourceType
    from sinch_qn.models import CallbackStatus as CallbackStatus
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
    from sinch_qn.models import ListHostingOrderNumbersResponse as ListHostingOrderNumbersResponse
    from sinch_qn.models import ListHostingOrdersResponse as ListHostingOrdersResponse
    from sinch_qn.models import ListImportedNumbersResponse as ListImportedNumbersResponse
    from sinch_qn.models import ListQualifiedNumbersResponse as ListQualifiedNumbersResponse
    from sinch_qn.models import LoaType as LoaType
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
    from sinch_qn.models import TextEnableInfo as TextEnableInfo
    from sinch_qn.models import TextEnableNumbersRequest as TextEnableNumbersRequest
    from sinch_qn.models import TextEnableNumbersResponse as TextEnableNumbersResponse
    from sinch_qn.models import TextEnableTollFreeNumbersRequest as TextEnableTollFreeNumbersRequest
    from sinch_qn.models import (
        UpdateCallbackConfigurationRequest as UpdateCallbackConfigurationRequest,
    )
    from sinch_qn.models import UpdateImportedNumberRequest as UpdateImportedNumberRequest
    from sinch_qn.models import VerifyVoiceChallengeRequest as VerifyVoiceChallengeRequest
    from sinch_qn.proxy import Proxy as Proxy
    from sinch_qn.rate_limit import RateLimit as RateLimit
    from sinch_qn.resources.callback_configuration import (
        CallbackConfigurationResource as CallbackConfigurationResource,
    )
    from sinch_qn.resources.hosting_orders import HostingOrdersResource as HostingOrdersResource
    from sinch_qn.resources.hosting_orders import OrderProgress as OrderProgress
    from sinch_qn.resources.imported_numbers import (
        ImportedNumbersResource as ImportedNumbersResource,
    )
    from sinch_qn.retry import Failure as Failure
    from sinch_qn.retry import RetryPolicy as RetryPolicy
    from sinch_qn.retry import RetryRule as RetryRule
    from sinch_qn.serialization import converter as converter
    from sinch_qn.serialization import from_dict as from_dict
    from sinch_qn.serialization import to_dict as to_dict
    from sinch_qn.serialization import to_json as to_json

_NAMES = {
    "_client_options": ("ClientOptions",),
    "_paging": ("Page",),
    "_pipeline": ("PreparedCall",),
    "_raw": ("CapturedResponses", "RawResponse", "capture_responses"),
    "_version": ("__version__",),
    "auth": ("Auth", "BasicAuth", "OAuth2"),
    "client": ("QualifiedNumbersClient",),
    "errors": (
        "AuthenticationError",
        "BadRequestError",
        "ClosedError",
        "ConflictError",
        "ConnectError",
        "DeadlineExceededError",
        "EmailError",
        "InvalidRequestError",
        "InvalidResponseError",
        "JournalError",
        "NotFoundError",
        "OrderRejectedError",
        "Outcome",
        "PaginationError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServerError",
        "SinchError",
        "StatusError",
        "TokenError",
        "TransportError",
        "UnexpectedStateError",
        "UnlinkError",
        "WebhookError",
    ),
    "instrumentation.hooks": ("CallInfo", "Hooks", "RequestInfo", "ResponseInfo"),
    "models": (
        "AddNumbersRequest",
        "AddNumbersResponse",
        "Address",
        "AuthorizedPerson",
        "BlanketLoaInfo",
        "CallbackConfiguration",
        "CallbackEvent",
        "CallbackEventType",
        "CallbackFailureCode",
        "CallbackResourceType",
        "CallbackStatus",
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
        "ListHostingOrderNumbersResponse",
        "ListHostingOrdersResponse",
        "ListImportedNumbersResponse",
        "ListQualifiedNumbersResponse",
        "LoaType",
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
        "TextEnableInfo",
        "TextEnableNumbersRequest",
        "TextEnableNumbersResponse",
        "TextEnableTollFreeNumbersRequest",
        "UpdateCallbackConfigurationRequest",
        "UpdateImportedNumberRequest",
        "VerifyVoiceChallengeRequest",
    ),
    "proxy": ("Proxy",),
    "rate_limit": ("RateLimit",),
    "resources.callback_configuration": ("CallbackConfigurationResource",),
    "resources.hosting_orders": ("HostingOrdersResource", "OrderProgress"),
    "resources.imported_numbers": ("ImportedNumbersResource",),
    "retry": ("Failure", "RetryPolicy", "RetryRule"),
    "serialization": ("converter", "from_dict", "to_dict", "to_json"),
}
_MODULES = ("errors", "models")

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES, _MODULES)
