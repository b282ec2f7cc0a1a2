"""An HTTP service that calls numbers and accepts the codes that people heard.

    pip install sinch-qn fastapi uvicorn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python service.py

    curl localhost:8000/numbers -H 'Content-Type: application/json' \
        -d '{"number": "+12025550134", "ref": "ticket 7"}'                              # the call
    curl localhost:8000/numbers/+12025550134/code -H 'Content-Type: application/json' \
        -d '{"code": "0417"}'
    curl -X POST localhost:8000/numbers/+12025550134/recall                             # missed it
    curl localhost:8000/numbers/+12025550134                                            # verified?

A 202 response means that the request is on disk and survives a restart. A journal belongs to one
process: start one worker. There is no login: add your own, because every caller can start calls.
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
    """Open the run for the service's lifetime; leaving it finishes in-flight requests."""
    journal = SqliteJournal(os.environ.get("JOURNAL", "service.db"))
    async with (
        QualifiedNumbersClient.from_env() as client,
        VoiceChallengeRun(client, journal) as run,
    ):
        yield {"run": run}


app = FastAPI(title="Voice challenges", lifespan=lifespan)


class NewNumber(BaseModel):
    """A number to verify."""

    number: str
    ref: str | None = None


class Code(BaseModel):
    """The code that a person heard: text, because it may begin with 0."""

    code: str


class Standing(BaseModel):
    """The state of a number."""

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
    """Return the state of a number."""
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
    """Queue a number; adding it again starts no second call."""
    report = await run.add([(new.number, new.ref)])
    if report.invalid:
        raise HTTPException(422, report.invalid[0].reason)
    standing = await show(new.number, run)
    if standing.ref != new.ref:
        raise HTTPException(409, "this number was added with another ref")
    return standing


@app.post("/numbers/{number}/code", status_code=202)
async def take_code(number: str, code: Code, run: Run) -> Standing:
    """Accept a code; the number's state shows the result a moment later."""
    await show(number, run)  # or 404
    await run.submit_code(number, code.code)
    return await show(number, run)


@app.post("/numbers/{number}/recall", status_code=202)
async def recall(number: str, run: Run) -> Standing:
    """Call the number again after a missed call."""
    await show(number, run)  # or 404
    await run.recall(number)
    return await show(number, run)


@app.get("/health")
async def health(run: Run) -> dict[str, int]:
    """Respond with 503 once the run has stopped: restart the process then."""
    await run.add([])  # adds nothing; raises the error that stopped the run
    return {state.value: count for state, count in (await run.counts()).items()}


@app.exception_handler(SinchError)
async def failed(_: Request, error: SinchError) -> JSONResponse:
    """Respond with 422 to errors of the caller and with 503 to errors of the service."""
    if isinstance(error, InvalidRequestError):
        return JSONResponse({"detail": error.message}, 422)
    _log.error("the run has stopped: %s", error)
    return JSONResponse({"detail": "out of order"}, 503)


@app.exception_handler(RequestValidationError)
async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    """Report the invalid fields of a body without their values: it may contain a code."""
    detail = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(detail)}, 422)


if __name__ == "__main__":
    # The access log is off: its paths hold phone numbers.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), access_log=False)
