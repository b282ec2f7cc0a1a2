"""The HTTP API of the desk: tokens, codes, calls, numbers, limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web

from sinch_qn.bulk import ChallengeState, SqliteJournal
from sinch_qn.bulk.call_requests import MAY_RING
from sinch_qn.bulk.states import Event
from sinch_qn.desk import Tokens, create_app
from sinch_qn.desk.api import REQUESTS_OF_A_TOKEN, WRONG_TOKENS_OF_AN_ADDRESS
from sinch_qn.desk.links import Link, Subject
from sinch_qn.desk.person import CODES_OF_A_NUMBER
from sinch_qn.errors import InvalidRequestError, JournalError
from tests.support.desk import browsing
from tests.support.desk_world import NUMBERS, SECRET, DeskWorld, desk_world, until
from tests.support.journals import happen

NUMBER, SECOND, THIRD = NUMBERS


@attrs.define(eq=False)
class Robot:
    """A program with a token."""

    world: DeskWorld
    session: aiohttp.ClientSession
    token: str
    headers: dict[str, str] = attrs.field(factory=dict)

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any]:
        """Send JSON; return the status and the JSON of the response."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        url = f"{self.world.base}/api/v1/{path}"
        async with self.session.post(url, json=body, headers=headers, **options) as response:
            self.headers = dict(response.headers)
            return response.status, await response.json(content_type=None)

    async def rang(self) -> str:
        """Request the first call of NUMBER; return its code."""
        status, _ = await self.post("calls", {"number": NUMBER, "attempt": 0})
        assert status == 202
        return await self.world.rang()


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    """Run a desk with three numbers, two of one ref, and a robot that has a token."""
    async with (
        desk_world([NUMBER, (SECOND, "shop"), (THIRD, "shop")]) as world,
        aiohttp.ClientSession() as session,
    ):
        yield Robot(world, session, await world.desk.tokens.make("ivr"))


async def test_a_robot_verifies_a_number(robot: Robot) -> None:
    """Look up, call, hand in what was said, see the state: one ring."""
    status, found = await robot.post("numbers/lookup", {"number": NUMBER})
    assert (status, found["numbers"][0]["state"]) == (200, "pending")
    id_, attempt = found["numbers"][0]["id"], found["numbers"][0]["attempt"]
    status, answer = await robot.post("calls", {"id": id_, "attempt": attempt})
    assert (status, answer["new"], answer["reason"]) == (202, True, None)
    code = await robot.world.rang()
    words = "zero one two three four five six seven eight nine".split()
    said = "Your code is " + ", ".join(words[int(digit)] for digit in code)
    status, answer = await robot.post("codes", {"id": id_, "transcript": said, "attempt": 1})
    assert (status, answer["result"]) == (202, "accepted")

    async def is_verified() -> bool:
        _, found = await robot.post("numbers/lookup", {"id": id_})
        return bool(found["numbers"][0]["state"] == "verified")

    await until(is_verified)
    assert robot.world.rings() == 1


async def test_one_request_is_one_call(robot: Robot) -> None:
    """A request that is sent ten times at once, and again after the call, rings once."""
    body = {"number": NUMBER, "attempt": 0}
    answers = await asyncio.gather(*(robot.post("calls", body) for _ in range(10)))
    assert [status for status, _ in answers] == [202] * 10
    assert sum(answer["new"] for _, answer in answers) == 1
    await robot.world.rang()
    robot.world.clock.ahead += 500  # it does not ring any more
    status, answer = await robot.post("calls", body)
    assert (status, answer["new"]) == (202, False)
    assert robot.world.rings() == 1


async def test_a_robot_rings_no_phone_that_may_still_ring(robot: Robot) -> None:
    """Whatever attempt it knows of: one that was not sent after all is the number of the next."""
    await robot.rang()
    body = {"number": NUMBER, "attempt": 1}
    status, answer = await robot.post("calls", body)
    assert (status, answer["new"], answer["reason"]) == (202, False, MAY_RING)
    assert answer["earliest"] is not None
    robot.world.clock.ahead += 91
    status, answer = await robot.post("calls", body)
    assert (status, answer["new"]) == (202, True)
    await robot.world.rang(times=2)


async def test_a_robot_that_says_its_intent(robot: Robot) -> None:
    """P1: a call that was not sent gives its attempt to the next one, but never its intent."""
    journal = robot.world.journal
    for events in ((Event.CALL, Event.CALL_UNKNOWN), (Event.CALL_NOT_SENT, Event.CALL)):
        await happen(journal, NUMBER, *events, at=journal.now())
        if Event.CALL_UNKNOWN in events:
            _, found = await robot.post("numbers/lookup", {"number": NUMBER})
    await happen(journal, NUMBER, Event.CALLED, at=journal.now())
    robot.world.clock.ahead += 91  # it does not ring any more
    (old,) = found["numbers"]
    body = {"number": NUMBER, "attempt": old["attempt"], "intent": old["intent"]}
    status, answer = await robot.post("calls", body)
    assert (status, answer["new"]) == (202, False)
    assert answer["number"]["attempt"] == old["attempt"]
    body["intent"] = answer["number"]["intent"]
    status, answer = await robot.post("calls", body)
    assert (status, answer["new"]) == (202, True)
    for wrong in (1, "", "x", "1" * 19):
        assert (await robot.post("calls", body | {"intent": wrong}))[0] == 400
    await robot.world.rang()


async def test_a_call_needs_the_attempt_that_the_robot_knows_of(robot: Robot) -> None:
    """Without it, or with one that is ahead, a repeated request could ring twice: refused."""
    assert (await robot.post("calls", {"number": NUMBER}))[0] == 400
    status, problem = await robot.post("calls", {"number": NUMBER, "attempt": 1})
    assert (status, problem["type"]) == (409, "urn:sinch-qn:desk:stale-attempt")
    assert robot.world.rings() == 0


async def test_a_code_is_tried_once_and_only_for_its_call(robot: Robot) -> None:
    """A repeated code is a duplicate; one that was heard in another call is refused."""
    code = await robot.rang()
    wrong = f"{(int(code) + 1) % 10_000:04}"
    body = {"number": NUMBER, "code": wrong}
    results = [(await robot.post("codes", body))[1]["result"] for _ in range(2)]
    assert results == ["accepted", "duplicate"]
    status, problem = await robot.post("codes", {"number": NUMBER, "code": code, "attempt": 0})
    assert (status, problem["type"]) == (409, "urn:sinch-qn:desk:stale-attempt")


async def test_a_number_that_takes_no_code_or_call_says_so_masked(robot: Robot) -> None:
    """The problem names the state, and has the number masked."""
    status, problem = await robot.post("codes", {"number": NUMBER, "code": "4711"})
    assert (status, problem["type"]) == (409, "urn:sinch-qn:desk:wrong-state")
    assert "was not called yet" in problem["detail"]
    assert NUMBER not in problem["detail"]
    await robot.world.set(NUMBER, state=ChallengeState.BLOCKED)
    status, problem = await robot.post("calls", {"number": NUMBER, "attempt": 0})
    assert (status, "blocked" in problem["detail"]) == (409, True)


async def test_a_transcript_is_not_guessed(robot: Robot) -> None:
    """Two codes, or none, are refused without a try, and without being shown."""
    await robot.rang()
    for said in ("it is 4711 or 4712", "hello?"):
        status, problem = await robot.post("codes", {"number": NUMBER, "transcript": said})
        assert status == 422
        assert "47" not in problem["detail"]
    assert (await robot.world.entry()).codes_used == 0


async def test_a_ref_of_several_numbers_is_looked_up_and_not_guessed(robot: Robot) -> None:
    """A look-up has all of them; a code or call for the ref is refused."""
    status, found = await robot.post("numbers/lookup", {"ref": "shop"})
    assert {each["number"] for each in found["numbers"]} == {SECOND, THIRD}
    assert status == 200
    status, problem = await robot.post("calls", {"ref": "shop", "attempt": 0})
    assert (status, problem["type"]) == (409, "urn:sinch-qn:desk:ambiguous-ref")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("codes", {}),
        ("codes", []),
        ("codes", {"number": NUMBER}),
        ("codes", {"number": NUMBER, "code": "1", "transcript": "one"}),
        ("codes", {"number": NUMBER, "code": 4711}),
        ("codes", {"number": NUMBER, "code": "4 7"}),
        ("codes", {"number": NUMBER, "code": "4711", "attmpt": 0}),
        ("codes", {"number": NUMBER, "transcript": "4711", "length": True}),
        ("calls", {"number": NUMBER, "ref": "shop", "attempt": 0}),
        ("calls", {"number": NUMBER, "attempt": -1}),
        ("calls", {"number": NUMBER, "attempt": "0"}),
        ("numbers/lookup", {"number": "2025550134"}),
        ("numbers/lookup", {"ref": "a\0b"}),
    ],
)
async def test_a_request_that_is_not_as_described_is_refused(
    robot: Robot, path: str, body: Any
) -> None:
    """A missing, unknown, doubled or wrong field is a 400 that says which."""
    status, problem = await robot.post(path, body)
    assert (status, problem["type"]) == (400, "urn:sinch-qn:desk:invalid-request")
    assert robot.headers["Content-Type"].startswith("application/problem+json")


async def test_bodies_that_are_not_json_or_too_large_are_refused(robot: Robot) -> None:
    """Whatever is sent, the answer is a problem in JSON."""
    url, headers = f"{robot.world.base}/api/v1/codes", {"Authorization": f"Bearer {robot.token}"}
    for data, content_type, expected in (
        (b"{", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"code": "\\ud800"}', "application/json", 400),
        (b"number=1", "application/x-www-form-urlencoded", 415),
        (b" " * 70_000, "application/json", 413),
    ):
        sent = headers | {"Content-Type": content_type}
        async with robot.session.post(url, data=data, headers=sent) as response:
            assert response.status == expected
            assert response.content_type == "application/problem+json"


async def test_an_unknown_path_or_method_is_a_problem(robot: Robot) -> None:
    """Robots get JSON also where there is nothing."""
    for method, path, expected in (("GET", "nothing", 404), ("GET", "codes", 405)):
        url = f"{robot.world.base}/api/v1/{path}"
        async with robot.session.request(method, url) as response:
            assert (response.status, response.content_type) == (
                expected,
                "application/problem+json",
            )


@pytest.mark.parametrize("path", ["codes", "calls", "numbers/lookup"])
@pytest.mark.parametrize("change", ["", "x", "desk_ivr_" + "A" * 43, "desk_other_" + "A" * 43])
async def test_without_a_valid_token_nothing_is_told(robot: Robot, path: str, change: str) -> None:
    """No token, a forged one and one of an unknown name get the same 401, whatever the body."""
    robot.token = change
    status, problem = await robot.post(path, {"number": NUMBER, "attempt": 0, "code": "1"})
    assert (status, problem["type"]) == (401, "urn:sinch-qn:desk:unauthorized")
    assert robot.headers["WWW-Authenticate"].startswith("Bearer")
    assert robot.world.rings() == 0


async def test_an_operators_cookie_is_no_token(robot: Robot) -> None:
    """The API takes tokens only, so that no browser can be led to it."""
    desk = robot.world.desk
    session = await desk.sessions.start(is_operator=True)
    cookies = {desk.sessions.name: desk.sessions.seal(session)}
    status, _ = await robot.post(
        "calls", {"number": NUMBER, "attempt": 0}, headers={"Authorization": ""}, cookies=cookies
    )
    assert status == 401


async def test_wrong_tokens_are_limited_and_right_ones_not(robot: Robot) -> None:
    """After twenty wrong tokens their address waits; a valid token still works from there."""
    right, robot.token = robot.token, "desk_ivr_" + "A" * 43
    limit, _ = WRONG_TOKENS_OF_AN_ADDRESS
    for _ in range(limit):
        assert (await robot.post("codes", {}))[0] == 401
    status, _ = await robot.post("codes", {})
    assert (status, int(robot.headers["Retry-After"]) > 0) == (429, True)
    robot.token = right
    assert (await robot.post("numbers/lookup", {"number": NUMBER}))[0] == 200


async def test_requests_of_a_token_are_limited(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above its limit a token waits, and another does not."""
    limit, period = REQUESTS_OF_A_TOKEN
    assert (limit, period) == (600, 60.0)
    for _ in range(limit):
        status, _ = await robot.post("numbers/lookup", {})
        assert status == 400
    status, problem = await robot.post("numbers/lookup", {})
    assert (status, problem["status"]) == (429, 429)
    assert 1 <= int(robot.headers["Retry-After"]) <= period
    robot.token = await robot.world.desk.tokens.make("other")
    assert (await robot.post("numbers/lookup", {"number": NUMBER}))[0] == 200


async def test_codes_of_a_number_are_limited_together_with_its_page(robot: Robot) -> None:
    """A robot gets no more tries of a number than its page does."""
    code = await robot.rang()
    robot.world.sandbox.world.settings.max_attempts = 100
    limit, _ = CODES_OF_A_NUMBER
    for at in range(limit):
        await robot.post("codes", {"number": NUMBER, "code": f"{(int(code) + 1 + at) % 10_000:04}"})
    status, problem = await robot.post("codes", {"number": NUMBER, "code": code})
    assert (status, problem["type"]) == (429, "urn:sinch-qn:desk:too-many-requests")
    url = f"{await robot.world.link(NUMBER)}/code"
    form = {"number": NUMBER, "attempt": "1", "code": "1"}
    async with robot.session.post(url, data=form) as response:
        assert response.status == 429


async def test_a_revoked_token_is_refused_on_every_replica(robot: Robot) -> None:
    """Tokens are in the journal: another desk takes them, until they are revoked."""
    journal, body = robot.world.journal, {"number": NUMBER}
    other = create_app(None, journal, secret=SECRET, public_url="http://desk.example")
    headers = {"Authorization": f"Bearer {robot.token}"}
    async with browsing(other) as browser:
        path = "/api/v1/numbers/lookup"
        async with browser.client.post(path, json=body, headers=headers) as response:
            assert response.status == 200
        await Tokens(journal).revoke("ivr")
        async with browser.client.post(path, json=body, headers=headers) as response:
            assert response.status == 401
    assert (await robot.post("numbers/lookup", body))[0] == 401


async def test_only_the_digest_of_a_token_is_kept(tmp_path: Path) -> None:
    """The journal's files have no token; a name is used once, and its token revoked for good."""
    journal = SqliteJournal(tmp_path / "run.db")
    await journal.open(None, running=True)
    try:
        tokens = Tokens(journal)
        text = await tokens.make("ivr")
        assert await tokens.read(text) == "ivr"
        with pytest.raises(InvalidRequestError, match="choose another"):
            await tokens.make("ivr")
        assert await tokens.read(text) == "ivr"
        for name in ("", "A", "a_b", "a" * 33, "a\n"):
            with pytest.raises(InvalidRequestError, match="lower-case"):
                await tokens.make(name)
        secret = text.removeprefix("desk_ivr_").encode()
        assert not any(secret in file.read_bytes() for file in list(tmp_path.iterdir()))  # noqa: ASYNC240
        await tokens.revoke("ivr")
        assert await tokens.read(text) is None
        with pytest.raises(InvalidRequestError, match="choose another"):
            await tokens.make("ivr")
        (token,) = await tokens.all()
        assert (token.name, token.revoked_at is None) == ("ivr", False)
    finally:
        await journal.close()


async def test_no_number_code_or_token_is_in_a_log(
    robot: Robot, caplog: pytest.LogCaptureFixture
) -> None:
    """What robots send is in no log line, whether it is right or wrong."""
    caplog.set_level(logging.DEBUG)
    code = await robot.rang()
    await robot.post("codes", {"number": NUMBER, "code": "90210"})
    await robot.post("codes", {"number": NUMBER, "transcript": f"it is {code} or 90210"})
    await robot.post("codes", {"number": NUMBER, "code": code})
    logs = "".join(record.getMessage() for record in caplog.records if record.name != "asyncio")
    for secret in (NUMBER[2:], code, "90210", robot.token):
        assert secret not in logs


async def test_the_id_of_a_number_opens_no_page(robot: Robot) -> None:
    """An id is in URLs and logs of robots, so it is no link to the person's page."""
    desk = robot.world.desk
    id_ = desk.links.seal(Link(Subject.API, NUMBER))
    async with robot.session.get(f"{robot.world.base}/n/{id_}") as response:
        assert response.status == 404
    link = (await robot.world.link(NUMBER)).rpartition("/")[2]
    assert (await robot.post("numbers/lookup", {"id": link}))[0] == 404


async def test_a_journal_that_is_away_is_a_problem(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the journal cannot be used, robots are told when to repeat the request."""

    async def fail(*_: object) -> None:
        raise JournalError("down")

    monkeypatch.setattr(robot.world.journal, "get", fail)
    status, problem = await robot.post("numbers/lookup", {"number": NUMBER})
    assert (status, problem["type"]) == (503, "urn:sinch-qn:desk:journal-unavailable")
    assert robot.headers["Retry-After"] == "5"


@pytest.mark.parametrize("public_url", ["http://desk.example", "http://desk.example/other"])
async def test_errors_are_problems_wherever_the_desk_is_mounted(
    robot: Robot, public_url: str
) -> None:
    """Also if a proxy changes the path, so that `public_url` has another one."""
    app = create_app(None, robot.world.journal, secret=SECRET, public_url=public_url)
    outer = web.Application()
    outer.add_subapp("/mounted", app)
    async with browsing(app, outer) as browser:
        for path, status in (("codes", 401), ("nothing", 404)):
            async with browser.client.post(f"/mounted/api/v1/{path}", json={}) as response:
                assert (response.status, response.content_type) == (
                    status,
                    "application/problem+json",
                )
