"""The sandbox's faults: which requests they strike, what they send, and what work is done."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sinch_qn import Outcome, RetryPolicy, SinchError, errors
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Answer, Fault, Sandbox
from sinch_qn.sandbox.faults import FACTORIES
from tests.sandbox.curl import NUMBER, Curl, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OTHER = "+12025550135"
ONCE = RetryPolicy(max_attempts=1)
SOON = RetryPolicy(base_delay=0.0)
DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"


@asynccontextmanager
async def running_with(*faults: Fault, **settings: Any) -> AsyncIterator[tuple[Sandbox, Curl]]:
    """Run a sandbox with one number, and with *faults* of any operation."""
    async with running(**settings) as (sandbox, curl):
        sandbox.add([NUMBER])
        for fault in faults:
            sandbox.faults.add(fault)
        yield sandbox, curl


# ---- which requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "struck"),
    [
        ({}, "########"),
        ({"times": 3}, "###....."),
        ({"every": 3}, "..#..#.."),
        ({"after": 5}, ".....###"),
        ({"after": 1, "every": 2, "times": 2}, "..#.#..."),
    ],
    ids=str,
)
async def test_schedules(schedule: Any, struck: str) -> None:
    """A fault strikes each k-th request, after the first m, so many times."""
    async with running_with() as (sandbox, _):
        scripted = sandbox.faults.add(Fault.empty(**schedule))
        hits = [sandbox.faults.match("getQualifiedNumber", "") for _ in struck]
        assert "".join(".#"[hit is not None] for hit in hits) == struck
        assert (scripted.requests, scripted.hits) == (len(struck), struck.count("#"))


async def test_a_fault_is_of_its_operation_and_number() -> None:
    """A fault strikes its operation and its number; without either, all but the token endpoint."""
    faults = Sandbox().faults
    for place, struck in {
        (None, None): "gG s",
        ("getQualifiedNumber", None): "gG  ",
        (None, NUMBER): "g  s",
        ("getQualifiedNumber", OTHER): " G  ",
        ("token", None): "  t ",
    }.items():
        faults.clear()
        operation, phone_number = place
        faults.add(Fault.empty(), operation=operation, phone_number=phone_number)
        requests = [
            ("g", "getQualifiedNumber", NUMBER),
            ("G", "getQualifiedNumber", OTHER),
            ("t", "token", ""),
            ("s", "sendVoiceChallenge", NUMBER),
        ]
        hit = [name if faults.match(*request) else " " for name, *request in requests]
        assert "".join(hit) == struck, place


def test_a_misspelt_operation_is_refused() -> None:
    """No test passes because its fault was put where nobody ever comes."""
    with pytest.raises(KeyError, match="getNumber"):
        Sandbox().faults.add(Fault.empty(), operation="getNumber")


def test_the_first_fault_that_strikes_is_it() -> None:
    """Of several faults one acts on a request; the others count it all the same."""
    faults = Sandbox().faults
    first, second = Fault.status(500, times=1), Fault.status(501, after=1)
    scripted = [faults.add(first), faults.add(second)]
    assert [faults.match("getQualifiedNumber", "") for _ in range(3)] == [first, second, second]
    assert [each.requests for each in faults] == [3, 3]
    faults.remove(scripted[0])
    assert list(faults) == scripted[1:]
    assert len(faults) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fault.status(503, times=0),
        lambda: Fault.status(503, every=0),
        lambda: Fault.status(503, after=-1),
        lambda: Fault.status(99),
        lambda: Fault.status(600),
        lambda: Fault.slow(-1),
        lambda: Fault.slow(1, when="instead"),  # type: ignore[arg-type]
        lambda: Fault.empty(when="before"),  # type: ignore[arg-type]
        lambda: Fault(when="never"),  # type: ignore[arg-type]
        lambda: Fault.limited(1.5),  # type: ignore[arg-type]
        lambda: Fault.status("503"),  # type: ignore[arg-type]
        lambda: Fault.status(503, headers={"X": "a\r\nb"}),
        lambda: Fault.status(503, headers=["X"]),  # type: ignore[arg-type]
    ],
)
def test_senseless_faults_are_refused(make: Any) -> None:
    """What can never strike, or could not be sent, is refused when it is made."""
    with pytest.raises((TypeError, ValueError)):
        make()


# ---- the work ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "rings", "outcome"),
    [
        (Fault.dropped(), 0, Outcome.UNKNOWN),
        (Fault.dropped(when="after"), 1, Outcome.UNKNOWN),
        (Fault.status(503), 0, Outcome.UNKNOWN),
        (Fault.status(503, when="after"), 1, Outcome.UNKNOWN),
        (Fault.truncated(), 1, Outcome.UNKNOWN),
        (Fault.slow(0.01), 1, None),
        (Fault.slow(0.01, when="after"), 1, None),
    ],
    ids=lambda value: f"{value.kind}, {value.when}" if isinstance(value, Fault) else "",
)
async def test_the_phone_rings_or_not(fault: Fault, rings: int, outcome: Outcome | None) -> None:
    """`when` says whether the phone rang, whatever the answer; requests and work are told apart."""
    async with running_with(fault) as (sandbox, _), sandbox.client(retry=ONCE) as client:
        (result,) = await asyncio.gather(
            client.send_voice_challenge(NUMBER), return_exceptions=True
        )
        assert (result.outcome if isinstance(result, SinchError) else None) is outcome
        assert sandbox.calls.count("sendVoiceChallenge", NUMBER) == 1
        assert sandbox.done.count("sendVoiceChallenge", NUMBER) == rings
        assert sandbox.world.rings(NUMBER) == rings


async def test_work_that_is_refused_is_not_done() -> None:
    """`done` counts what the world did: no refusals, and not what broke the rules."""
    async with running_with() as (sandbox, curl):
        await curl.fetch(path=f"/qualifiedNumbers/{OTHER}")
        await curl.fetch(path="/qualifiedNumbers/me")
        assert sandbox.calls.total("getQualifiedNumber") == 2
        assert sandbox.done.total("getQualifiedNumber") == 0


async def test_a_slow_answer_is_slow_before_or_after_the_work() -> None:
    """A phone that is slow to ring has not rung yet; one that is slow to answer has."""
    for fault, rings in ((Fault.slow(30.0), 0), (Fault.slow(30.0, when="after"), 1)):
        async with running_with(fault) as (sandbox, _), sandbox.client() as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.send_voice_challenge(NUMBER, timeout=0.2)
            assert sandbox.world.rings(NUMBER) == rings


async def test_tokens_revoked_in_mid_run_cost_one_request() -> None:
    """All calls that meet a revoked token go on with one new one."""
    async with running_with() as (sandbox, _), sandbox.client() as client:
        sandbox.faults.add(Fault.revoked(after=50, times=1))
        for _ in range(10):
            await asyncio.gather(*(client.get_number(NUMBER) for _ in range(10)))
        assert sandbox.done.total("token") == 2


async def test_no_call_is_lost_to_a_token_endpoint_that_recovers() -> None:
    """However many calls wait for a token, one that is had at the second try serves them all."""
    async with running_with() as (sandbox, _), sandbox.client() as client:
        sandbox.faults.add(Fault.status(503, times=1), operation="token")
        await asyncio.gather(*(client.get_number(NUMBER) for _ in range(300)))
        assert sandbox.calls.total("token") == 2
        assert sandbox.done.total("getQualifiedNumber") == 300


async def test_a_sandbox_ends_in_the_middle_of_its_faults() -> None:
    """A sandbox that is still sending, or waiting to, ends at once."""
    started = asyncio.get_running_loop().time()
    async with running_with(Fault.endless(times=1), Fault.slow(60.0)) as (sandbox, curl):
        await curl.fetch()
        async with sandbox.client() as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.get_number(NUMBER, timeout=0.1)
    assert asyncio.get_running_loop().time() - started < 10


# ---- what is sent ------------------------------------------------------------------------------


async def test_a_status_comes_with_headers_and_body() -> None:
    """Text goes out as it is, JSON as JSON; without a body an error is as the API writes it."""
    async with running_with(
        Fault.status(418, headers={"X-A": "b"}, body="short", times=1),
        Fault.status(418, body={"a": [1]}, times=1),
        Fault.status(503, times=1),
        Fault.status(599, times=1),
        Fault.status(204, times=1),
    ) as (_, curl):
        seen = await curl.fetch()
        assert (seen.status, seen.headers["X-A"], seen.body) == (418, "b", b"short")
        seen = await curl.fetch()
        assert (seen.json, seen.headers["Content-Type"]) == ({"a": [1]}, "application/json")
        assert (await curl.fetch()).json["status"] == "UNAVAILABLE"
        assert (await curl.fetch()).json["code"] == "599"
        assert (await curl.fetch()).body == b""


async def test_limits() -> None:
    """429 comes with seconds, with a date that its own `Date` measures, or with neither."""
    async with running_with(
        Fault.limited(times=1), Fault.limited(7, times=1), Fault.limited(7, as_date=True)
    ) as (_, curl):
        assert "Retry-After" not in (await curl.fetch()).headers
        assert (await curl.fetch()).headers["Retry-After"] == "7"
        seen = await curl.fetch()
        dates = [parsedate_to_datetime(seen.headers[name]) for name in ("Date", "Retry-After")]
        assert 6 <= (dates[1] - dates[0]).total_seconds() <= 8


async def test_bodies_that_cannot_be_read() -> None:
    """HTML, nothing, half of JSON, an error, a redirect: each is what it is called."""
    async with running_with(
        Fault.html(502, when="instead", times=1),
        Fault.empty(times=1),
        Fault.bad_json(times=1),
        Fault.error_in_200(times=1),
        Fault.redirect("https://there.invalid/", status=307, times=1),
        Fault.truncated(times=1),
        Fault.endless(times=1),
    ) as (sandbox, curl):
        seen = await curl.fetch()
        assert (seen.status, seen.headers["Content-Type"]) == (502, "text/html")
        seen = await curl.fetch()
        assert (seen.status, seen.body) == (200, b"")
        with pytest.raises(json.JSONDecodeError):
            assert (await curl.fetch()).json
        assert (await curl.fetch()).json["error"]["status"] == "INTERNAL"
        seen = await curl.fetch()
        assert (seen.status, seen.headers["Location"]) == (307, "https://there.invalid/")
        seen = await curl.fetch()
        assert seen.broken
        assert 0 < len(seen.body) < int(seen.headers["Content-Length"])
        assert len((await curl.fetch()).body) >= 1_000_000
        assert (await curl.fetch()).json["phoneNumber"] == NUMBER
        assert sandbox.done.total("getQualifiedNumber") == 5


async def test_a_gzip_bomb_is_one() -> None:
    """What is sent unpacks to a thousand times its size."""
    async with running_with(Fault.gzip_bomb()) as (_, curl):
        seen = await curl.fetch()
        assert seen.headers["Content-Encoding"] == "gzip"
        unpacked = zlib.decompressobj(wbits=31).decompress(seen.body)
        assert len(unpacked) == 1_000_000
        assert int(seen.headers["Content-Length"]) < 11_000_000


async def test_bodies_that_are_odd() -> None:
    """Enums nobody knows, nulls, new fields, no id: the rest of the answer stays as it was."""
    async with running_with() as (sandbox, curl):
        sandbox.add([NUMBER], SinchState.VERIFIED)
        good = (await curl.fetch()).json
        for fault in (Fault.unknown_enums, Fault.nulls, Fault.extra_fields, Fault.without_id):
            sandbox.faults.add(fault(times=1))
        news = (await curl.fetch()).json
        assert news["globalProcessState"] == news["osrEligibility"]["status"] == "NOT_KNOWN_YET"
        assert news["phoneNumber"] == NUMBER
        assert (await curl.fetch()).json == {**dict.fromkeys(good), "phoneNumber": NUMBER}
        more = (await curl.fetch()).json
        assert more.pop("addedLater") == more["osrEligibility"].pop("addedLater")
        more["ownershipVerification"].pop("addedLater")
        assert more == good
        assert (await curl.fetch()).json == {k: v for k, v in good.items() if k != "phoneNumber"}


async def test_what_has_no_body_stays_without() -> None:
    """Faults that change JSON leave an answer without any alone."""
    async with running_with(Fault.nulls()) as (_, curl):
        seen = await curl.fetch("DELETE")
        assert (seen.status, seen.body) == (200, b"")


async def test_a_fault_of_your_own() -> None:
    """A function from the good answer to the one that is sent is a fault."""

    def shout(answer: Answer) -> Answer:
        return Answer.of(b"".join(answer.pieces).upper(), headers=answer.headers)

    async with running_with(Fault(transform=shout, times=1)) as (sandbox, curl):
        assert (await curl.fetch()).json["PHONENUMBER"] == NUMBER
        assert [(each.fault.kind, each.hits) for each in sandbox.faults] == [("custom", 1)]


# ---- over HTTP ---------------------------------------------------------------------------------


async def test_faults_over_http() -> None:
    """Faults are added, listed with their hits, and removed with curl."""
    async with running_with() as (sandbox, curl):
        fault = {"fault": "status", "status": 503, "headers": {"Retry-After": "0"}, "times": 2}
        place = {"operation": "getQualifiedNumber", "phoneNumber": NUMBER}
        added = await curl.fetch("POST", "/_sandbox/faults", {**fault, **place})
        assert added.status == 200
        await curl.fetch("POST", "/_sandbox/faults", {"fault": "slow", "seconds": 0})
        assert [(await curl.fetch()).status for _ in range(3)] == [503, 503, 200]
        first, second = (await curl.fetch("GET", "/_sandbox/faults")).json
        assert first == {
            "fault": "status",
            **place,
            "when": "instead",
            "times": 2,
            "every": 1,
            "after": 0,
            "requests": 3,
            "hits": 2,
        }
        assert (second["operation"], second["when"], second["hits"]) == (None, "before", 1)
        assert (await curl.fetch("DELETE", "/_sandbox/faults")).json == {"removed": 2}
        assert len(sandbox.faults) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"fault": "earthquake"},
        {"fault": "status"},
        {"fault": "status", "status": "503"},
        {"fault": "status", "status": 503, "colour": "red"},
        {"fault": "slow"},
        {"fault": "slow", "seconds": "long"},
        {"fault": "empty", "times": 0},
        {"fault": "empty", "when": "before"},
        {"fault": "empty", "operation": "getNumber"},
    ],
    ids=str,
)
async def test_mistakes_over_http_are_explained(body: object) -> None:
    """A fault that makes no sense is a 400 that says why, and nothing is scripted."""
    async with running_with() as (sandbox, curl):
        seen = await curl.fetch("POST", "/_sandbox/faults", body)
        assert seen.status == 400
        assert seen.json["message"]
        assert len(sandbox.faults) == 0


def test_every_kind_is_documented_and_had_over_http() -> None:
    """The kinds in Python, over HTTP and in docs/sandbox.md are the same."""
    kinds = {name for name, value in vars(Fault).items() if isinstance(value, classmethod)}
    assert kinds == set(FACTORIES)
    documented = re.findall(r"^\| `Fault\.(\w+)\(", DOCS.read_text(), re.MULTILINE)
    assert set(documented) == kinds
