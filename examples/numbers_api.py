"""A FastAPI service over one client per process, which returns models as they are.

    pip install sinch-qn fastapi uvicorn
    export SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=…
    uvicorn --workers 4 --no-access-log numbers_api:app    # that log would have the numbers

    curl localhost:8000/numbers/+12025550134
    curl localhost:8000/numbers?state=VERIFIED

The client is made in the lifespan: after uvicorn has forked, and in the event loop that serves. It
goes through the proxy of HTTPS_PROXY, if that is set. There is no login: add your own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from sinch_qn import CallInfo, GlobalProcessState, Hooks, QualifiedNumber, QualifiedNumbersClient
from sinch_qn.errors import InvalidRequestError, NotFoundError, SinchError

PAGE = 100


class Metrics(Hooks):
    """Counts calls by operation and outcome, for a page or an exporter."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def on_call_end(self, call: CallInfo) -> None:
        """Count one call."""
        self.calls[f"{call.operation} {call.outcome}"] += 1


metrics = Metrics()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, QualifiedNumbersClient]]:
    """Open this process's client for the service's lifetime."""
    async with QualifiedNumbersClient.from_env(
        timeout=10, hooks=[metrics], user_agent="numbers-api/1.0"
    ) as client:
        yield {"client": client}


app = FastAPI(title="Numbers", lifespan=lifespan)


def the_client(request: Request) -> QualifiedNumbersClient:
    """Return the client that `lifespan` opened."""
    client: QualifiedNumbersClient = request.state.client
    return client


Client = Annotated[QualifiedNumbersClient, Depends(the_client)]


@app.get("/numbers/{phone_number}")
async def show(phone_number: str, client: Client) -> QualifiedNumber:
    """Return a number as Sinch has it."""
    return await client.get_number(phone_number)


@app.get("/numbers")
async def listing(client: Client, state: GlobalProcessState) -> list[QualifiedNumber]:
    """Return the first numbers in a state, which may be written without its prefix."""
    found: list[QualifiedNumber] = []
    async with aclosing(client.list_numbers(state, page_size=PAGE)) as numbers:
        async for number in numbers:
            found.append(number)
            if len(found) == PAGE:
                break
    return found


@app.get("/metrics")
async def show_metrics() -> dict[str, int]:
    """Return the counts of this process."""
    return dict(metrics.calls)


@app.exception_handler(SinchError)
async def failed(_: Request, error: SinchError) -> JSONResponse:
    """Respond with the kind of the error; its text names operation and masked number."""
    status = 503
    if isinstance(error, InvalidRequestError):
        status = 422
    elif isinstance(error, NotFoundError):
        status = 404
    return JSONResponse({"detail": str(error), "outcome": error.outcome.value}, status)
