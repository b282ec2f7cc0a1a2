"""A FastAPI service with the code desk beside it, on a port of its own.

    pip install 'sinch-qn[desk]' fastapi uvicorn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python desk_beside_fastapi.py

    curl -X POST localhost:8000/numbers/+12025550134        # answers with the link to send

The desk is an aiohttp application, which no ASGI application can mount: it is served by the same
event loop, within the lifespan. Set DESK_URL to where browsers reach its port 8080.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
from sinch_qn.desk import listen, serve_desk


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    """Open run and desk for the service's lifetime."""
    journal = SqliteJournal(os.environ.get("JOURNAL", "service.db"))
    listening = listen("127.0.0.1", int(os.environ.get("DESK_PORT", "8080")))
    async with (
        QualifiedNumbersClient.from_env() as client,
        VoiceChallengeRun(client, journal, on_request=True) as run,
        serve_desk(
            client, journal, listening, public_url=os.environ.get("DESK_URL"), run=run
        ) as desk,
    ):
        if desk.new_secret is not None:
            print(f"{desk.operator_url}: {desk.new_secret}")
        yield {"run": run, "desk": desk}


app = FastAPI(title="Numbers with a code desk", lifespan=lifespan)


@app.post("/numbers/{number}")
async def add(number: str, request: Request) -> dict[str, str]:
    """Add a number; return the link for the person beside its phone."""
    await request.state.run.add([number])
    return {"link": await request.state.desk.person_url(number)}


if __name__ == "__main__":
    uvicorn.run(app, port=8000, access_log=False)
