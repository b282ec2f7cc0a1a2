"""The requests of a run that must not be repeated, each an `UnsafeWrite` for `at_most_once`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from sinch_qn._pipeline import PreparedCall
from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal.protocol import Batch, BatchState, Journal
from sinch_qn.bulk.order_records import OrderRecord, order_name, save_record
from sinch_qn.bulk.permits import Turn
from sinch_qn.bulk.states import Change, Entry, Event
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import ConflictError, ConnectError, NotFoundError, SinchError, StatusError
from sinch_qn.models import (
    QualifiedNumber,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.preflight import OrderRequest, letter_of
from sinch_qn.retry import ONE_SHOT

SENDING = (BatchState.SENDING,)

IN_FLIGHT = (BatchState.SENDING, BatchState.UNKNOWN)
"""From which an order's own process records its outcome: others may have taken it for dead."""

_NOTE_CUT_OFF = "cut off when the run was left"


async def get_number(client: QualifiedNumbersClient, number: str) -> QualifiedNumber | SinchError:
    """Return *number* as Sinch has it, or the error that came instead."""
    try:
        return await client.get_number(number)
    except SinchError as error:
        return error


@attrs.define(kw_only=True)
class _Write:
    client: QualifiedNumbersClient
    journal: Journal
    clock: Callable[[], float]


@attrs.define(kw_only=True)
class VoiceCall(_Write):
    """Calls a phone."""

    code_timeout: float
    turn: Turn
    opens_in: Callable[[str, float], float] | None = None

    async def commit_intent(self) -> Entry | None:
        """Commit the intent to call the number that is due longest; None if there is none."""
        return await self.journal.start_call(self.turn, self.opens_in)

    async def send(self, intent: Entry, prepared: PreparedCall) -> QualifiedNumber:
        """Request the call; a 404 counts only if a look-up confirms it."""
        try:
            return await self.client.send_voice_challenge(
                intent.number, retry=ONE_SHOT, prepared=prepared
            )
        except NotFoundError as not_found:
            found = await get_number(self.client, intent.number)
            if isinstance(found, NotFoundError):
                raise
            if isinstance(found, QualifiedNumber):
                message = f"{not_found.message} (though a look-up finds it)"
                raise ConflictError(message, status_code=not_found.status_code) from not_found
            raise ConnectError(f"not found, and the look-up failed: {found.reason}") from not_found

    async def withdraw(self, intent: Entry) -> None:
        """Make the number due for another call."""
        await self._commit(intent, Event.CALL_NOT_SENT)

    async def mark_unknown(self, intent: Entry) -> None:
        """Record that the phone may have rung."""
        await self._commit(intent, Event.CALL_UNKNOWN)

    async def _commit(self, intent: Entry, event: Event) -> None:
        change = Change(
            number=intent.number,
            event=event,
            at=self.clock(),
            intent=intent.intent,
            window=self.code_timeout,
            note=_NOTE_CUT_OFF,
        )
        await self.journal.apply([change])


@attrs.define(kw_only=True)
class CodeVerification(_Write):
    """Sends the oldest code that waits."""

    on_intent: Callable[[], None]
    outcome: Callable[[tuple[Entry, str], QualifiedNumber | SinchError], Change]
    """Returns the change that a response leads to."""
    _refusal: StatusError | None = None

    async def commit_intent(self) -> tuple[Entry, str] | None:
        """Take the code; None if none waits any more."""
        taken = await self.journal.take_code()
        self.on_intent()
        return taken

    async def send(self, intent: tuple[Entry, str], prepared: PreparedCall) -> QualifiedNumber:
        """Send the code; after a refusal, a final state in a look-up has precedence."""
        entry, code = intent
        try:
            return await self.client.verify_voice_challenge(
                entry.number, code, retry=ONE_SHOT, prepared=prepared
            )
        except StatusError as error:
            if not outcomes.is_refusal(error):
                raise
            self._refusal = error
            found = await get_number(self.client, entry.number)
            if isinstance(found, QualifiedNumber) and outcomes.is_final(found):
                return found
            raise

    async def withdraw(self, intent: tuple[Entry, str]) -> None:
        """Put the code back into the inbox."""
        await self._commit(intent, Event.CODE_NOT_SENT)

    async def mark_unknown(self, intent: tuple[Entry, str]) -> None:
        """Record that the code may be used up."""
        await self._commit(intent, Event.VERIFY_UNKNOWN)

    async def _commit(self, intent: tuple[Entry, str], event: Event) -> None:
        entry, _ = intent
        change = Change(
            number=entry.number,
            event=event,
            at=self.clock(),
            intent=entry.intent,
            note=_NOTE_CUT_OFF,
        )
        if self._refusal is not None:  # known already: only its look-up was cut off
            change = self.outcome(intent, self._refusal)
        await self.journal.apply([change])


@attrs.define(kw_only=True)
class NumberAddition(_Write):
    """Adds numbers to the project."""

    entries: Sequence[Entry]
    due: float

    async def commit_intent(self) -> list[Entry] | None:
        """Commit the intents; None if all numbers were added before."""
        changes = [self._change(entry, Event.ADD) for entry in self.entries]
        return [e for e in await self.journal.apply(changes) if e is not None] or None

    async def send(self, intent: list[Entry], prepared: PreparedCall) -> list[QualifiedNumber]:
        """Add the numbers."""
        numbers = [entry.number for entry in intent]
        return await self.client.add_numbers(numbers, retry=ONE_SHOT, prepared=prepared)

    async def withdraw(self, intent: list[Entry]) -> None:
        """Record that the numbers were not added."""
        await self.journal.apply(self.not_sent(intent))

    async def mark_unknown(self, intent: list[Entry]) -> None:
        """Record nothing: the numbers are looked up once due, and never added again."""

    def not_sent(self, intent: Sequence[Entry]) -> list[Change]:
        """Return the changes that take the intents back."""
        return [self._change(entry, Event.ADD_NOT_SENT, entry.intent) for entry in intent]

    def _change(self, entry: Entry, event: Event, intent: int | None = None) -> Change:
        now = self.clock()
        return Change(number=entry.number, event=event, at=now, intent=intent, due=self.due)


@attrs.define(kw_only=True)
class TextEnableOrder(_Write):
    """Orders SMS for one batch."""

    request: OrderRequest
    region: str | None
    limit: int
    token: str
    """What makes the names of this journal's orders unique."""

    async def commit_intent(self) -> Batch | None:
        """Claim verified numbers for a batch, and record its name; None if there are none."""
        toll_free = isinstance(self.request, TextEnableTollFreeNumbersRequest)
        batch = await self.journal.claim_batch(
            toll_free=toll_free, region=self.region, limit=self.limit, at=self.clock()
        )
        if batch is not None:
            await save_record(self.journal, batch.id, self._record_of(batch))
        return batch

    def _record_of(self, batch: Batch) -> OrderRecord:
        request, letter = self.request, letter_of(self.request)
        campaign = request.campaign_id if isinstance(request, TextEnableNumbersRequest) else None
        return OrderRecord(
            name=self._name(batch),
            service_plan_id=request.service_plan_id,
            campaign_id=campaign,
            signer=None if letter is None else letter.masked_recipient,
        )

    def _name(self, batch: Batch) -> str:
        return order_name(self.request.display_name, self.token, batch.id)

    async def send(self, intent: Batch, prepared: PreparedCall) -> str:
        """Place the order; return its id."""
        numbers, name = list(intent.numbers), self._name(intent)
        if isinstance(self.request, TextEnableNumbersRequest):
            request = attrs.evolve(
                self.request, numbers=numbers, region_code=intent.region, display_name=name
            )
            return await self.client.text_enable_numbers(request, retry=ONE_SHOT, prepared=prepared)
        order = await self.client.text_enable_toll_free_numbers(
            attrs.evolve(self.request, numbers=numbers, display_name=name),
            retry=ONE_SHOT,
            prepared=prepared,
        )
        return str(order.hosting_order_id)

    async def withdraw(self, intent: Batch) -> None:
        """Free the numbers for another batch."""
        await self._record(intent, BatchState.NOT_SENT, only_from=IN_FLIGHT)

    async def mark_unknown(self, intent: Batch) -> None:
        """Record that the order may exist."""
        await self._record(intent, BatchState.UNKNOWN, only_from=SENDING)

    async def _record(
        self, intent: Batch, state: BatchState, *, only_from: Collection[BatchState]
    ) -> None:
        await self.journal.record_batch_outcome(
            intent.id, state, only_from=only_from, note=_NOTE_CUT_OFF
        )
