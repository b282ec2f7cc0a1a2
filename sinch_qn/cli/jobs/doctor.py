"""What `sinch-qn doctor` does: checks, in the order in which a request depends on them."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs
import click

from sinch_qn.auth import TOKEN_URL
from sinch_qn.cli.client import client_from_env
from sinch_qn.cli.client_options import client_options
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    SinchError,
)
from sinch_qn.models import GlobalProcessState
from sinch_qn.proxy import Proxy, check_proxy

_PATIENCE: Final = 10.0
"""Seconds of each check at most."""


@attrs.frozen(kw_only=True)
class Finding:
    """The result of one check."""

    check: str
    detail: str
    mend: str = ""
    """What to do; empty if all is well."""
    exit_code: Exit = Exit.OK


def examine(*, as_json: bool) -> None:
    """Print the result of each check, up to the first failure, and what to mend."""
    failed: list[Finding] = []

    async def run() -> None:
        with Lines("CHECK", "RESULT", "DETAIL", as_json=as_json) as lines:
            async with aclosing(_findings()) as findings:
                async for found in findings:
                    ok = not found.mend
                    record = {"check": found.check, "ok": ok, "detail": found.detail}
                    lines.add(
                        record if ok else {**record, "mend": found.mend},
                        found.check,
                        "ok" if ok else "FAILED",
                        found.detail,
                    )
                    if not ok:
                        failed.append(found)
                        return

    asyncio.run(run())
    for found in failed:
        print_message(found.mend, "to mend")
        raise click.exceptions.Exit(found.exit_code)


async def _findings() -> AsyncGenerator[Finding, None]:
    try:
        client = client_from_env()
    except InvalidRequestError as error:
        yield Finding(
            check="environment",
            detail=error.message,
            mend="Set the variables, with the project id and an access key of Sinch's dashboard:"
            " export SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=…, or use --env-file.",
            exit_code=Exit.USAGE,
        )
        return
    async with client:
        yield Finding(check="environment", detail=f"project {client.project_id}")
        for url in dict.fromkeys(_hosts(client)):
            address = urlsplit(url)
            proxy = _proxy_for(address)
            if proxy is not None:
                yield await _check_connection("proxy", urlsplit(proxy.address))
            else:
                yield await _check_dns(address)
                yield await _check_connection("connection", address)
        yield await _check_token(client)
        yield await _check_project(client)


def _hosts(client: QualifiedNumbersClient) -> list[str]:
    hosts = [client.base_url]
    if (os.environ.get("SINCH_AUTH") or "oauth2") == "oauth2":
        hosts.append(os.environ.get("SINCH_TOKEN_URL") or TOKEN_URL)
    return ["{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in hosts]


def _proxy_for(address: SplitResult) -> Proxy | None:
    """Return the proxy of requests to *address*, as the client chooses it."""
    proxy = check_proxy(client_options().get("proxy")) or Proxy.from_env(os.environ)
    if proxy is None or not proxy.is_for(address.scheme, address.hostname or "", _port(address)):
        return None
    return proxy


def _port(address: SplitResult) -> int:
    return address.port or (443 if address.scheme == "https" else 80)


async def _check_dns(address: SplitResult) -> Finding:
    host = address.hostname or ""
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, _port(address))
    except (OSError, TimeoutError, UnicodeError) as error:
        return Finding(
            check="DNS",
            detail=f"{host}: {error or type(error).__name__}",
            mend=f"The name {host} is not found. Check the network, or whether a proxy is needed:"
            " export HTTPS_PROXY=http://host:port",
            exit_code=Exit.TRY_AGAIN,
        )
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return Finding(check="DNS", detail=f"{host}: {', '.join(addresses)}")


async def _check_connection(check: str, address: SplitResult) -> Finding:
    """Connect, with TLS for https, and close the connection at once."""
    at = f"{address.hostname}:{_port(address)}"
    context = ssl.create_default_context() if address.scheme == "https" else None
    mend = f"Nothing responds at {at}. Check firewalls, and the address."
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(address.hostname, _port(address), ssl=context)
    except ssl.SSLError as error:
        detail = f"{at}: {getattr(error, 'verify_message', '') or error.reason or error}"
        mend = (
            "The certificate is not trusted. Behind an inspecting proxy, trust its authority:"
            " export SSL_CERT_FILE=/path/to/authorities.pem; and check this machine's clock."
        )
    except (OSError, TimeoutError) as error:
        detail = f"{at}: {error or 'no response'}"
    else:
        tls = writer.get_extra_info("ssl_object")
        writer.close()
        return Finding(check=check, detail=f"{at}, {tls.version() if tls else 'not encrypted'}")
    return Finding(check=check, detail=detail, mend=mend, exit_code=Exit.TRY_AGAIN)


async def _check_token(client: QualifiedNumbersClient) -> Finding:
    try:
        (await client.prepare(timeout=_PATIENCE)).close()
    except AuthenticationError as error:
        mend = (
            "The key was refused. Check SINCH_KEY_ID and SINCH_KEY_SECRET, or make a new access key"
            " in Sinch's dashboard."
        )
        code = Exit.AUTHENTICATION
        return Finding(check="token", detail=error.reason, mend=mend, exit_code=code)
    except SinchError as error:
        mend = "No token can be had now: try again later, and check SINCH_TOKEN_URL and the proxy."
        return Finding(check="token", detail=error.reason, mend=mend, exit_code=Exit.TRY_AGAIN)
    return Finding(check="token", detail="granted")


async def _check_project(client: QualifiedNumbersClient) -> Finding:
    listing = client.list_number_pages(GlobalProcessState.VERIFIED, page_size=1, timeout=_PATIENCE)
    try:
        async with aclosing(listing) as pages:
            async for page in pages:
                count = "" if page.total_size is None else f", {page.total_size} verified numbers"
                return Finding(check="project", detail=f"{client.project_id}{count}")
    except SinchError as error:
        mend, code = _advice(error)
        return Finding(check="project", detail=error.reason, mend=mend, exit_code=code)
    return Finding(check="project", detail=client.project_id)


def _advice(error: SinchError) -> tuple[str, Exit]:
    if isinstance(error, NotFoundError):
        return "Sinch does not know this project. Check SINCH_PROJECT_ID.", Exit.NOT_FOUND
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        mend = "The key does not permit this project. Use a key that was made in this project."
        return mend, Exit.AUTHENTICATION
    mend = "The API does not respond as documented: try again later, and check SINCH_BASE_URL."
    return mend, Exit.TRY_AGAIN
