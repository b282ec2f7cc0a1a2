"""The event stream of the desk's HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from sinch_qn.desk.links import Link, Subject
from tests.support.desk_world import NUMBERS, DeskWorld, desk_world

NUMBER, SECOND, _ = NUMBERS


@pytest.fixture
async def world() -> AsyncIterator[DeskWorld]:
    """Run a desk with two numbers."""
    async with desk_world([NUMBER, SECOND]) as world:
        yield world


class Stream:
    """Reads server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self) -> tuple[str, Any, str]:
        """Return name, data and id of the next event; comments are skipped."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                name, _, value = line.partition(": ")
                if name and value and name != "retry":
                    fields[name] = value
                elif not line and "data" in fields:
                    return fields["event"], orjson.loads(fields["data"]), fields.get("id", "")
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def following(
    world: DeskWorld, *numbers: str, token: str = "", seen: str = ""
) -> AsyncIterator[Stream]:
    """Open a stream about *numbers*."""
    token = token or await world.desk.tokens.make(f"t{id(object())}")
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": seen} if seen else {})
    ids = [("id", world.desk.links.seal(Link(Subject.API, number))) for number in numbers]
    url = f"{world.base}/api/v1/events"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params=ids, headers=headers) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Stream(response)


async def test_numbers_are_followed(world: DeskWorld) -> None:
    """Each number comes as it is, then what changes; no number is in the URL."""
    async with following(world, NUMBER, SECOND) as stream:
        first, second = await stream.event(), await stream.event()
        assert [first[0], second[0]] == ["number", "number"]
        assert {first[1]["number"], second[1]["number"]} == {NUMBER, SECOND}
        assert NUMBER[1:] not in str(stream.response.url)
        await world.desk.request_call(NUMBER, 0)
        state = ""
        while state != "awaiting_code":
            name, data, _ = await stream.event()
            assert (name, data["number"]) == ("number", NUMBER)
            state = data["state"]
    assert world.rings() == 1


async def test_a_stream_is_resumed(world: DeskWorld) -> None:
    """With the id of the last event nothing is repeated until something changed, then all is."""
    async with following(world, NUMBER, SECOND) as stream:
        _, _, none = await stream.event()
        _, _, last = await stream.event()
    assert (none, len(last)) == ("", 16)
    async with following(world, NUMBER, SECOND, seen=last) as stream:
        lines = [await stream.response.content.readline() for _ in range(3)]
        assert lines == [b"retry: 2000\n", b"\n", b":\n"]
        await world.desk.request_call(SECOND, 0)
        _, data, _ = await stream.event()
        assert data["number"] == SECOND
        await world.rang(SECOND)
    async with following(world, NUMBER, SECOND, seen=last) as stream:
        found = [(await stream.event())[1] for _ in range(2)]
    assert {each["number"] for each in found} == {NUMBER, SECOND}


async def test_counts_are_followed(world: DeskWorld) -> None:
    """Without ids the stream has the counts."""
    async with following(world) as stream:
        name, data, _ = await stream.event()
        assert (name, data["pending"]) == ("counts", 2)
        await world.desk.request_call(NUMBER, 0)
        while data.get("awaiting_code") != 1:
            name, data, _ = await stream.event()
            assert name == "counts"


async def test_a_stream_ends_with_its_token(world: DeskWorld) -> None:
    """A token that is revoked gets no more events, also in streams that are open."""
    token = await world.desk.tokens.make("ivr")
    async with following(world, NUMBER, token=token) as stream:
        await stream.event()
        await world.desk.tokens.revoke("ivr")
        await world.desk.request_call(NUMBER, 0)
        async with asyncio.timeout(20):
            assert b"event" not in await stream.response.content.read()


async def test_unknown_ids_and_too_many_are_refused(world: DeskWorld) -> None:
    """Refused before the stream begins."""
    token = await world.desk.tokens.make("ivr")
    headers = {"Authorization": f"Bearer {token}"}
    other = world.desk.links.seal(Link(Subject.API, "+12025550199"))
    page = world.desk.links.seal(Link(Subject.NUMBER, NUMBER))
    many = [("id", str(at)) for at in range(101)]
    async with aiohttp.ClientSession() as session:
        for params, status in (
            ([("id", "x")], 404),
            ([("id", other)], 404),
            ([("id", page)], 404),
            (many, 400),
        ):
            url = f"{world.base}/api/v1/events"
            async with session.get(url, params=params, headers=headers) as response:
                assert response.status == status
