"""A Procrastinate task that submits the codes of a web form to a run's journal.

    pip install 'sinch-qn[distributed]'
    export JOURNAL=run.db DATABASE_URL=postgresql://host/database
    procrastinate --app=code_tasks.app schema --apply
    python code_tasks.py                          # the worker, on the machine that has the journal

A form, anywhere, defers `submit.defer_async(phone_number=…, code=…)`: the job waits in PostgreSQL
while that machine is away. A job that is done twice is harmless, because the same code twice is one
code. The queue holds codes in the clear, so jobs that ended are deleted, and arguments not logged.
"""

from __future__ import annotations

import asyncio
import logging
import os

from procrastinate import App, PsycopgConnector, RetryStrategy

from sinch_qn.bulk import SqliteJournal, submit_code
from sinch_qn.errors import InvalidRequestError, JournalError

_log = logging.getLogger("code_tasks")

app = App(connector=PsycopgConnector(conninfo=os.environ.get("DATABASE_URL", "")))

RETRY = RetryStrategy(max_attempts=10, exponential_wait=2, retry_exceptions=[JournalError, OSError])


@app.task(queue="codes", retry=RETRY)
async def submit(phone_number: str, code: str) -> str:
    """Submit a code to the run that calls this number, and return what became of it."""
    journal = SqliteJournal(os.environ.get("JOURNAL", "run.db"))
    await journal.open(None, running=False)  # beside the process that runs it
    try:
        submission = await submit_code(journal, phone_number, code)
    except InvalidRequestError as error:  # trying again would not help
        _log.warning("a code was refused: %s", error)
        return "refused"
    finally:
        await journal.close()
    return submission.value


async def work() -> None:
    """Work on the queue until Ctrl-C."""
    logging.getLogger("procrastinate").setLevel(logging.WARNING)  # its INFO lines have arguments
    async with app.open_async():
        await app.run_worker_async(queues=["codes"], delete_jobs="always")


if __name__ == "__main__":
    asyncio.run(work())
