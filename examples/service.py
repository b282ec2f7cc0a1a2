"""An HTTP service that rings phones and takes the codes that people heard.

    pip install sinch-qn fastapi uvicorn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python service.py

    curl localhost:8000/numbers -H 'Content-Type: application/json' \
        -d '{"number": "+12025550134", "ref": "ticket 7"}'                              # it rings
    curl localhost:8000/numbers/+12025550134/code -H 'Content-Type: application/json' \
        -d '{"code": "0417"}'
    curl -X POST localhost:8000/numbers/+12025550134/recall                             # missed it
    curl localhost:8000/numbers/+12025550134                                            # verified?

What was answered with 202 is on disk, and goes on after a restart. One process runs a journal:
start one worker. There is no login here: put yours in front, as everybody it lets in rings phones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import ChallengeState, SqliteJournal, VoiceChallengeRun
from sinch_qn.errors import InvalidRequestError, SinchError

_log = logging.getLogger("service")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, VoiceChallengeRun]]:
    """Run while the service does; leaving lets calls in flight finish."""
    journal = SqliteJournal(os.environ.get("JOURNAL", "service.db"))
    async with (
        QualifiedNumbersClient.from_env() as client,
        VoiceChallengeRun(client, journal) as run,
    ):
        yield {"run": run}


app = FastAPI(title="Voice challenges", lifespan=lifespan)


class NewNumber(BaseModel):
    """A phone to ring."""

    number: str
    ref: str | None = None


class Code(BaseModel):
    """What a person heard: text, as it may begin with 0."""

    code: str


class Standing(BaseModel):
    """Where a number is."""

    number: str
    ref: str | None
    state: ChallengeState
    settled: bool
    calls: int
    note: str | None


def the_run(request: Request) -> VoiceChallengeRun:
    """Return the run that `lifespan` opened."""
    run: VoiceChallengeRun = request.state.run
    return run


Run = Annotated[VoiceChallengeRun, Depends(the_run)]


@app.get("/numbers/{number}")
async def show(number: str, run: Run) -> Standing:
    """Say where a number is."""
    entry = await run.result(number)
    if entry is None:
        raise HTTPException(404, "this number was never added")
    return Standing(
        number=entry.number,
        ref=entry.ref,
        state=entry.state,
        settled=entry.state.settled,
        calls=entry.attempt,
        note=entry.note,
    )


@app.post("/numbers", status_code=202)
async def add(new: NewNumber, run: Run) -> Standing:
    """Ring a number when its turn comes; asking twice rings once."""
    report = await run.add([(new.number, new.ref)])
    if report.invalid:
        raise HTTPException(422, report.invalid[0].reason)
    standing = await show(new.number, run)
    if standing.ref != new.ref:
        raise HTTPException(409, "this number was added with another ref")
    return standing


@app.post("/numbers/{number}/code", status_code=202)
async def take_code(number: str, code: Code, run: Run) -> Standing:
    """Take a code; whether it is right shows a moment later."""
    await show(number, run)  # or 404
    await run.submit_code(number, code.code)
    return await show(number, run)


@app.post("/numbers/{number}/recall", status_code=202)
async def recall(number: str, run: Run) -> Standing:
    """Ring once more: "I missed it"."""
    await show(number, run)  # or 404
    await run.recall(number)
    return await show(number, run)


@app.get("/health")
async def health(run: Run) -> dict[str, int]:
    """Answer 503 once the run has stopped: then this process is to be started again."""
    await run.add([])  # adds nothing, and raises what stopped the run
    return {state.value: count for state, count in (await run.counts()).items()}


@app.exception_handler(SinchError)
async def failed(_: Request, error: SinchError) -> JSONResponse:
    """Answer 422 to what the caller can mend, and 503 to what only we can."""
    if isinstance(error, InvalidRequestError):
        return JSONResponse({"detail": error.message}, 422)
    _log.error("the run cannot go on: %s", error)
    return JSONResponse({"detail": "out of order"}, 503)


@app.exception_handler(RequestValidationError)
async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    """Say what is wrong with a body, without repeating it: it may hold a code."""
    detail = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(detail)}, 422)


if __name__ == "__main__":
    # The access log is off: its paths hold phone numbers.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), access_log=False)
