"""The sandbox's faults: the requests they apply to, the work done and the responses sent."""

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
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "sandbox.md"


@asynccontextmanager
async def running_with(*faults: Fault, **settings: Any) -> AsyncIterator[tuple[Sandbox, Curl]]:
    """Run a sandbox with one number, and with *faults* for all operations."""
    async with running(**settings) as (sandbox, curl):
        sandbox.add([NUMBER])
        for fault in faults:
            sandbox.faults.add(fault)
        yield sandbox, curl


# ---- schedule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "applied"),
    [
        ({}, "########"),
        ({"times": 3}, "###....."),
        ({"every": 3}, "..#..#.."),
        ({"after": 5}, ".....###"),
        ({"after": 1, "every": 2, "times": 2}, "..#.#..."),
    ],
    ids=str,
)
async def test_schedules(schedule: Any, applied: str) -> None:
    """A fault skips m requests, then applies to each k-th, up to its limit."""
    async with running_with() as (sandbox, _):
        scripted = sandbox.faults.add(Fault.empty(**schedule))
        hits = [sandbox.faults.match("getQualifiedNumber", "") for _ in applied]
        assert "".join(".#"[hit is not None] for hit in hits) == applied
        assert (scripted.requests, scripted.hits) == (len(applied), applied.count("#"))


async def test_a_fault_is_of_its_operation_and_number() -> None:
    """A fault applies to its operation and number; without either, to all but tokens."""
    faults = Sandbox().faults
    for place, expected in {
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
        assert "".join(hit) == expected, place


def test_a_misspelt_operation_is_refused() -> None:
    """A fault for an unknown operation is a KeyError."""
    with pytest.raises(KeyError, match="getNumber"):
        Sandbox().faults.add(Fault.empty(), operation="getNumber")


def test_the_first_fault_that_strikes_is_it() -> None:
    """Of several faults the first that applies is used; the others count the request too."""
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
    """A fault that can never apply, or cannot be sent, is rejected when it is made."""
    with pytest.raises((TypeError, ValueError)):
        make()


# ---- work ----------------------------------------------------------------------------------------


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
    """`when` decides whether the phone rings; `calls` counts the request, `done` the work."""
    async with running_with(fault) as (sandbox, _), sandbox.client(retry=ONCE) as client:
        (result,) = await asyncio.gather(
            client.send_voice_challenge(NUMBER), return_exceptions=True
        )
        assert (result.outcome if isinstance(result, SinchError) else None) is outcome
        assert sandbox.calls.count("sendVoiceChallenge", NUMBER) == 1
        assert sandbox.done.count("sendVoiceChallenge", NUMBER) == rings
        assert sandbox.world.rings(NUMBER) == rings


async def test_work_that_is_refused_is_not_done() -> None:
    """`done` counts neither rejected nor invalid requests."""
    async with running_with() as (sandbox, curl):
        await curl.fetch(path=f"/qualifiedNumbers/{OTHER}")
        await curl.fetch(path="/qualifiedNumbers/me")
        assert sandbox.calls.total("getQualifiedNumber") == 2
        assert sandbox.done.total("getQualifiedNumber") == 0


async def test_a_slow_answer_is_slow_before_or_after_the_work() -> None:
    """At the deadline the phone has rung only if the delay comes after the work."""
    for fault, rings in ((Fault.slow(30.0), 0), (Fault.slow(30.0, when="after"), 1)):
        async with running_with(fault) as (sandbox, _), sandbox.client() as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.send_voice_challenge(NUMBER, timeout=0.2)
            assert sandbox.world.rings(NUMBER) == rings


async def test_tokens_revoked_in_mid_run_cost_one_request() -> None:
    """All calls with a revoked token continue with one new token."""
    async with running_with() as (sandbox, _), sandbox.client() as client:
        sandbox.faults.add(Fault.revoked(after=50, times=1))
        for _ in range(10):
            await asyncio.gather(*(client.get_number(NUMBER) for _ in range(10)))
        assert sandbox.done.total("token") == 2


async def test_no_call_is_lost_to_a_token_endpoint_that_recovers() -> None:
    """All calls that wait for a token share the one that the second attempt returns."""
    async with running_with() as (sandbox, _), sandbox.client() as client:
        sandbox.faults.add(Fault.status(503, times=1), operation="token")
        await asyncio.gather(*(client.get_number(NUMBER) for _ in range(300)))
        assert sandbox.calls.total("token") == 2
        assert sandbox.done.total("getQualifiedNumber") == 300


async def test_a_sandbox_ends_in_the_middle_of_its_faults() -> None:
    """A sandbox ends promptly while it sends a response or delays one."""
    started = asyncio.get_running_loop().time()
    async with running_with(Fault.endless(times=1), Fault.slow(60.0)) as (sandbox, curl):
        await curl.fetch()
        async with sandbox.client() as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.get_number(NUMBER, timeout=0.1)
    assert asyncio.get_running_loop().time() - started < 10


# ---- response ------------------------------------------------------------------------------------


async def test_a_status_comes_with_headers_and_body() -> None:
    """Text is sent unchanged, other bodies as JSON; the default error has the API's format."""
    async with running_with(
        Fault.status(418, headers={"X-A": "b"}, body="short", times=1),
        Fault.status(418, body={"a": [1]}, times=1),
        Fault.status(503, times=1),
        Fault.status(599, times=1),
        Fault.status(204, times=1),
    ) as (_, curl):
        response = await curl.fetch()
        assert (response.status, response.headers["X-A"], response.body) == (418, "b", b"short")
        response = await curl.fetch()
        assert (response.json, response.headers["Content-Type"]) == ({"a": [1]}, "application/json")
        assert (await curl.fetch()).json["status"] == "UNAVAILABLE"
        assert (await curl.fetch()).json["code"] == "599"
        assert (await curl.fetch()).body == b""


async def test_limits() -> None:
    """A 429 has `Retry-After` in seconds, as a date relative to its `Date`, or not at all."""
    async with running_with(
        Fault.limited(times=1), Fault.limited(7, times=1), Fault.limited(7, as_date=True)
    ) as (_, curl):
        assert "Retry-After" not in (await curl.fetch()).headers
        assert (await curl.fetch()).headers["Retry-After"] == "7"
        response = await curl.fetch()
        dates = [parsedate_to_datetime(response.headers[name]) for name in ("Date", "Retry-After")]
        assert 6 <= (dates[1] - dates[0]).total_seconds() <= 8


async def test_bodies_that_cannot_be_read() -> None:
    """HTML, empty, truncated, invalid, endless, an error in a 200, a redirect: each as named."""
    async with running_with(
        Fault.html(502, when="instead", times=1),
        Fault.empty(times=1),
        Fault.bad_json(times=1),
        Fault.error_in_200(times=1),
        Fault.redirect("https://there.invalid/", status=307, times=1),
        Fault.truncated(times=1),
        Fault.endless(times=1),
    ) as (sandbox, curl):
        response = await curl.fetch()
        assert (response.status, response.headers["Content-Type"]) == (502, "text/html")
        response = await curl.fetch()
        assert (response.status, response.body) == (200, b"")
        with pytest.raises(json.JSONDecodeError):
            assert (await curl.fetch()).json
        assert (await curl.fetch()).json["error"]["status"] == "INTERNAL"
        response = await curl.fetch()
        assert (response.status, response.headers["Location"]) == (307, "https://there.invalid/")
        response = await curl.fetch()
        assert response.broken
        assert 0 < len(response.body) < int(response.headers["Content-Length"])
        assert len((await curl.fetch()).body) >= 1_000_000
        assert (await curl.fetch()).json["phoneNumber"] == NUMBER
        assert sandbox.done.total("getQualifiedNumber") == 5


async def test_a_gzip_bomb_is_one() -> None:
    """The body expands to a thousand times its size."""
    async with running_with(Fault.gzip_bomb()) as (_, curl):
        response = await curl.fetch()
        assert response.headers["Content-Encoding"] == "gzip"
        unpacked = zlib.decompressobj(wbits=31).decompress(response.body)
        assert len(unpacked) == 1_000_000
        assert int(response.headers["Content-Length"]) < 11_000_000


async def test_bodies_that_are_odd() -> None:
    """Unknown enums, nulls, new fields, no id: the rest of the response is unchanged."""
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
    """Faults that change JSON leave an empty body unchanged."""
    async with running_with(Fault.nulls()) as (_, curl):
        response = await curl.fetch("DELETE")
        assert (response.status, response.body) == (200, b"")


async def test_a_fault_of_your_own() -> None:
    """A function from the normal response to the one to send is a fault."""

    def shout(answer: Answer) -> Answer:
        return Answer.of(b"".join(answer.pieces).upper(), headers=answer.headers)

    async with running_with(Fault(transform=shout, times=1)) as (sandbox, curl):
        assert (await curl.fetch()).json["PHONENUMBER"] == NUMBER
        assert [(each.fault.kind, each.hits) for each in sandbox.faults] == [("custom", 1)]


# ---- over HTTP -----------------------------------------------------------------------------------


async def test_faults_over_http() -> None:
    """The control API adds faults, lists them with their hits, and removes them."""
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
    """An invalid fault is a 400 with the reason, and is not added."""
    async with running_with() as (sandbox, curl):
        response = await curl.fetch("POST", "/_sandbox/faults", body)
        assert response.status == 400
        assert response.json["message"]
        assert len(sandbox.faults) == 0


def test_every_kind_is_documented_and_had_over_http() -> None:
    """Python, the control API and docs/reference/sandbox.md have the same kinds of faults."""
    kinds = {name for name, value in vars(Fault).items() if isinstance(value, classmethod)}
    assert kinds == set(FACTORIES)
    documented = re.findall(r"^\| `Fault\.(\w+)\(", DOCS.read_text(), re.MULTILINE)
    assert set(documented) == kinds
