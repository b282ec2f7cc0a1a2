"""The queries of listings by wire names, checked; unset parameters are left out."""

from __future__ import annotations

from typing import TypeAlias

from sinch_qn._checks import (
    check_member,
    check_one_of,
    check_state,
    check_text,
    check_token,
    check_whole,
)
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import HostingOrderType, NumberSearchPattern, OperationStatus

Query: TypeAlias = dict[str, str]

_MAX_PAGE_SIZE = 2**31 - 1
"""A 32-bit integer, as in all APIs of this family; the server may allow less."""


def page(
    *, region_code: object = None, page_size: object = None, page_token: object = None
) -> Query:
    """Return what the queries of all listings share."""
    query = {}
    if region_code is not None:
        query["regionCode"] = check_one_of("region_code", region_code, "US", "CA")
    if page_size is not None:
        size = check_whole(page_size, "page_size", minimum=0, maximum=_MAX_PAGE_SIZE)
        query["pageSize"] = str(size)
    if page_token is not None:
        query["pageToken"] = check_token(page_token)
    return query


def _by_time(order_by: object) -> Query:
    if order_by is None:
        return {}
    return {"orderBy": check_one_of("order_by", order_by, "createdTime", "updatedTime")}


def _by_anything(order_by: object) -> Query:
    """Return the order of a listing whose orders are undocumented: for the server to judge."""
    return {} if order_by is None else {"orderBy": check_text("order_by", order_by)}


def qualified_numbers(
    state: object,
    *,
    region_code: object = None,
    page_size: object = None,
    order_by: object = None,
    page_token: object = None,
) -> Query:
    """Return the query of `listQualifiedNumbers`."""
    return {
        "states": str(check_state(state)),
        **page(region_code=region_code, page_size=page_size, page_token=page_token),
        **_by_time(order_by),
    }


def hosting_orders(
    *,
    order_type: object,
    service_plan_id: object,
    campaign_id: object,
    region_code: object = None,
    order_by: object = None,
) -> Query:
    """Return the query of `listHostingOrders`, without state and page."""
    return {
        "type": str(check_member("type", order_type, HostingOrderType)),
        "servicePlanId": check_text("service_plan_id", service_plan_id),
        "campaignId": check_text("campaign_id", campaign_id),
        **page(region_code=region_code),
        **_by_time(order_by),
    }


def hosting_order_numbers(
    *,
    osr_update_state: object = None,
    campaign_provisioning_state: object = None,
    platform_provisioning_state: object = None,
    order_by: object = None,
) -> Query:
    """Return the query of `listHostingOrderNumbers`, without the page."""
    states = {
        "osrUpdateState": ("osr_update_state", osr_update_state),
        "campaignProvisioningState": ("campaign_provisioning_state", campaign_provisioning_state),
        "platformProvisioningState": ("platform_provisioning_state", platform_provisioning_state),
    }
    return {
        **{
            wire: str(check_member(field, state, OperationStatus))
            for wire, (field, state) in states.items()
            if state is not None
        },
        **_by_anything(order_by),
    }


def imported_numbers(
    *,
    service_plan_id: object,
    campaign_id: object,
    region_code: object = None,
    pattern: object = None,
    search_pattern: object = None,
    order_by: object = None,
) -> Query:
    """Return the query of `listImportedNumbers`, without the page."""
    query = {
        "servicePlanId": check_text("service_plan_id", service_plan_id),
        "campaignId": check_text("campaign_id", campaign_id),
        **page(region_code=region_code),
        **_by_anything(order_by),
    }
    if pattern is not None:
        query["numberPattern.pattern"] = check_text("pattern", pattern)
    if search_pattern is not None:
        where = check_member("search_pattern", search_pattern, NumberSearchPattern)
        if where is NumberSearchPattern.START and not query.get(
            "numberPattern.pattern", ""
        ).startswith("+"):
            raise InvalidRequestError("pattern: with START it begins with +, such as +1202")
        query["numberPattern.searchPattern"] = str(where)
    return query
