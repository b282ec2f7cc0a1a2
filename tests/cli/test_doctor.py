"""Laws of `sinch-qn doctor`, `--proxy` and `--timeout`: a fault is named, with its remedy."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.sandbox import Fault, Sandbox
from tests.support.cli_process import WITHOUT_WAITS, running
from tests.support.http_proxy import HttpProxy, http_proxying

NUMBER = "+12025550134"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox that the environment names."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with running(Sandbox()) as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


def qn(*arguments: str) -> Result:
    """Run a command here."""
    return CliRunner().invoke(cli, arguments, obj=WITHOUT_WAITS)


def checks(result: Result) -> list[tuple[str, str]]:
    """Return each check and its result."""
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    return [(check, outcome) for check, outcome, _ in rows]


def test_all_is_well(sandbox: Sandbox) -> None:
    """Each check is listed, nobody is called, and nothing is changed."""
    result = qn("doctor")
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    names = ["environment", "DNS", "connection", "token", "project"]
    assert checks(result) == [(name, "ok") for name in names]
    done = {name for name, times in sandbox.calls.totals().items() if times}
    assert done <= {"listQualifiedNumbers", "token"}, done


@pytest.mark.parametrize(
    ("name", "value", "check", "code", "mend"),
    [
        ("SINCH_KEY_ID", "", "environment", Exit.USAGE, "export SINCH_PROJECT_ID="),
        ("SINCH_KEY_SECRET", "wrong-canary", "token", Exit.AUTHENTICATION, "The key was refused."),
        ("SINCH_PROJECT_ID", "other", "project", Exit.NOT_FOUND, "Check SINCH_PROJECT_ID."),
        ("SINCH_BASE_URL", "https://no-such.invalid", "DNS", Exit.TRY_AGAIN, "HTTPS_PROXY"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    check: str,
    code: Exit,
    mend: str,
) -> None:
    """The first check that fails ends it, with what to mend and the exit code of its kind."""
    monkeypatch.setenv(name, value)
    result = qn("doctor")
    assert (result.exit_code, checks(result)[-1]) == (code, (check, "FAILED"))
    assert mend in result.stderr
    assert "canary" not in result.output


def test_an_api_that_is_down_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port, and an API that only fails, are told apart."""
    sandbox.faults.add(Fault.status(503), operation="listQualifiedNumbers")
    result = qn("doctor", "--json")
    *_, last = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, last["check"], last["ok"]) == (Exit.TRY_AGAIN, "project", False)
    assert "HTTP 503" in last["detail"]
    assert "try again later" in last["mend"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("SINCH_BASE_URL", f"http://127.0.0.1:{port}")
    result = qn("doctor")
    assert (result.exit_code, checks(result)[-1]) == (Exit.TRY_AGAIN, ("connection", "FAILED"))
    assert f"Nothing responds at 127.0.0.1:{port}." in result.stderr


class _Running:
    """A proxy for `running`."""

    def __init__(self, status: int = 200) -> None:
        self._context = http_proxying(status)
        self.proxy: HttpProxy

    async def __aenter__(self) -> HttpProxy:
        self.proxy = await self._context.__aenter__()
        return self.proxy

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(None, None, None)


def test_a_proxy_is_checked_and_used(sandbox: Sandbox) -> None:
    """With --proxy every command goes through it; the doctor checks it in place of DNS."""
    sandbox.add([NUMBER])
    with running(_Running()) as server:
        url = server.proxy.url
        result = qn("--proxy", url, "doctor")
        got = qn("--proxy", url, "--timeout", "5", "get", NUMBER)
        asked = list(server.proxy.asked)
    assert checks(result) == [(n, "ok") for n in ("environment", "proxy", "token", "project")]
    assert (got.exit_code, NUMBER in got.stdout) == (Exit.OK, True)
    assert len(asked) == 2, "one connection each"
    away = qn("--proxy", url, "doctor")
    assert (away.exit_code, checks(away)[-1]) == (Exit.TRY_AGAIN, ("proxy", "FAILED"))


def test_the_timeout_is_that_of_a_call(sandbox: Sandbox) -> None:
    """--timeout ends a call that takes longer, with the exit code of a call out of time."""
    sandbox.add([NUMBER])
    sandbox.faults.add(Fault.slow(30), operation="getQualifiedNumber")
    result = qn("--timeout", "0.2", "get", NUMBER)
    assert (result.exit_code, "not done within 0.2 s" in result.stderr) == (Exit.TRY_AGAIN, True)


class _Untrusted:
    """A server with a certificate of an unknown authority."""

    port = 0

    async def __aenter__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        self._server = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def test_a_certificate_that_is_not_trusted_is_named(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An inspecting proxy's certificate: the remedy names SSL_CERT_FILE."""
    with running(_Untrusted()) as server:
        monkeypatch.setenv("SINCH_BASE_URL", f"https://localhost:{server.port}")
        result = qn("doctor")
    assert (result.exit_code, checks(result)[-1]) == (Exit.TRY_AGAIN, ("connection", "FAILED"))
    assert "SSL_CERT_FILE" in result.stderr
