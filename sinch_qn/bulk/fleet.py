"""Shifts: Procrastinate places whole runners on hosts, and replaces those that are gone.

A job is a *shift*: one runner for some minutes, never a number. Who works is decided here; what is
done, by the journal: a shift too many is one more runner, one too few is only slower.
Procrastinate's own tables are in the schema `procrastinate`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from sinch_qn.bulk.journal.postgres_control import PostgresControl
from sinch_qn.bulk.journal.postgres_url import parse_url
from sinch_qn.bulk.run import VoiceChallengeRun
from sinch_qn.errors import JournalError

_SCHEMA: Final = "procrastinate"
_EVERY_5_SECONDS: Final = "* * * * * */5"
_MAX_CONNECTIONS: Final = 4
"""Of a worker process, beside those of its runner."""


class Fleet:
    """The shifts of the run at *url*; each worker process of it works one shift at a time.

    *make_run* makes the run of a shift with its client, from this process's environment: a job has
    the run's name and no credentials. *wanted* runners work at the same time, each for *shift*
    seconds at most; give all worker processes of a run the same. Needs the extra
    `sinch-qn[distributed]`.
    """

    def __init__(
        self,
        url: str,
        make_run: Callable[[], AbstractAsyncContextManager[VoiceChallengeRun]],
        *,
        wanted: int,
        shift: float = 900.0,
        allow_insecure: bool = False,
    ) -> None:
        self._address = parse_url(url, allow_insecure=allow_insecure)
        self._control = PostgresControl(url, allow_insecure=allow_insecure)
        self._make_run = make_run
        self._wanted, self._shift_length = wanted, shift
        self.app = App(
            connector=PsycopgConnector(
                conninfo=self._address.conninfo,
                kwargs={"options": f"-c search_path={_SCHEMA} -c TimeZone=UTC"},
                min_size=1,
                max_size=_MAX_CONNECTIONS,
            )
        )
        """For Procrastinate's shell, its Django admin, or to defer a shift from elsewhere."""
        run = self._address.run
        self._shifts, self._care = f"sinch_qn shifts {run}", f"sinch_qn care {run}"
        self._shift = self.app.task(name="sinch_qn.shift", queue=self._shifts)(self._work_shift)
        # A queueing lock and no `lock`: one that was killed while it ran must not block the next.
        tend = self.app.task(name="sinch_qn.tend", queue=self._care, queueing_lock=self._care)
        self.app.periodic(cron=_EVERY_5_SECONDS, periodic_id=run)(tend(self._tend))

    async def init(self) -> None:
        """Create Procrastinate's tables, if there are none. Raises `JournalError`."""
        connector = self.app.connector
        try:
            async with self.app.open_async():
                await connector.execute_query_async(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
                query = f"SELECT to_regclass('{_SCHEMA}.procrastinate_jobs') AS name"
                if (await connector.execute_query_one_async(query))["name"] is None:
                    tables = await asyncio.to_thread(self.app.schema_manager.get_schema)
                    await connector.execute_query_async(tables.replace("%", "%%"))
        except ConnectorException as error:
            raise self._address.explain("cannot be prepared for shifts", error) from None

    async def work(self) -> None:
        """Work shifts until this is cancelled: the runner then finishes what is in flight."""
        async with self.app.open_async(), asyncio.TaskGroup() as group:
            for queue in (self._shifts, self._care):
                worker = self.app.run_worker_async(
                    queues=[queue],
                    name=queue,
                    concurrency=1,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0.0,
                )
                group.create_task(worker)

    async def _work_shift(self, run: str) -> None:
        """Be a runner until nothing is left to do, or the shift ends."""
        if run != self._address.run:
            raise JournalError(f"this worker is not one of the run {run!r}")
        with suppress(TimeoutError):
            async with self._make_run() as voice_run, asyncio.timeout(self._shift_length):
                await voice_run.finish()

    async def _tend(self, timestamp: int) -> None:  # noqa: ARG002 - Procrastinate's signature
        await self.tend()

    async def tend(self) -> None:
        """Defer as many shifts as runners are missing by their leases: one worker does so, often.

        None if nothing is left to do, or if a runner stopped the run.
        """
        standing = await self._control.standing()
        if standing.stopped is not None or not standing.has_open_numbers:
            return
        working = sum(runner.lease_left > 0 for runner in standing.runners)
        for nth in range(self._wanted - working):
            lock = f"{self._shifts} {nth}"
            with suppress(AlreadyEnqueued):
                await self._shift.configure(queueing_lock=lock).defer_async(run=self._address.run)
