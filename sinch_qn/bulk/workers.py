"""What a run asks Sinch, one question about one number at a time, and records the answer of.

A worker ends with a change committed to the journal, or with nothing: then its number is due again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from contextlib import aclosing

import attrs

from sinch_qn._operations import (
    ADD_NUMBERS,
    GET_NUMBER,
    LIST_NUMBERS,
    SEND_VOICE_CHALLENGE,
    VERIFY_VOICE_CHALLENGE,
)
from sinch_qn._paging import Page
from sinch_qn._pipeline import Pipeline, PreparedCall
from sinch_qn.bulk import outcomes
from sinch_qn.bulk.journal.protocol import Journal
from sinch_qn.bulk.pacing import Pacing
from sinch_qn.bulk.states import ChallengeState, Change, Entry, Event, Todo
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import (
    ConflictError,
    ConnectError,
    NotFoundError,
    Outcome,
    RateLimitError,
    SinchError,
)
from sinch_qn.lifecycle import IN_ORDER
from sinch_qn.models import (
    AddNumbersRequest,
    GlobalProcessState,
    QualifiedNumber,
    VerifyVoiceChallengeRequest,
)
from sinch_qn.retry import ONE_SHOT

_log = logging.getLogger("sinch_qn")

LIST_PAGE = 1000
"""Numbers asked for on one page; the server gives as many as it likes."""

_SILENT = frozenset({Event.LOOKED_UP, Event.POSTPONED})
"""What no reader of events waits for."""


@attrs.define(kw_only=True)
class Workers:
    """The questions, and what they need; `scheduler` decides when each is asked."""

    client: QualifiedNumbersClient
    journal: Journal
    pacing: Pacing
    code_timeout: float
    max_codes: int
    add_missing: bool
    recheck: float
    wall: Callable[[], float]
    jitter: Callable[[], float]
    publish: Callable[[Event, Entry], None]
    """Tells the readers of events."""
    look_again: Callable[[Todo], None] = attrs.field(init=False)
    """Tells the scheduler, which sets this, that something is due."""
    leaving: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set once nothing new may start."""
    missing: list[Entry] = attrs.field(factory=list)
    """Not known to Sinch, and to be added, many at a time."""
    learning: set[str] = attrs.field(factory=set)
    """Being looked up."""
    trouble: SinchError | None = None
    """The last call without an answer, until one is answered again."""

    @property
    def _pipeline(self) -> Pipeline:
        return self.client._pipeline  # noqa: SLF001 - prepared calls are not for everyone

    async def probe(self) -> None:
        """Ask until there is an answer: at the start, and in an outage. Then ringing may go on."""
        query = {"states": str(GlobalProcessState.VERIFIED), "pageSize": "1"}
        delay = 1.0
        while not self.leaving.is_set():
            try:
                await self._pipeline.call_raw(LIST_NUMBERS, query=query, retry=ONE_SHOT)
            except SinchError as error:
                if isinstance(error, NotFoundError):
                    raise  # the project does not exist
                _raise_if_fatal(error)
                if self.trouble is None:
                    _log.warning("ringing pauses: no answer (%s)", type(error).__name__)
                self.trouble = error
            else:
                self.trouble = None
                self.pacing.resume(asyncio.get_running_loop().time())
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay * (0.5 + 0.5 * self.jitter())):
                    await self.leaving.wait()
            delay = min(60.0, 2 * delay)

    async def ring(self, entry: Entry) -> None:
        """Ring a phone: what it waits for, then the intent, then one request, then the outcome."""
        number = entry.number
        try:
            call = await self._prepared(entry)
            intent = None if call is None else await self._intend_call(entry)
            if call is None or intent is None:
                self.pacing.release(number)
                return
            self.pacing.rings(number, asyncio.get_running_loop().time())
            try:
                result: QualifiedNumber | SinchError = await self._pipeline.call(
                    SEND_VOICE_CHALLENGE, phone_number=number, retry=ONE_SHOT, prepared=call
                )
            except SinchError as error:
                result = error
            except asyncio.CancelledError:
                await self._record_cut_off(intent, call, Event.CALL_UNKNOWN, Event.CALL_NOT_SENT)
                raise
            if isinstance(result, NotFoundError):
                try:
                    result = await self._confirmed(number, result)
                except asyncio.CancelledError:
                    await self._record_cut_off(
                        intent, call, Event.CALL_UNKNOWN, Event.CALL_NOT_SENT
                    )
                    raise
            again = self._pace_after(number, result)
            if not isinstance(result, QualifiedNumber) and result.outcome is not Outcome.UNKNOWN:
                self.pacing.release(number)
            now = self.wall()
            await self._record(
                outcomes.after_call(
                    intent, result, now, window=self.code_timeout, again=now + again
                )
            )
            _raise_if_fatal(result)
        finally:
            self.pacing.done(number)

    async def verify(self, entry: Entry) -> None:
        """Hand in the oldest code that waits: as `ring`."""
        number = entry.number
        self.pacing.release(number)
        call = await self._prepared(entry)
        taken = None if call is None else await self._take_code(entry)
        if call is None or taken is None:
            return
        intent, code = taken
        try:
            result: QualifiedNumber | SinchError = await self._pipeline.call(
                VERIFY_VOICE_CHALLENGE,
                phone_number=number,
                body=VerifyVoiceChallengeRequest(code=code),
                retry=ONE_SHOT,
                prepared=call,
            )
        except SinchError as error:
            result = error
        except asyncio.CancelledError:
            await self._record_cut_off(intent, call, Event.VERIFY_UNKNOWN, Event.CODE_NOT_SENT)
            raise
        if isinstance(result, RateLimitError):
            again = self.pacing.limited(number, result.retry_after)
        else:
            self.pacing.asked(answered=_is_answer(result))
            again = 1.0 + 2.0 * self.jitter()
        now = self.wall()
        change = outcomes.after_verify(
            intent, result, now, max_codes=self.max_codes, again=now + again
        )
        if change.note:  # the server may have repeated the code
            change = attrs.evolve(change, note=change.note.replace(code, "•••"))
        if change.event is Event.CODE_REJECTED and not isinstance(result, QualifiedNumber):
            try:
                change = await self._verdict(intent, change)
            except asyncio.CancelledError:
                await self._record(change)
                raise
        await self._record(change)
        _raise_if_fatal(result)

    async def look(self, entry: Entry) -> None:
        """Find out what became of a code whose answer was lost."""
        result = await self._get(entry.number)
        now = self.wall()
        again = now + 5.0 + 25.0 * self.jitter()
        await self._record(
            outcomes.after_look(entry, result, now, max_codes=self.max_codes, again=again)
        )
        _raise_if_fatal(result)

    async def learn(self, entry: Entry) -> None:
        """Look a number up before it is rung."""
        self.learning.add(entry.number)
        try:
            result = await self._get(entry.number)
            self.pacing.asked(answered=_is_answer(result))
            now = self.wall()
            if isinstance(result, QualifiedNumber):
                await self._record(self._learnt(entry.number, result, now))
            elif isinstance(result, NotFoundError) and self.add_missing and not entry.added:
                # Kept out of the way until its batch is full.
                await self.later(entry, 60.0, "to be added")
                self.missing.append(entry)
            elif isinstance(result, NotFoundError):
                await self._record(outcomes.not_found(entry, now))
            else:
                _raise_if_fatal(result)
                await self.later(entry, 5.0 + 25.0 * self.jitter(), str(result))
        finally:
            self.learning.discard(entry.number)

    async def expire(self, entry: Entry) -> None:
        """Stop waiting for a code, for now: a late one is still tried."""
        note = "no code came in time; a late one is still tried"
        await self._record(
            Change(number=entry.number, event=Event.CODE_TIMEOUT, at=self.wall(), note=note)
        )

    async def later(self, entry: Entry, seconds: float, note: str) -> None:
        """Leave a number alone for *seconds*."""
        now = self.wall()
        await self._record(
            Change(number=entry.number, event=Event.POSTPONED, at=now, due=now + seconds, note=note)
        )

    async def add(self, entries: list[Entry]) -> None:
        """Have Sinch qualify numbers that it does not know; done once, whatever the answer is."""
        call = await self._prepared(entries[0])
        if call is None:
            return
        now = self.wall()
        # Whatever comes of it, its numbers are looked up (and added) again only after a while.
        due = now + 30.0 + 30.0 * self.jitter()
        intents = [Change(number=e.number, event=Event.ADD, at=now, due=due) for e in entries]
        undo = [attrs.evolve(change, event=Event.ADD_NOT_SENT) for change in intents]
        try:
            accepted = [e for e in await self.journal.apply(intents) if e is not None]
            numbers = [e.number for e in accepted]
            if not numbers:
                return
            undo = [change for change in undo if change.number in set(numbers)]
            answer = await self._pipeline.call(
                ADD_NUMBERS,
                body=AddNumbersRequest(phone_numbers=numbers),
                retry=ONE_SHOT,
                prepared=call,
            )
        except asyncio.CancelledError:
            if not call.may_have_been_sent:
                await self.journal.apply(undo)
            raise
        except SinchError as error:
            if error.outcome is not Outcome.UNKNOWN:
                await self.journal.apply(undo)
                await self._add_refused(accepted, error)
            return  # unknown: looked up when its time comes, and never added a second time
        for number in answer.qualified_numbers or []:
            if number.phone_number is not None:
                await self._record(self._learnt(number.phone_number, number, self.wall()))

    async def _add_refused(self, entries: list[Entry], error: SinchError) -> None:
        """Add one by one what was refused together: one bad number must not hold up the rest."""
        _raise_if_fatal(error)
        if error.outcome is not Outcome.REJECTED or isinstance(error, RateLimitError):
            return  # looked up, and added, another time
        if len(entries) > 1:
            for entry in entries:
                if not self.leaving.is_set():
                    await self.add([entry])
            return
        note = f"could not be added: {error}"
        number = entries[0].number
        await self._record(
            Change(number=number, event=Event.NOT_CALLABLE, at=self.wall(), note=note)
        )

    async def list(self) -> None:
        """Learn the states of all numbers from listings, if that takes fewer requests.

        The states go in the order of a number's life, so that one which moves meanwhile is seen
        twice rather than not at all; one that is not seen is looked up by itself.
        """
        try:
            backlog = await self.journal.backlog(Todo.LOOK_UP, self.wall())
            needed, tokens = 0, {}
            for state in IN_ORDER:
                page = await self._first_page(state)
                await self._learn_page(page)
                if page.next_page_token is not None:
                    tokens[state] = page.next_page_token
                    total = page.total_size if page.total_size is not None else sys.maxsize
                    needed += total // max(1, len(page.items))
            for state, token in tokens.items() if needed < backlog else ():
                async with aclosing(
                    self.client.list_number_pages(
                        state, page_size=LIST_PAGE, page_token=token, prefetch=True
                    )
                ) as pages:
                    async for page in pages:
                        await self._learn_page(page)
                        if self.leaving.is_set():
                            return
        except SinchError as error:
            _raise_if_fatal(error)  # anything else: they are looked up one by one

    # ---- their parts ---------------------------------------------------------------------------

    async def _first_page(self, state: GlobalProcessState) -> Page:
        async with aclosing(self.client.list_number_pages(state, page_size=LIST_PAGE)) as pages:
            return await anext(pages)

    async def _learn_page(self, page: Page) -> None:
        now = self.wall()
        changes = [
            self._learnt(number.phone_number, number, now)
            for number in page.items
            if number.phone_number is not None
        ]
        for change, after in zip(changes, await self.journal.apply(changes), strict=True):
            if after is not None and after.state is not ChallengeState.PENDING:
                self.publish(change.event, after)

    def _learnt(self, number: str, answer: QualifiedNumber, now: float) -> Change:
        recheck = now + self.recheck * (0.5 + self.jitter())
        return outcomes.learnt(number, answer, now, recheck=recheck)

    async def _prepared(self, entry: Entry) -> PreparedCall | None:
        """Take what a call waits for (rate limit, token) before its intent; None without."""
        try:
            return await self._pipeline.prepare()
        except SinchError as error:
            _raise_if_fatal(error)
            self.pacing.asked(answered=False)
            if entry.state is ChallengeState.PENDING:
                await self.later(entry, 1.0 + 2.0 * self.jitter(), str(error))
            return None

    async def _intend_call(self, entry: Entry) -> Entry | None:
        """Commit the intent to call; taken back if this is cut off, as nothing was sent."""
        change = Change(
            number=entry.number, event=Event.CALL, at=self.wall(), from_state=entry.state
        )
        try:
            (intent,) = await self.journal.apply([change])
        except asyncio.CancelledError:
            await self.journal.apply(
                [attrs.evolve(change, event=Event.CALL_NOT_SENT, from_state=None)]
            )
            raise
        return intent

    async def _take_code(self, entry: Entry) -> tuple[Entry, str] | None:
        """Commit the intent to hand in the oldest code; taken back if this is cut off."""
        now = self.wall()
        try:
            return await self.journal.claim_code(entry.number, now)
        except asyncio.CancelledError:
            undo = Change(number=entry.number, event=Event.CODE_NOT_SENT, at=now)
            await self.journal.apply([undo])
            raise

    async def _record_cut_off(
        self, intent: Entry, call: PreparedCall, perhaps: Event, surely_not: Event
    ) -> None:
        """Record what a cancelled call came to: nothing, unless it may have left."""
        await self._record(
            Change(
                number=intent.number,
                event=perhaps if call.may_have_been_sent else surely_not,
                at=self.wall(),
                attempt=intent.attempt,
                window=self.code_timeout,
                note="cut off when the run was left",
            )
        )

    async def _confirmed(self, number: str, not_found: NotFoundError) -> SinchError:
        """Return *not_found* if a look-up agrees; else why the call was refused, or not made."""
        result = await self._get(number)
        if isinstance(result, NotFoundError):
            return not_found
        if isinstance(result, QualifiedNumber):
            message = f"{not_found.message} (though a look-up finds it)"
            return ConflictError(message, status_code=not_found.status_code)
        return ConnectError(f"not found, and the look-up failed: {result}")

    async def _verdict(self, intent: Entry, refused: Change) -> Change:
        """Return *refused*, or the final state that a look-up shows behind the refusal."""
        result = await self._get(intent.number)
        if not isinstance(result, QualifiedNumber):
            return refused
        seen = outcomes.after_verify(
            intent, result, refused.at, max_codes=self.max_codes, again=refused.at
        )
        return seen if seen.event in (Event.VERIFIED, Event.BLOCKED) else refused

    async def _get(self, number: str) -> QualifiedNumber | SinchError:
        try:
            return await self._pipeline.call(GET_NUMBER, phone_number=number)
        except SinchError as error:
            return error

    def _pace_after(self, number: str, result: QualifiedNumber | SinchError) -> float:
        """Tell the pacing what came of a call; return the seconds to leave its number alone."""
        if isinstance(result, RateLimitError):
            return self.pacing.limited(number, result.retry_after)
        if isinstance(result, QualifiedNumber) or result.outcome is Outcome.REJECTED:
            self.pacing.passed(number)
            return 0.0
        self.trouble = result
        self.pacing.unanswered()
        return 1.0 + 2.0 * self.jitter()

    async def _record(self, change: Change) -> None:
        """Commit *change*, tell the readers, and look for what it makes due."""
        (after,) = await self.journal.apply([change])
        if after is None:
            return
        if change.event not in _SILENT:
            self.publish(change.event, after)
        if after.due <= change.at:
            self.look_again(after.todo)


def _is_answer(result: QualifiedNumber | SinchError) -> bool:
    """Say whether somebody was there to answer, be it with a refusal."""
    return isinstance(result, QualifiedNumber) or result.outcome is Outcome.REJECTED


def _raise_if_fatal(result: QualifiedNumber | SinchError) -> None:
    """Raise refused credentials: the next number would fail the same, so the run stops."""
    if not isinstance(result, QualifiedNumber) and outcomes.is_fatal(result):
        raise result
