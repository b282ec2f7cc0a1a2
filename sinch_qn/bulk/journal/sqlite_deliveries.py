"""The deliveries in a SQLite journal."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from sinch_qn.bulk.journal.deliveries import CLAIMABLE, Delivery, DeliveryState
from sinch_qn.bulk.journal.sqlite_thread import Connection, DatabaseThread


@attrs.frozen
class SqliteDeliveries:
    """The deliveries in an open journal, each method one transaction."""

    _thread: DatabaseThread

    async def claim(
        self,
        key: str,
        numbers: Collection[str],
        at: float,
        *,
        again_from: Collection[DeliveryState] = CLAIMABLE,
    ) -> int | None:
        """Log the intent to deliver *key*; return its token."""

        def write(database: Connection) -> int | None:
            query = "SELECT state FROM deliveries WHERE key = ?"
            known = database.execute(query, (key,)).fetchone()
            if known is not None and DeliveryState(known[0]) not in again_from:
                return None
            intent = database.next_token()
            database.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, 'sending', ?, NULL)",
                (key, intent, " ".join(numbers), at),
            )
            return intent

        return await self._thread.submit(write, writes=True)

    async def record(
        self, key: str, intent: int, state: DeliveryState, *, note: str | None = None
    ) -> bool:
        """Log the outcome, if *intent* is the last one."""
        query = "UPDATE deliveries SET state = ?, note = ? WHERE key = ? AND intent = ?"
        row = (state.value, note, key, intent)
        return await self._thread.submit(
            lambda database: database.execute(query, row).rowcount == 1, writes=True
        )

    async def all(self) -> list[Delivery]:
        """Return all deliveries, oldest first."""
        query = "SELECT key, intent, numbers, state, at, note FROM deliveries ORDER BY at, intent"

        def read(database: Connection) -> list[Delivery]:
            return [
                Delivery(
                    key=key,
                    intent=intent,
                    numbers=tuple(numbers.split()),
                    state=DeliveryState(state),
                    at=at,
                    note=note,
                )
                for key, intent, numbers, state, at, note in database.execute(query)
            ]

        return await self._thread.submit(read, writes=False)
