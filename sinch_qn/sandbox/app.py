"""The sandbox's aiohttp application: routes, authentication and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from sinch_qn._checks import is_loopback
from sinch_qn._operations import OPERATIONS
from sinch_qn.sandbox.control_api import CONTROLS, Control
from sinch_qn.sandbox.faults import Answer, Fault
from sinch_qn.sandbox.handlers import HANDLERS
from sinch_qn.sandbox.hosting_handlers import Handler
from sinch_qn.sandbox.payloads import error_json
from sinch_qn.sandbox.refusal import Refusal
from sinch_qn.sandbox.request_validation import (
    RequestValidator,
    Violation,
    ViolationError,
    read_validators,
)
from sinch_qn.sandbox.state import TOKEN, SandboxState

PROJECT_PATH = "/v1/projects/{projectId}"

_MAX_BODY = 16 * 1024 * 1024


def create_app(state: SandboxState) -> web.Application:
    """Return the application; the routes of operations have their ids as names."""
    app = web.Application(client_max_size=_MAX_BODY)
    validators = read_validators()
    for operation in OPERATIONS:
        # A KeyError here: the API description or `HANDLERS` lacks this operation.
        validator, handler = validators[operation.id], HANDLERS[operation.id]
        path = PROJECT_PATH + operation.path.replace("}", ":[^/:]+}")
        endpoint = partial(_run_operation, state, validator, handler)
        app.router.add_route(operation.method, path, endpoint, name=operation.id)
    app.router.add_post("/oauth2/token", partial(_issue_token, state))
    for method, path, control in CONTROLS:
        app.router.add_route(method, path, partial(run_control, state, control))
    app.router.add_route("*", "/{path:.*}", partial(_no_operation, state))
    return app


async def _handle(
    state: SandboxState,
    operation_id: str,
    request: web.Request,
    work: Callable[[bytes], web.Response],
) -> web.StreamResponse:
    """Count one request, do its work, and apply the fault that matches it."""
    phone_number = request.match_info.get("phoneNumber", "")
    state.calls.add(operation_id, phone_number)
    body = await request.read()
    if state.latency:
        await asyncio.sleep(state.latency)
    fault = state.faults.match(operation_id, phone_number)
    if fault is None:
        return work(body)
    if fault.revokes:
        state.revoke_tokens()
    if fault.when == "before":
        await asyncio.sleep(fault.delay)
        return work(body)
    response = work(body) if fault.when == "after" else web.Response()
    await asyncio.sleep(fault.delay)
    return await _send_faulty(fault, response, request)


async def _run_operation(
    state: SandboxState, validator: RequestValidator, handler: Handler, request: web.Request
) -> web.StreamResponse:
    operation_id, path = validator.operation, request.match_info
    phone_number, wrapped = path.get("phoneNumber", ""), validator.wraps_errors

    def work(body: bytes) -> web.Response:
        if denied := authentication_error(state, request):
            return denied
        if path["projectId"] != state.project_id:
            return _error("NOT_FOUND", "The project could not be found.", wrapped=wrapped)
        try:
            state.record_violations(_content_type_violations(operation_id, request, body))
            valid = validator.validate(path, list(request.query.items()), body)
            response = _json(handler(state.world, valid))
        except ViolationError as error:
            return _validation_error(state, error.violations, wrapped=wrapped)
        except Refusal as refusal:
            if refusal.status == "INTERNAL":
                state.done.add(operation_id, phone_number)
            return _error(refusal.status, str(refusal), refusal.fields, wrapped=wrapped)
        state.done.add(operation_id, phone_number)
        return response

    return await _handle(state, operation_id, request, work)


def _content_type_violations(
    operation_id: str, request: web.Request, body: bytes
) -> list[Violation]:
    """Return what a gateway that validates requests may refuse: the API's bodies are JSON."""
    given = request.headers.get("Content-Type")
    media_type = (given or "").partition(";")[0].strip().lower()
    if body and media_type != "application/json":
        problem = f"is {media_type or 'missing'}, not application/json"
    elif not body and given is not None:
        problem = "is set, but there is no body"
    else:
        return []
    return [Violation(operation_id, "Content-Type", problem)]


def authentication_error(state: SandboxState, request: web.Request) -> web.Response | None:
    """Return the 401 for a request without a valid token or key, None for the others."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    problem = "The request is not authenticated."
    if scheme.lower() == "basic":
        if state.is_key(credentials):
            return None
        problem = "The key is not valid."
    elif scheme.lower() == "bearer":
        expires = state.tokens.get(credentials)
        if expires is not None and state.clock.now() < expires:
            return None
        problem = "The token is malformed." if expires is None else "The token has expired."
    bearer = f'Bearer realm="sandbox", error="invalid_token", error_description="{problem}"'
    return _error("UNAUTHENTICATED", problem, headers={"WWW-Authenticate": bearer})


async def _issue_token(state: SandboxState, request: web.Request) -> web.StreamResponse:
    def work(body: bytes) -> web.Response:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or not state.is_key(credentials):
            basic = {"WWW-Authenticate": 'Basic realm="sandbox"'}
            return _json({"error": "invalid_client"}, status=401, headers=basic)
        if parse_qs(body).get(b"grant_type") != [b"client_credentials"]:
            return _json({"error": "unsupported_grant_type"}, status=400)
        token = state.issue_token()
        state.done.add(TOKEN)
        response = {"access_token": token, "token_type": "bearer", "scope": ""}
        return _json({**response, "expires_in": int(state.token_lifetime)})

    return await _handle(state, TOKEN, request, work)


async def run_control(state: SandboxState, control: Control, request: web.Request) -> web.Response:
    """Serve a path of the sandbox's own: without a key, but only to this machine."""
    if not is_loopback(request.remote or ""):
        return _error("PERMISSION_DENIED", "Only this machine may control the sandbox.")
    try:
        body = orjson.loads(await request.read() or b"{}")
        return _json(control(state, {**request.query, **request.match_info}, body))
    except Refusal as refusal:
        return _error(refusal.status, str(refusal), refusal.fields)
    except (LookupError, TypeError, ValueError) as error:
        return _error("INVALID_ARGUMENT", f"{type(error).__name__}: {error}")


async def _no_operation(state: SandboxState, request: web.Request) -> web.Response:
    target = f"{request.method} {request.path}"
    state.record_violations([Violation(target, "", "is no operation of the API")])
    if methods := await _methods(request):
        allowed = {"Allow": ", ".join(sorted(methods))}
        return _error(
            "METHOD_NOT_ALLOWED", f"{target}: the path has other methods.", headers=allowed
        )
    return _error("NOT_FOUND", f"{target} is no operation of the API.")


async def _methods(request: web.Request) -> set[str]:
    """Return the methods that the path of *request* has."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        methods |= (await resource.resolve(request))[1]
    return methods - {"*"}


def _validation_error(
    state: SandboxState, violations: list[Violation], *, wrapped: bool
) -> web.Response:
    """Record *violations*, and return the 400 for them."""
    state.record_violations(violations)
    fields = [(each.field, each.description) for each in violations]
    return _error("INVALID_ARGUMENT", "The request is not valid.", fields, wrapped=wrapped)


async def _send_faulty(
    fault: Fault, response: web.Response, request: web.Request
) -> web.StreamResponse:
    """Send *response* as *fault* transforms it."""
    body = response.body if isinstance(response.body, bytes) else b""
    answer = fault.transform(Answer.of(body, status=response.status, headers=response.headers))
    if answer is None:
        _disconnect(request, at_once=True)
        return response
    faulty = web.StreamResponse(status=answer.status, headers=answer.headers)
    faulty.content_length = answer.length
    sent = 0
    with suppress(ConnectionError):  # the client may disconnect, which some faults wait for
        await faulty.prepare(request)
        for piece in answer.pieces:
            await faulty.write(piece)
            sent += len(piece)
    if answer.length is not None and sent < answer.length:
        _disconnect(request)
    return faulty


def _disconnect(request: web.Request, *, at_once: bool = False) -> None:
    if request.transport is not None:
        request.transport.abort() if at_once else request.transport.close()


def _json(
    payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return *payload* as JSON; None is an empty body."""
    if payload is None:
        return web.Response(status=status, headers=headers)
    body = orjson.dumps(payload)
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _error(
    status: str,
    message: str,
    fields: Iterable[tuple[str, str]] = (),
    *,
    headers: Mapping[str, str] | None = None,
    wrapped: bool = False,
) -> web.Response:
    """Return an error in the API's format; *wrapped*, its code is a number."""
    code, error = error_json(status, message, fields)
    payload = {"error": {**error, "code": code}} if wrapped else error
    return _json(payload, status=code, headers=headers)
