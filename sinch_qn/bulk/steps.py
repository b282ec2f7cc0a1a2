"""The steps of a run: one request about one number, and the change it leads to.

A step returns its result and knows nothing of who started it; `scheduler` commits the result.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

import attrs

from sinch_qn._paging import Page
from sinch_qn._pipeline import PreparedCall
from sinch_qn.bulk import outcomes
from sinch_qn.bulk.at_most_once import at_most_once
from sinch_qn.bulk.journal.protocol import Journal, RunSettings
from sinch_qn.bulk.permits import Turn
from sinch_qn.bulk.states import LOOK_UPS, ChallengeState, Change, Entry, Event, Todo
from sinch_qn.bulk.unsafe_writes import CodeVerification, NumberAddition, VoiceCall, get_number
from sinch_qn.client import QualifiedNumbersClient
from sinch_qn.errors import NotFoundError, Outcome, SinchError
from sinch_qn.lifecycle import IN_ORDER
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import QualifiedNumber

LIST_PAGE = 1000
"""Numbers requested on one page; the server may send fewer."""

_NOTE_CODE_TIMEOUT = "no code came in time; a late one is still accepted"


@attrs.frozen(kw_only=True)
class StepResult:
    """What a step came to, for the scheduler."""

    changes: Sequence[Change] = ()
    """To be committed."""
    number: str = ""
    """The number that the request is about."""
    request: Todo | None = None
    """The request, if pacing learns from its response; NOTHING: it could not be prepared."""
    response: object = None
    """What Sinch sent, or the `SinchError` that came instead; None without a request."""
    missing: Sequence[Entry] = ()
    """Numbers to be added to the project, many at a time."""
    refused_together: Sequence[Entry] = ()
    """Numbers to be added one by one: one bad number must not hold up the rest."""
    take_back: Change | None = None
    """Takes the refusal of a number back, should it not be about the number."""


@attrs.frozen(kw_only=True)
class Steps:
    """The steps, and what they need."""

    client: QualifiedNumbersClient
    journal: Journal
    settings: RunSettings
    clock: Callable[[], float]
    jitter: Callable[[], float]

    async def call(
        self,
        turn: Turn,
        prepared: PreparedCall,
        *,
        opens_in: Callable[[str, float], float] | None = None,
    ) -> StepResult:
        """Use *turn* to call the number that is due longest."""
        call = VoiceCall(
            client=self.client,
            journal=self.journal,
            clock=self.clock,
            code_timeout=self.settings.code_timeout,
            turn=turn,
            opens_in=opens_in,
        )
        sent = await at_most_once(call, prepared)
        if sent is None:
            return StepResult()
        intent, response = sent
        now, window = self.clock(), self.settings.code_timeout
        retry_at = now + self.between(1.0, 3.0)
        change = outcomes.after_call(intent, response, now, window=window, retry_at=retry_at)
        take_back = None
        if isinstance(response, SinchError):
            event = Event.CALL_NOT_SENT
            take_back = outcomes.refusal_taken_back(intent, event, response, now)
        return StepResult(
            changes=[change],
            number=intent.number,
            request=Todo.CALL,
            response=response,
            take_back=take_back,
        )

    async def verify(self, *, on_intent: Callable[[], None]) -> StepResult:
        """Send the oldest code that waits; *on_intent* is called when its intent is committed."""
        try:
            prepared = await self.client.prepare()
        except SinchError as error:
            return StepResult(request=Todo.NOTHING, response=error)
        verification = CodeVerification(
            client=self.client,
            journal=self.journal,
            clock=self.clock,
            outcome=self._after_verify,
            on_intent=on_intent,
        )
        sent = await at_most_once(verification, prepared)
        if sent is None:
            return StepResult()
        intent, response = sent
        change = self._after_verify(intent, response)
        number = intent[0].number
        return StepResult(changes=[change], number=number, request=Todo.VERIFY, response=response)

    def _after_verify(
        self, intent: tuple[Entry, str], response: QualifiedNumber | SinchError
    ) -> Change:
        """Return the outcome of a code. It is in no note, even if the server repeats it."""
        entry, code = intent
        now = self.clock()
        retry_at = now + self.between(1.0, 3.0)
        change = outcomes.after_verify(
            entry, response, now, max_codes=self.settings.max_codes, retry_at=retry_at
        )
        return attrs.evolve(change, note=change.note and change.note.replace(code, "•••"))

    async def resolve(self, entry: Entry) -> StepResult:
        """Look up a number whose code got no response."""
        response = await get_number(self.client, entry.number)
        now = self.clock()
        retry_at = now + self.between(5.0, 30.0)
        change = outcomes.after_resolve(
            entry, response, now, max_codes=self.settings.max_codes, retry_at=retry_at
        )
        return StepResult(changes=[change], response=response)

    async def look_up(self, entry: Entry) -> StepResult:
        """Look up the state of a number before it is called."""
        response = await get_number(self.client, entry.number)
        now, missing = self.clock(), False
        if isinstance(response, QualifiedNumber):
            change = self._looked_up(entry.number, response, now)
        elif isinstance(response, NotFoundError):
            missing = self.settings.add_missing and not entry.added
            change = outcomes.not_found(entry, now)
            if missing:  # postponed until its batch is full
                change = self._postponed(entry, 60.0, "to be added")
        elif outcomes.is_fatal(response):
            return StepResult(number=entry.number, request=Todo.LOOK_UP, response=response)
        else:
            change = self._postponed(entry, self.between(5.0, 30.0), response.reason)
        return StepResult(
            changes=[change],
            number=entry.number,
            request=Todo.LOOK_UP,
            response=response,
            missing=[entry] if missing else (),
        )

    async def look_up_by_listing(self) -> AsyncGenerator[list[Change], None]:
        """Yield the states of all numbers page by page, while that saves requests.

        The states are listed in the order of a number's life, so that one which moves meanwhile is
        seen twice rather than not at all. A number that is not seen is looked up by itself.
        """
        backlog = sum([await self.journal.backlog(todo) for todo in LOOK_UPS])
        needed, tokens = 0, {}
        for state in IN_ORDER:
            page = await self._first_page(state)
            yield self._looked_up_all(page.items)
            if page.next_page_token is not None:
                tokens[state] = page.next_page_token
                total = page.total_size if page.total_size is not None else sys.maxsize
                needed += total // max(1, len(page.items))
        for state, token in tokens.items() if needed < backlog else ():
            pages = self.client.list_number_pages(
                state, page_size=LIST_PAGE, page_token=token, prefetch=True
            )
            async with aclosing(pages):
                async for page in pages:
                    yield self._looked_up_all(page.items)

    async def add(self, entries: Sequence[Entry]) -> StepResult:
        """Add numbers that Sinch does not know to the project; at most once, whatever happens."""
        try:
            prepared = await self.client.prepare()
        except SinchError as error:
            return self._not_prepared(entries[0], error)
        # Whatever the outcome, its numbers are looked up (and added) again only after a while.
        due = self.clock() + self.between(30.0, 60.0)
        addition = NumberAddition(
            client=self.client,
            journal=self.journal,
            clock=self.clock,
            entries=entries,
            due=due,
        )
        sent = await at_most_once(addition, prepared)
        return StepResult() if sent is None else self._after_add(addition, *sent)

    def _after_add(
        self,
        addition: NumberAddition,
        intent: list[Entry],
        response: list[QualifiedNumber] | SinchError,
    ) -> StepResult:
        now = self.clock()
        if not isinstance(response, SinchError):
            return StepResult(changes=self._looked_up_all(response), response=response)
        if response.outcome is Outcome.UNKNOWN:
            return StepResult(response=response)  # looked up once due, never added again
        changes = addition.not_sent(intent)
        if not outcomes.is_refusal(response):
            return StepResult(changes=changes, response=response)
        if len(intent) > 1:
            return StepResult(changes=changes, response=response, refused_together=intent)
        refused = Change(
            number=intent[0].number,
            event=Event.NOT_CALLABLE,
            at=now,
            from_state=ChallengeState.PENDING,
            note=f"could not be added: {response.reason}",
        )
        take_back = outcomes.refusal_taken_back(intent[0], Event.ADD_NOT_SENT, response, now)
        return StepResult(changes=[*changes, refused], response=response, take_back=take_back)

    async def expire(self, entry: Entry) -> StepResult:
        """Stop waiting for a code; a late one is still accepted."""
        change = Change(
            number=entry.number,
            event=Event.CODE_TIMEOUT,
            at=self.clock(),
            intent=entry.intent,
            note=_NOTE_CODE_TIMEOUT,
        )
        return StepResult(changes=[change])

    def _not_prepared(self, entry: Entry, error: SinchError) -> StepResult:
        changes = []
        if entry.state is ChallengeState.PENDING and not outcomes.is_fatal(error):
            changes = [self._postponed(entry, self.between(1.0, 3.0), error.reason)]
        return StepResult(changes=changes, request=Todo.NOTHING, response=error)

    def _postponed(self, entry: Entry, seconds: float, note: str) -> Change:
        now = self.clock()
        return Change(
            number=entry.number, event=Event.POSTPONED, at=now, due=now + seconds, note=note
        )

    def _looked_up(self, number: str, response: QualifiedNumber, now: float) -> Change:
        recheck = now + self.settings.recheck * (0.5 + self.jitter())
        return outcomes.looked_up(number, response, now, recheck=recheck)

    async def _first_page(self, state: SinchState) -> Page:
        async with aclosing(self.client.list_number_pages(state, page_size=LIST_PAGE)) as pages:
            return await anext(pages)

    def _looked_up_all(self, numbers: Iterable[QualifiedNumber]) -> list[Change]:
        now = self.clock()
        known = [(each.phone_number, each) for each in numbers if each.phone_number is not None]
        return [self._looked_up(number, response, now) for number, response in known]

    def between(self, least: float, most: float) -> float:
        """Return a random number of seconds."""
        return least + (most - least) * self.jitter()
