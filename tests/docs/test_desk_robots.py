"""The robots in `examples/` that hand in codes at the code desk, with recorded requests."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from examples import desk_transcripts, desk_twilio_gather
from sinch_qn.bulk import ChallengeState
from sinch_qn.desk.links import Link, Subject
from tests.support.desk_world import NUMBERS, DeskWorld, desk_world, until

NUMBER = NUMBERS[0]
SCRIPT = Path(__file__).parents[2] / "examples/desk_agi.py"
WORDS = "zero one two three four five six seven eight nine".split()
IVR = "https://ivr.example"
TOKEN = "12345"

# What Asterisk 20 writes to a script, with a made-up call.
AGI = """agi_request: desk_agi.py
agi_channel: PJSIP/shop-00000001
agi_language: en
agi_type: PJSIP
agi_uniqueid: 1790000000.1
agi_version: 20.5.0
agi_callerid: {number}
agi_context: desk
agi_extension: 700
agi_priority: 2
agi_enhanced: 0.0
agi_arg_1: {number}

"""
TWILIO = {
    "CallSid": "CA00000000000000000000000000000001",
    "AccountSid": "AC00000000000000000000000000000001",
    "From": NUMBER,
    "To": "+12025550100",
    "CallStatus": "in-progress",
    "ApiVersion": "2010-04-01",
    "Direction": "inbound",
}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DeskWorld]:
    """Run a desk where NUMBER was called, and give robots its address and a token."""
    async with desk_world([NUMBER]) as world:
        await world.desk.request_call(NUMBER, 0)
        await world.rang()
        monkeypatch.setenv("DESK_URL", world.base)
        monkeypatch.setenv("DESK_TOKEN", await world.desk.tokens.make("robot"))
        monkeypatch.setenv("PUBLIC_URL", IVR)
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        monkeypatch.setenv("CALLBACK_SECRET", "s3cret")
        yield world


async def is_verified(world: DeskWorld) -> None:
    """Wait until NUMBER is verified."""

    async def verified() -> bool:
        return (await world.entry()).state is ChallengeState.VERIFIED

    await until(verified)
    assert world.rings() == 1


async def run_agi(text: str) -> tuple[str, str, int | None]:
    """Run the script on what Asterisk sends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        SCRIPT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    )
    out, err = await asyncio.wait_for(process.communicate(text.encode()), 30)
    return out.decode(), err.decode(), process.returncode


async def test_asterisk_hands_in_a_code(world: DeskWorld) -> None:
    """Nothing typed, then the code: asked twice, thanked, verified."""
    code = world.sandbox.code_for(NUMBER)
    answers = f"200 result= (timeout)\n200 result={code}\n200 result=0 endpos=8000\n"
    out, err, status = await run_agi(AGI.format(number=NUMBER) + answers)
    assert out.splitlines() == [
        "GET DATA desk-enter-code 10000 12",
        "GET DATA desk-enter-code 10000 12",
        'STREAM FILE desk-thanks ""',
    ]
    assert (err, status) == ("", 0)
    await is_verified(world)


@pytest.mark.parametrize("ending", ["200 result=-1\n", "HANGUP\n", ""])
async def test_a_caller_of_asterisk_hangs_up(world: DeskWorld, ending: str) -> None:
    """The script ends quietly, and no code is tried."""
    out, err, status = await run_agi(AGI.format(number=NUMBER) + ending)
    assert (len(out.splitlines()), err, status) == (1, "", 0)
    assert (await world.entry()).codes_used == 0


async def test_twilio_hands_in_what_is_typed_or_said(world: DeskWorld) -> None:
    """Twilio asks, hears something unclear, hears the code in words, and the number is verified."""
    said = ", ".join(WORDS[int(digit)] for digit in str(world.sandbox.code_for(NUMBER)))
    async with TestClient(TestServer(desk_twilio_gather.make_app())) as client:

        async def post(path: str, **heard: str) -> tuple[int, str]:
            form = TWILIO | heard
            signed = desk_twilio_gather.signature(TOKEN, IVR + path, form)
            headers = {"X-Twilio-Signature": signed}
            async with client.post(path, data=form, headers=headers) as response:
                return response.status, await response.text()

        status, text = await post("/voice")
        assert (status, f'action="{IVR}/code"' in text) == (200, True)
        for heard in ({}, {"SpeechResult": "hello?"}, {"SpeechResult": "4711 or 4712"}):
            status, text = await post("/code", **heard)
            assert (status, "<Gather" in text) == (200, True)
        assert (await world.entry()).codes_used == 0
        status, text = await post("/code", SpeechResult=f"It is {said}.")
        assert (status, "<Gather" not in text, "Thank you" in text) == (200, True, True)
        await is_verified(world)
        form = TWILIO | {"Digits": "4711"}
        for signed in ("", "x", desk_twilio_gather.signature("other", f"{IVR}/code", form)):
            headers = {"X-Twilio-Signature": signed}
            async with client.post("/code", data=form, headers=headers) as response:
                assert response.status == 403


def test_the_signature_is_twilios() -> None:
    """The example of Twilio's documentation has the signature that is printed there."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert desk_twilio_gather.signature("12345", url, form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


async def test_a_speech_to_text_service_calls_back(world: DeskWorld) -> None:
    """Parts, the whole, and the whole again: one code is tried."""
    said = " ".join(WORDS[int(digit)] for digit in str(world.sandbox.code_for(NUMBER)))
    id_ = world.desk.links.seal(Link(Subject.API, NUMBER))
    results = []
    async with TestClient(TestServer(desk_transcripts.make_app())) as client:
        for text in ("hello", f"Your code is {said}", f"Your code is {said}"):
            async with client.post(
                f"/transcripts/{id_}",
                json={"text": text, "language": "en-US"},
                headers={"Authorization": "Bearer s3cret"},
            ) as response:
                results.append((await response.json())["result"])
        async with client.post(f"/transcripts/{id_}", json={"text": "4711"}) as response:
            assert response.status == 401
    assert results[:2] == ["urn:sinch-qn:desk:no-code-in-transcript", "accepted"]
    assert results[2] in ("duplicate", "urn:sinch-qn:desk:wrong-state")
    await is_verified(world)
