"""Handlers of hosting orders, imported numbers and the callback configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from sinch_qn.models import HostingOrderType, OperationStatus, ProvisionedService
from sinch_qn.sandbox.hosting_orders import CARRIERS, Order, progress
from sinch_qn.sandbox.imported_numbers import Imported, Link
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingNumber
from sinch_qn.sandbox.payloads import order_of, page_json, time_json
from sinch_qn.sandbox.refusal import invalid, number_not_found
from sinch_qn.sandbox.request_validation import ValidRequest, Violation, ViolationError
from sinch_qn.sandbox.world import World

Handler: TypeAlias = Callable[[World, ValidRequest], object]
"""Changes the world and returns the response's JSON; None is an empty body."""

# Orders.

_ECHOED = (
    "displayName",
    "regionCode",
    "servicePlanId",
    "campaignId",
    "callbackUrl",
    "scheduledOsrUpdateTime",
    "migrateToSinchTmo",
)


def order_json(world: World, order: Order) -> dict[str, object]:
    """Return a HostingOrder."""
    request = order.request
    loa = request.get("directLoaInfo") or request.get("resellerLoaInfo") or {}
    kind = {"loaType": "RESELLER" if "resellerLoaInfo" in request else "DIRECT"} if loa else {}
    is_import = order.type is HostingOrderType.IMPORT
    return {
        "projectId": world.settings.project_id,
        "hostingOrderId": order.id,
        "state": order.state,
        "type": order.type,
        **{name: request[name] for name in _ECHOED if name in request},
        **({} if is_import else {"hostingOrderInfo": {**loa, **kind}}),
        "createdTime": time_json(order.created),
        "updatedTime": time_json(order.updated),
    }


def check_project(world: World, request: ValidRequest) -> None:
    """Refuse a body whose project is not that of the path."""
    project_id = world.settings.project_id
    if request.body.get("projectId", project_id) != project_id:
        raise ViolationError([Violation(request.operation, "projectId", "differs from the path")])


def _text_enable(world: World, request: ValidRequest, *, toll_free: bool) -> object:
    check_project(world, request)
    return order_json(world, world.text_enable(request.body, toll_free=toll_free))


def _text_enable_for_id(world: World, request: ValidRequest) -> object:
    check_project(world, request)
    return {"hostingOrderId": world.text_enable(request.body, toll_free=False).id}


def _import_numbers(world: World, request: ValidRequest) -> object:
    check_project(world, request)
    return order_json(world, world.hosting_orders.import_numbers(request.body))


def _check_filters(query: Mapping[str, Any]) -> None:
    """Refuse an empty filter: how to list what has no campaign is undocumented."""
    empty = [name for name in ("servicePlanId", "campaignId") if not query[name]]
    if empty:
        raise invalid(*((name, "is empty") for name in empty))


def _list_orders(world: World, request: ValidRequest) -> object:
    query = request.query
    _check_filters(query)
    by_update = order_of(query) == "updatedTime"
    found = [
        (position, order)
        for position, order in enumerate(world.hosting_orders)
        if (order.state, order.type) == (query["states"], query["type"])
        and all(
            query.get(name) in {None, order.request.get(name)}
            for name in ("servicePlanId", "campaignId", "regionCode")
        )
    ]
    return page_json(
        "hostingOrders",
        found,
        query,
        world.settings.page_size_cap,
        place=lambda item: (item[1].updated if by_update else item[1].created, item[0]),
        to_json=lambda item: order_json(world, item[1]),
    )


def _get_order(world: World, request: ValidRequest) -> object:
    return order_json(world, world.hosting_orders.get(request.order_id))


def _report(world: World, request: ValidRequest) -> object:
    order = world.hosting_orders.get(request.order_id)
    done: Counter[str] = Counter()
    for phone_number in order.phone_numbers:
        reached = progress(order, phone_number)
        done["osrUpdated"] += reached.osr_update is OperationStatus.DONE
        done["smsProvisioned"] += reached.platform is OperationStatus.DONE
        is_linked = reached.campaign is OperationStatus.DONE
        done["addedToCampaign"] += is_linked and "campaignId" in order.request
        done["ongoingManualAction"] += MisbehavingNumber.CARRIER_REFUSES.matches(
            phone_number
        ) and bool(reached.refused)
    return {"total": len(order.phone_numbers), **done}


def _order_number_json(world: World, order: Order, phone_number: str) -> dict[str, object]:
    reached, request = progress(order, phone_number), order.request
    campaign = {"campaignId": request.get("campaignId"), "state": reached.campaign}
    return {
        "projectId": world.settings.project_id,
        "hostingOrderId": order.id,
        "phoneNumber": phone_number,
        "osrUpdate": {"nnid": request.get("nnid", "104029"), "state": reached.osr_update},
        "platformProvisioning": {
            "servicePlanId": request["servicePlanId"],
            "state": reached.platform,
        },
        **({"campaignProvisioning": campaign} if "campaignId" in request else {}),
        **{
            carrier: _carrier_json(
                OperationStatus.FAILED if carrier in reached.refused else reached.platform,
                reached.refused.get(carrier, ""),
                order.updated,
            )
            for carrier in CARRIERS
        },
    }


def _carrier_json(state: OperationStatus, error_code: str, updated: float) -> dict[str, object]:
    return {
        "state": state,
        "errorCode": error_code,
        "errorMessage": f"The sandbox says {error_code}." if error_code else "",
        "updateTime": time_json(updated),
    }


_STATES = {
    "osrUpdateState": "osr_update",
    "campaignProvisioningState": "campaign",
    "platformProvisioningState": "platform",
}


def _list_order_numbers(world: World, request: ValidRequest) -> object:
    query, order = request.query, world.hosting_orders.get(request.order_id)
    order_of(query)
    found = [
        (position, number)
        for position, number in enumerate(order.phone_numbers)
        if all(
            query.get(name) in {None, getattr(progress(order, number), field)}
            for name, field in _STATES.items()
        )
    ]
    return page_json(
        "numbers",
        found,
        query,
        world.settings.page_size_cap,
        place=lambda item: (0.0, item[0]),
        to_json=lambda item: _order_number_json(world, order, item[1]),
    )


def _get_order_number(world: World, request: ValidRequest) -> object:
    order = world.hosting_orders.get(request.order_id)
    if request.phone_number not in order.phone_numbers:
        raise number_not_found()
    return _order_number_json(world, order, request.phone_number)


# Imported numbers.


def imported_json(world: World, number: Imported, *, whole: bool) -> dict[str, object]:
    """Return an ImportedNumber; *whole*: with its state at carriers and services."""
    sms, campaign = (number.links[service] for service in ProvisionedService)
    requested = {"servicePlanId": sms.requested, "campaignId": campaign.requested}
    scheduled = {
        **requested,
        "status": 1,  # the numbers' meanings are undocumented
        "lastUpdatedTime": time_json(max(sms.updated, campaign.updated)),
        "errorCodes": [1] if sms.error_code or campaign.error_code else [],
    }
    is_scheduled = any(requested.values())
    return {
        "phoneNumber": number.phone_number,
        "projectId": world.settings.project_id,
        "regionCode": number.region,
        "displayName": number.display_name,
        "callbackUrl": number.callback_url,
        "smsConfiguration": {
            "servicePlanId": sms.linked,
            "campaignId": campaign.linked,
            **({"scheduledProvisioning": scheduled} if is_scheduled else {}),
        },
        **(_details_json(number, sms, campaign) if whole else {}),
    }


def _details_json(number: Imported, sms: Link, campaign: Link) -> dict[str, object]:
    refused = MisbehavingNumber.CARRIER_REFUSES.matches(number.phone_number)
    codes = {"smsTmo": "MNO_SHARING_ERROR"} if refused else {}
    carriers = {
        carrier: {
            "operation": sms.change,
            **_carrier_json(
                OperationStatus.FAILED if carrier in codes else sms.state,
                codes.get(carrier, ""),
                sms.updated,
            ),
        }
        for carrier in CARRIERS
        if sms.change is not None
    }
    return {
        "mnoConfiguration": carriers,
        **({"smsProvisioning": _link_json(sms)} if sms.change else {}),
        **({"campaignProvisioning": _link_json(campaign)} if campaign.change else {}),
    }


def _link_json(link: Link) -> dict[str, object]:
    return {
        "serviceType": link.service,
        "serviceId": link.subject,
        "type": link.change,
        "state": link.state,
        "updateTime": time_json(link.updated),
        "errorMessage": f"The sandbox says {link.error_code}." if link.error_code else "",
        "errorCode": link.error_code,
    }


def _import_number(world: World, request: ValidRequest) -> object:
    check_project(world, request)
    return imported_json(world, world.imported_numbers.add(request.body), whole=False)


def _get_imported(world: World, request: ValidRequest) -> object:
    return imported_json(world, world.imported_numbers.get(request.phone_number), whole=True)


def _update_imported(world: World, request: ValidRequest) -> object:
    number = world.imported_numbers.update(request.phone_number, request.body)
    return imported_json(world, number, whole=False)


def _delete_imported(world: World, request: ValidRequest) -> None:
    world.imported_numbers.delete(request.phone_number)


def _list_imported(world: World, request: ValidRequest) -> object:
    query = request.query
    _check_filters(query)
    by_update = order_of(query) == "updatedTime"
    return page_json(
        "importedNumbers",
        list(_matching(world.imported_numbers, query)),
        query,
        world.settings.page_size_cap,
        place=lambda number: (number.updated if by_update else number.created, number.position),
        to_json=lambda number: imported_json(world, number, whole=True),
    )


def _matching(numbers: Iterable[Imported], query: Mapping[str, Any]) -> Iterable[Imported]:
    pattern = query.get("numberPattern.pattern", "")
    where = query.get("numberPattern.searchPattern", "CONTAIN")
    if where == "START" and not pattern.startswith("+"):
        raise invalid(("numberPattern.pattern", "does not start with +"))
    fits = {"START": str.startswith, "END": str.endswith, "CONTAIN": str.__contains__}[where]
    for number in numbers:
        sms, campaign = (number.links[service].wanted for service in ProvisionedService)
        if (
            (sms, campaign) == (query["servicePlanId"], query["campaignId"])
            and query.get("regionCode") in {None, number.region}
            and fits(number.phone_number, pattern)
        ):
            yield number


# Callback configuration.


def _get_callbacks(world: World, _: ValidRequest) -> object:
    return {"projectId": world.settings.project_id, "hmacSecret": world.settings.webhook_secret}


def _update_callbacks(world: World, request: ValidRequest) -> object:
    world.settings.webhook_secret = request.body["hmacSecret"]
    return _get_callbacks(world, request)


HOSTING_HANDLERS: Mapping[str, Handler] = {
    "textEnableNumbers": _text_enable_for_id,
    "textEnableTollFreeNumbers": partial(_text_enable, toll_free=True),
    "listHostingOrders": _list_orders,
    "getHostingOrder": _get_order,
    "getHostingOrderReport": _report,
    "listHostingOrderNumbers": _list_order_numbers,
    "getHostingOrderNumber": _get_order_number,
    "createImportOrder": _import_numbers,
    "createTextEnableOrder": partial(_text_enable, toll_free=False),
    "createTollFreeTextEnableOrder": partial(_text_enable, toll_free=True),
    "listImportedNumbers": _list_imported,
    "importNumber": _import_number,
    "getImportedNumber": _get_imported,
    "updateImportedNumber": _update_imported,
    "deleteImportedNumber": _delete_imported,
    "getCallbackConfiguration": _get_callbacks,
    "updateCallbackConfiguration": _update_callbacks,
}
"""The handlers of this file, by `operationId`."""
