"""The deliveries in a PostgreSQL journal."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from sinch_qn.bulk.journal.deliveries import CLAIMABLE, Delivery, DeliveryState
from sinch_qn.bulk.journal.postgres_connection import Reply, Statement
from sinch_qn.bulk.journal.postgres_transaction import Job, Transaction, Work, ask
from sinch_qn.bulk.journal.postgres_writer import Writer


@attrs.frozen
class PostgresDeliveries:
    """The deliveries in an open journal, each method one transaction."""

    _writer: Writer
    _run: int

    async def claim(
        self,
        key: str,
        numbers: Collection[str],
        at: float,
        *,
        again_from: Collection[DeliveryState] = CLAIMABLE,
    ) -> int | None:
        """Log the intent to deliver *key*; return its token."""
        query = (
            "INSERT INTO deliveries AS d (run, key, intent, numbers, state, at) "
            "VALUES (%s, %s, %s, %s, 'sending', %s) "
            "ON CONFLICT (run, key) DO UPDATE SET intent = excluded.intent, "
            "numbers = excluded.numbers, state = 'sending', at = excluded.at, note = NULL "
            "WHERE d.state = ANY(%s) RETURNING 1"
        )
        states = [state.value for state in again_from]

        def work(tx: Transaction) -> Work[int | None]:
            intent = tx.next_token()
            row = (tx.run, key, intent, list(numbers), at, states)
            (claimed,) = yield from ask(Statement(query, row))
            return intent if claimed.rows else None

        intent: int | None = await self._writer.commit(Job(work=work))
        return intent

    async def record(
        self, key: str, intent: int, state: DeliveryState, *, note: str | None = None
    ) -> bool:
        """Log the outcome, if *intent* is the last one."""
        query = (
            "UPDATE deliveries SET state = %s, note = %s "
            "WHERE run = %s AND key = %s AND intent = %s"
        )

        def work(tx: Transaction) -> Work[bool]:
            row = (state.value, note, tx.run, key, intent)
            (recorded,) = yield from ask(Statement(query, row))
            return recorded.count == 1

        return bool(await self._writer.commit(Job(work=work)))

    async def all(self) -> list[Delivery]:
        """Return all deliveries, oldest first."""
        query = (
            "SELECT key, intent, numbers, state, at, note FROM deliveries "
            "WHERE run = %s ORDER BY at, intent"
        )
        return await self._writer.read([Statement(query, (self._run,))], _to_deliveries)


def _to_deliveries(replies: list[Reply]) -> list[Delivery]:
    return [
        Delivery(
            key=key,
            intent=intent,
            numbers=tuple(numbers),
            state=DeliveryState(state),
            at=at,
            note=note,
        )
        for key, intent, numbers, state, at, note in replies[0].rows
    ]
