"""Jobs in forked workers, as Celery's prefork pool and gunicorn's workers are.

    pip install sinch-qn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python prefork_jobs.py +12025550134 …

A job starts an event loop, and a client in it. The `OAuth2` outlives both: a worker's jobs share
one token, and a worker inherits that of its parent. A client must not cross a fork: its connections
would have two users.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys

from sinch_qn import OAuth2, QualifiedNumbersClient

AUTH = OAuth2.from_env()


def look_up(phone_number: str) -> str:
    """Return a number and its state: a task, in Celery's words."""

    async def job() -> str:
        async with QualifiedNumbersClient.from_env(auth=AUTH, timeout=10) as client:
            number = await client.get_number(phone_number)
        return f"{phone_number} {number.global_process_state}"

    return asyncio.run(job())


def main(numbers: list[str]) -> None:
    """Look up the first number here, and all of them in two workers."""
    print(look_up(numbers[0]))
    with multiprocessing.get_context("fork").Pool(2) as workers:
        for line in workers.imap(look_up, numbers):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
