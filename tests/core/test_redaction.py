"""Canaries in the place of secrets are searched for in all output.

Secrets, tokens and codes appear nowhere; LOA data only in its request; phone numbers in data and
files of the operator, but in no log line.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import logging
import pickle
import re
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.http_parser import HttpResponseParser, HttpResponseParserPy
from click.testing import CliRunner

from sinch_qn import BasicAuth, OAuth2, QualifiedNumbersClient, RetryPolicy, SinchError, errors
from sinch_qn._redaction import redact
from sinch_qn.auth import Token
from sinch_qn.bulk import Entry, MemoryJournal, SqliteJournal, VoiceChallengeRun
from sinch_qn.bulk.report import write_csv, write_html, write_json_lines
from sinch_qn.cli.app import cli
from sinch_qn.models import (
    CallbackConfiguration,
    TextEnableNumbersRequest,
    VerifyVoiceChallengeRequest,
)
from sinch_qn.sandbox import Fault, Sandbox
from sinch_qn.sandbox.world import World
from tests.support.loa import marked

NUMBER, OTHER, LOST = "+12025550134", "+12025550135", "+12025559996"
NUMBERS = (NUMBER, OTHER, LOST)

KEY_ID, SECRET, TOKEN = "canary-key-id", "canary-secret", "canary-token-of-32-characters-xx"
CODE, WRONG = "C0DEcanary", "WR0NGcanary"
LOA = marked("Canary")
PEOPLE = re.findall(r"\w+@Canary\.example", str(attrs.asdict(LOA)))
BASIC = base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode()
HMAC = "hmac-canary"
ONCE = RetryPolicy(max_attempts=1)
SECRETS = [SECRET, BASIC, TOKEN, CODE, WRONG, HMAC, *PEOPLE]


def leaks(text: str) -> list[str]:
    """Return the canaries in *text*."""
    return [canary for canary in SECRETS if canary.lower() in text.lower()]


def shown(error: BaseException) -> str:
    """Return everything that a program would print, log or store of *error*."""
    buffer = io.StringIO()
    traceback.TracebackException.from_exception(error, capture_locals=False).print(file=buffer)
    # Source lines of the tests in a traceback are not a leak.
    text = "\n".join(line for line in buffer.getvalue().splitlines() if not line.startswith("    "))
    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    text += "".join(f"{each!r} {each} {vars(each)}" for each in chain)
    for each in (pickle.dumps(error), pickle.dumps(error, 0), pickle.dumps(copy.deepcopy(error))):
        text += each.decode("latin-1")
    return text


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Log everything, from all libraries, and return it as text."""
    caplog.set_level(logging.DEBUG)
    for name in ("sinch_qn", "asyncio", "aiohttp.client", "aiohttp.internal", "aiohttp.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    return lambda: caplog.text + "".join(str(vars(record)) for record in caplog.records)


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every phone call read out the canary code."""
    monkeypatch.setattr(World, "_new_code", lambda _: CODE)


def order(**changes: Any) -> TextEnableNumbersRequest:
    """Return an order with canaries in its letter."""
    request = TextEnableNumbersRequest(
        region_code="US", numbers=[NUMBER], service_plan_id="plan", direct_loa_info=LOA
    )
    return attrs.evolve(request, **changes)


# Reprs.


@pytest.mark.parametrize(
    "thing",
    [
        BasicAuth(KEY_ID, SECRET),
        OAuth2(KEY_ID, SECRET),
        Token(TOKEN, 0.0, 1.0),
        QualifiedNumbersClient("project", OAuth2(KEY_ID, SECRET)),
        Sandbox(random=Random(5), key_id=KEY_ID, key_secret=SECRET, webhook_secret=TOKEN),
        LOA,
        order(),
        VerifyVoiceChallengeRequest(code=CODE),
        CallbackConfiguration(project_id="project", hmac_secret=HMAC),
        [{"in": {"a structure": order()}}],
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_nothing_shows_what_is_in_it(thing: object) -> None:
    """Credentials, tokens, codes and letters are in no repr or text, at any depth."""
    assert leaks(f"{thing!r} {thing} {[thing]} {thing:}") == []


@pytest.mark.parametrize(
    "path", ["authorised_person.email", "address.street", "current_voice_carrier"]
)
async def test_a_refused_letter_is_not_shown(path: str) -> None:
    """An invalid letter is reported by field names only, without any value."""
    *outer, name = path.split(".")
    loa: Any = attrs.evolve(
        getattr(LOA, outer[0]) if outer else LOA, **{name: "StreetCanary\ud800"}
    )
    if outer:
        changes: dict[str, Any] = {outer[0]: loa}
        loa = attrs.evolve(LOA, **changes)
    async with QualifiedNumbersClient("project", BasicAuth(KEY_ID, SECRET)) as client:
        with pytest.raises(errors.InvalidRequestError, match=name) as caught:
            await client.text_enable_numbers(order(direct_loa_info=loa))
    assert leaks(shown(caught.value)) == []


# A server that returns what it receives.


def _answer(status: str, body: bytes, *headers: bytes) -> bytes:
    head = [f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def _in_json(status: str, template: str) -> Callable[[bytes, bytes], bytes]:
    """Return a JSON response with the whole request in place of each `%s`."""

    def answer(head: bytes, body: bytes) -> bytes:
        text = json.dumps((head + body).decode("latin-1"))[1:-1]
        return _answer(status, template.replace("%s", text).encode())

    return answer


ECHOES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "no HTTP": lambda head, body: b"GARBAGE " + head.replace(b"\r\n", b" ") + body + b"\r\n\r\n",
    "bad header": lambda head, body: b"HTTP/1.1 200 OK\r\nbad " + head + body + b"\r\n\r\n",
    "NUL in header": lambda _, body: b"HTTP/1.1 200 OK\r\nX: \0" + body + b"\r\n\r\n",
    "header too long": lambda head, _: b"HTTP/1.1 200 OK\r\nX: " + head[-99:] * 999,
    "bad length": lambda _, body: b"HTTP/1.1 200 OK\r\nContent-Length: " + body + b"\r\n\r\n",
    "bad chunk": lambda head, body: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + head + body
    ),
    "cut in the head": lambda head, body: b"HTTP/1.1 200 OK\r\n" + head + b"\r\nX: " + body,
    "cut in the body": lambda head, body: (
        b"HTTP/1.1 200 OK\r\n" + head + b"\r\nContent-Length: 9999\r\n\r\n" + body
    ),
    "reason": lambda _, body: _answer("500 " + body.decode("latin-1"), b"{}"),
    "encoding": lambda _, body: _answer("200 OK", b"{}", b"Content-Encoding: " + body),
    "redirect": lambda _, body: _answer("302 Found", b"", b"Location: http://x/?" + body),
    "HTML": lambda head, body: _answer("502 Bad Gateway", b"<pre>" + head + body),
    "text": lambda head, body: _answer("502 Bad Gateway", b"It said: " + body + b" " + head),
    "half JSON": lambda head, body: _answer("200 OK", b'{"phoneNumber": "' + head + body),
    "wrong type": _in_json("200 OK", '{"phoneNumber": ["%s"], "hostingOrderId": ["%s"]}'),
    "wrong time": _in_json("200 OK", '{"phoneNumber": "1", "createdTime": "%s"}'),
    "error in a 200": _in_json("200 OK", '{"error": {"message": "%s", "status": "%s"}}'),
    "message": _in_json("400 Bad Request", '{"code": "400", "message": "%s", "status": "%s"}'),
    "wrapped": _in_json("409 Conflict", '{"error": {"code": 409, "message": "%s"}}'),
    "details": _in_json(
        "400 Bad Request",
        '{"message": "", "details": [{"fieldViolations": [{"field": "%s", "description": "%s"}]}]}',
    ),
    "challenge": lambda head, _: _answer("401 No", b"{}", b"WWW-Authenticate: " + head[-200:]),
}


@asynccontextmanager
async def echoing(make: Callable[[bytes, bytes], bytes]) -> AsyncIterator[str]:
    """Run a server that returns what it receives, in two pieces; yield its address.

    At `/token` it issues the canary token.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            answer = make(head.partition(b"\r\n")[2].strip(), body)
            if head.startswith(b"POST /token "):
                answer = _answer("200 OK", json.dumps({"access_token": TOKEN}).encode())
            at = answer.find(b"\r\n\r\n") + 4
            for piece in (answer[:at], answer[at:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("parser", [HttpResponseParser, HttpResponseParserPy])
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("token", ["/token", "/echo-token", None])
async def test_an_echo_of_the_request_is_not_repeated(
    echo: str,
    token: str | None,
    parser: type,
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a server returns credentials, code and letter, they are in no error and no log.

    aiohttp's parser in Python, used where its C extensions are missing, has errors of its own.
    """
    monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", parser)
    async with echoing(ECHOES[echo]) as url:
        auth = OAuth2(KEY_ID, SECRET, token_url=url + token) if token else BasicAuth(KEY_ID, SECRET)
        async with QualifiedNumbersClient(
            "project", auth, base_url=url, retry=RetryPolicy(max_attempts=1)
        ) as client:
            for call in (
                lambda: client.verify_voice_challenge(NUMBER, CODE),
                lambda: client.text_enable_numbers(order()),
                lambda: client.callback_configuration.update(HMAC),
            ):
                (result,) = await asyncio.gather(call(), return_exceptions=True)
                readable = isinstance(result, CallbackConfiguration)  # which needs no id
                assert isinstance(result, SinchError) or readable or echo == "wrong time"
                assert not isinstance(result, BaseException) or leaks(shown(result)) == []
    assert leaks(log()) == []
    assert NUMBER not in log()


def variables(error: BaseException) -> str:
    """Return the local variables of the frames outside the tests, as error reporters collect them.

    Those of *error*, and of the exceptions that it is chained to. They scrub `authorization`.
    """
    found: list[str] = []
    chain: list[BaseException] = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    for each in chain:
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if not Path(frame.f_code.co_filename).is_relative_to(Path(__file__).parents[1]):
                values = dict(frame.f_locals)
                values.pop("authorization", None)
                found += map(str, values.values())
    return "\n".join(found)


@pytest.mark.parametrize("kind", ["basic", "oauth2"])
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize(
    "fault",
    [None, Fault.dropped(), Fault.truncated(), Fault.status(400)],
    ids=["refused", "dropped", "truncated", "status"],
)
async def test_local_variables_of_an_error_hold_no_credentials(
    kind: str, fault: Fault | None, *, external: bool
) -> None:
    """A tool that reports the local variables of an error reports no key and no token.

    Without a fault the server has gone, and the connection is refused.
    """
    sandbox = Sandbox(key_id=KEY_ID, key_secret=SECRET)
    async with aiohttp.ClientSession() as session, sandbox:
        sandbox.add([NUMBER])
        auth = (
            BasicAuth(KEY_ID, SECRET)
            if kind == "basic"
            else OAuth2(KEY_ID, SECRET, token_url=sandbox.token_url)
        )
        options: dict[str, Any] = {"session": session if external else None, "retry": ONCE}
        base_url, project_id = sandbox.base_url, sandbox.project_id
        async with QualifiedNumbersClient(project_id, auth, base_url=base_url, **options) as client:
            await client.send_voice_challenge(NUMBER)  # so that there is a token
            if fault is None:
                await sandbox.__aexit__()
            else:
                sandbox.faults.add(fault, operation="sendVoiceChallenge")
            with pytest.raises(SinchError) as caught:
                await client.send_voice_challenge(NUMBER)
    text = variables(caught.value)
    assert [secret for secret in (SECRET, BASIC, *sandbox.tokens) if secret in text] == []


def test_redaction_keeps_other_text() -> None:
    """Only secrets are redacted; short values of a letter redact no other text."""
    details = [{"fieldViolations": [{"field": "code", "description": f"{CODE}: no"}], "n": 400}]
    error = errors.BadRequestError(
        f"US: {CODE} is bad", status_code=400, code="400", details=details
    )
    redact(error, [CODE, "US", "", "4"])
    assert str(error) == "HTTP 400: US: ••• is bad: code: •••: no"
    assert (error.status_code, error.code, error.details[0]["n"]) == (400, "400", 400)
    assert details[0]["fieldViolations"] == [{"field": "code", "description": f"{CODE}: no"}]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("code 2025 is wrong", "code ••• is wrong"),
        ("+12025550134 is not being verified", "+12025550134 is not being verified"),
        ('{"code":"2025"}', '{"code":"•••"}'),
        ("Main St, Mainz, MAIN_STREET", "•••, Mainz, MAIN_STREET"),
        (r"J\u00fcrgen \"J\" Ott, Jürgen \"J\" Ott", "•••, •••"),
        ("xcanary-token-of-32-characters-xxx", "x•••x"),
    ],
)
def test_redaction_covers_secrets_not_coincidences(text: str, redacted: str) -> None:
    """Short values are redacted as words only, in JSON's form, too; long ones anywhere."""
    error = errors.BadRequestError(text, status_code=400, code="400")
    redact(error, ["2025", "400", "Main St", 'Jürgen "J" Ott', TOKEN])
    assert (error.message, error.code) == (redacted, "400")


# All operations, with everything logged.


async def test_a_life_with_everything_logged(
    coded: None, log: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, in asyncio's debug mode, no line has a secret, a code, a letter or a number."""
    asyncio.get_running_loop().set_debug(True)
    failures: list[SinchError] = []
    async with (
        Sandbox(
            random=Random(5), key_id=KEY_ID, key_secret=SECRET, wrong_code="rejected"
        ) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add(NUMBERS)
        await client.send_voice_challenge(NUMBER)
        for call in (
            lambda: client.verify_voice_challenge(NUMBER, WRONG),
            lambda: client.send_voice_challenge(LOST),
            lambda: client.get_number("+12025550199"),
            lambda: client.text_enable_numbers(order(numbers=[OTHER])),
        ):
            with pytest.raises(SinchError) as caught:
                await call()
            failures.append(caught.value)
        sandbox.revoke_tokens()
        await client.verify_voice_challenge(NUMBER, CODE)
        await client.text_enable_numbers(order())
        async for _ in client.list_numbers():
            pass
        await client.callback_configuration.update(HMAC)
        assert (await client.callback_configuration.get()).hmac_secret == HMAC
        await client.imported_numbers.get(NUMBER)
        await client.delete_number(NUMBER)
        tokens = list(sandbox.tokens)
    assert "sinch_qn" in {record.name for record in caplog.records}
    text = log()
    assert leaks(text) == []
    assert not [token for token in tokens if token in text]
    assert not [number for number in (*NUMBERS, "2025550134") if number in text]
    for failure in failures:
        assert leaks(shown(failure)) == []
        assert not [token for token in tokens if token in shown(failure)]


# A run and its files.


async def test_a_run_leaves_no_code_behind(
    coded: None, log: Callable[[], str], tmp_path: Path
) -> None:
    """Once numbers are settled, no code is in the journal's bytes, an event, a note or a report."""
    path = tmp_path / "run.db"
    events: list[object] = []
    async with (
        Sandbox(random=Random(5), key_id=KEY_ID, key_secret=SECRET) as sandbox,
        sandbox.client() as client,
    ):
        sandbox.add([NUMBER, OTHER])
        run = VoiceChallengeRun(client, SqliteJournal(path), max_codes=1)
        async with run:
            await run.add([(NUMBER, "ref"), OTHER])

            async def answer() -> None:
                async for event in run.events():
                    events.append(event)
                    if event.what == "called":
                        code = WRONG if event.number == OTHER else CODE
                        await run.submit_code(event.number, code)

            answering = asyncio.create_task(answer())
            async with asyncio.timeout(20):
                report = await run.finish()
            rows = await asyncio.to_thread(list, report.rows())
            written = repr((report, rows, await run.result(NUMBER)))
        await answering
    assert {row.number: row.state.value for row in rows} == {NUMBER: "verified", OTHER: "failed"}
    _check_journal(path)
    await asyncio.to_thread(_check_reports, rows, tmp_path)
    assert leaks(written + repr(events)) == []
    assert leaks(log()) == []
    assert not [number for number in NUMBERS if number in log()]


def _check_journal(path: Path) -> None:
    """Search the file and those that SQLite may have left beside it."""
    files = list(path.parent.iterdir())
    assert path in files
    for file in files:
        assert leaks(file.read_bytes().decode("latin-1")) == [], file
        assert file.stat().st_mode & 0o077 == 0, file


def _check_reports(rows: list[Entry], directory: Path) -> None:
    """Write all reports and search them."""
    write_csv(rows, directory / "report.csv")
    write_json_lines(rows, directory / "report.jsonl")
    write_html(rows, directory / "report.html")
    for name in ("report.csv", "report.jsonl", "report.html"):
        text = (directory / name).read_text(encoding="utf-8")
        assert NUMBER in text or name == "report.html"
        assert leaks(text) == [], name


async def test_an_echoed_code_is_not_noted(tmp_path: Path) -> None:
    """A code that the server repeats in its rejection is in no note of the run."""
    notes: list[str | None] = []

    def make(_: bytes, body: bytes) -> bytes:
        number = {"phoneNumber": NUMBER, "globalProcessState": "GLOBAL_PROCESS_STATE_ELIGIBLE"}
        if body:
            text = json.dumps({"code": "400", "message": f"wrong: {body.decode('latin-1')}"})
            return _answer("400 Bad Request", text.encode())
        return _answer("200 OK", json.dumps({**number, "qualifiedNumbers": [number]}).encode())

    async with echoing(make) as url:
        auth = BasicAuth(KEY_ID, SECRET)
        async with QualifiedNumbersClient("project", auth, base_url=url) as client:
            run = VoiceChallengeRun(client, MemoryJournal(), max_codes=1)
            async with run:
                await run.add([NUMBER])

                async def answer() -> None:
                    async for event in run.events():
                        notes.append(event.note)
                        if event.what == "called":
                            await run.submit_code(NUMBER, CODE)

                answering = asyncio.create_task(answer())
                async with asyncio.timeout(20):
                    report = await run.finish()
                rows = await asyncio.to_thread(list, report.rows())
                notes += [row.note for row in rows]
            await answering
    assert any("•••" in (note or "") for note in notes)
    assert leaks(repr(notes)) == []


# The command line.


def test_the_command_line_shows_no_secret(coded: None, tmp_path: Path) -> None:
    """Commands print numbers but no key, token, code or letter, also when they fail."""
    loa = tmp_path / "loa.json"
    letter = {"current" + "VoiceCarrier": PEOPLE[-1], "address": {"street": PEOPLE[0]}}
    loa.write_text(json.dumps({"directLoaInfo": letter}))

    async def play() -> list[str]:
        async with Sandbox(random=Random(5), key_id=KEY_ID, key_secret=SECRET) as sandbox:
            sandbox.add([NUMBER, OTHER])

            async def run(*arguments: str, key: str = SECRET) -> str:
                env = {**sandbox.environment(), "SINCH_KEY_SECRET": key}
                result = await asyncio.to_thread(
                    CliRunner().invoke, cli, arguments, env=env, input=""
                )
                text = "".join(traceback.format_exception(result.exception))
                return f"{arguments[0]}: {result.output}{text if result.exception else ''}"

            return [
                await run("send", NUMBER, "--yes"),
                await run("verify", NUMBER, WRONG),
                await run("verify", NUMBER, CODE),
                await run("verify", OTHER, CODE),
                await run("verify", OTHER, CODE + "\x00"),
                await run("list", "--json"),
                await run("get", NUMBER, "+12025550199"),
                await run("get", NUMBER, key="canary-secret-that-is-wrong"),
                await run("get", NUMBER, key="canary-secret with a space"),
                await run("text-enable", NUMBER, "--yes", "--loa", str(loa), "--service-plan-id=x"),
            ]

    outputs = asyncio.run(play())
    assert any(NUMBER in output for output in outputs)
    assert [output for output in outputs if leaks(output)] == []
