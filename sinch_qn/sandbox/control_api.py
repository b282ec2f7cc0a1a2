"""The control API under `/_sandbox`: state, counts, codes, clock and faults, for curl."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox.faults import FACTORIES, Scripted
from sinch_qn.sandbox.hosting_handlers import order_json
from sinch_qn.sandbox.payloads import time_json
from sinch_qn.sandbox.state import SandboxState

Control: TypeAlias = Callable[[SandboxState, Mapping[str, str], Any], object]
"""Takes the state, the path and query parameters and the body; returns the response's JSON."""


def _state(state: SandboxState, _: Mapping[str, str], __: Any) -> object:
    world = state.world
    return {
        "time": time_json(world.advance_to_now()),
        "numbers": {each.value: count for each in SinchState if (count := world.count(each))},
        "orders": {order.id: order.state for order in world.orders.values()},
        "callbacks": state.callbacks,
    }


def _calls(state: SandboxState, parameters: Mapping[str, str], _: Any) -> object:
    phone_number = parameters.get("phoneNumber")
    totals = state.calls.totals()
    if phone_number is None:
        return totals
    counts = {each: state.calls.count(each, phone_number) for each in totals}
    return {"rings": state.world.rings(phone_number), **counts}


def _violations(state: SandboxState, _: Mapping[str, str], __: Any) -> object:
    return [attrs.asdict(violation) for violation in state.violations]


def _code(state: SandboxState, parameters: Mapping[str, str], _: Any) -> object:
    return {"code": state.world.code_for(parameters["phoneNumber"])}


def _add(state: SandboxState, _: Mapping[str, str], body: Any) -> object:
    return {"added": state.world.seed(body["phoneNumbers"], body.get("state", SinchState.ELIGIBLE))}


def _advance(state: SandboxState, _: Mapping[str, str], body: Any) -> object:
    state.clock.advance(body["advance"])
    return {"time": time_json(state.clock.now())}


def _sign_loa(state: SandboxState, parameters: Mapping[str, str], _: Any) -> object:
    return order_json(state.world, state.world.sign_loa(parameters["orderId"]))


def _revoke(state: SandboxState, _: Mapping[str, str], __: Any) -> object:
    return {"revoked": state.revoke_tokens()}


def _faults(state: SandboxState, _: Mapping[str, str], __: Any) -> object:
    return [_fault_json(each) for each in state.faults]


def _add_fault(state: SandboxState, _: Mapping[str, str], body: Any) -> object:
    arguments = dict(body)
    place = {"operation": arguments.pop("operation", None)}
    place["phone_number"] = arguments.pop("phoneNumber", None)
    fault = FACTORIES[arguments.pop("fault")](**arguments)
    return _fault_json(state.faults.add(fault, **place))


def _clear_faults(state: SandboxState, _: Mapping[str, str], __: Any) -> object:
    removed = len(state.faults)
    state.faults.clear()
    return {"removed": removed}


def _fault_json(scripted: Scripted) -> dict[str, object]:
    fault = scripted.fault
    return {
        "fault": fault.kind,
        "operation": scripted.operation,
        "phoneNumber": scripted.phone_number,
        **{name: getattr(fault, name) for name in ("when", "times", "every", "after")},
        "requests": scripted.requests,
        "hits": scripted.hits,
    }


CONTROLS: tuple[tuple[str, str, Control], ...] = (
    ("GET", "/_sandbox/state", _state),
    ("GET", "/_sandbox/calls", _calls),
    ("GET", "/_sandbox/violations", _violations),
    ("GET", "/_sandbox/codes/{phoneNumber}", _code),
    ("POST", "/_sandbox/numbers", _add),
    ("POST", "/_sandbox/clock", _advance),
    ("POST", "/_sandbox/orders/{orderId:[^/:]+}:signLoa", _sign_loa),
    ("POST", "/_sandbox/tokens:revoke", _revoke),
    ("GET", "/_sandbox/faults", _faults),
    ("POST", "/_sandbox/faults", _add_fault),
    ("DELETE", "/_sandbox/faults", _clear_faults),
)
