"""The inbox of codes, in every journal."""

from __future__ import annotations

import pytest

from sinch_qn.bulk import Submission
from sinch_qn.bulk.journal import Journal
from sinch_qn.bulk.states import ChallengeState, Entry, Event, Todo
from sinch_qn.models import GlobalProcessState
from tests.support.journals import Backend, called, happen, submitted, take_code
from tests.support.runs import NUMBER, OTHER


async def test_a_code_of_a_call_that_was_not_sent(journal: Journal) -> None:
    """Rule 12: an early code for a recall that was not sent does not collide with older codes."""
    await called(journal, NUMBER)
    await journal.submit_code(NUMBER, "1111", 2.0)
    await take_code(journal, NUMBER, 2.0)
    await happen(journal, NUMBER, Event.CODE_REJECTED, Event.RECALL)
    await happen(journal, NUMBER, Event.LOOKED_UP, Event.CALL, remote=GlobalProcessState.ELIGIBLE)
    await journal.submit_code(NUMBER, "2222", 3.0)
    await happen(journal, NUMBER, Event.CALL_NOT_SENT)
    claimed = await take_code(journal, NUMBER, 4.0)
    assert claimed is not None
    assert claimed[1] == "2222"
    assert (await happen(journal, NUMBER, Event.VERIFIED)).state is ChallengeState.VERIFIED


async def test_codes_are_claimed_in_order(backend: Backend) -> None:
    """Rule 12: codes are text, and claimed oldest first; the same one twice for a call is one."""
    journal = backend.journal
    assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.REFUSED
    await journal.add([Entry(number=NUMBER)])
    assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.REFUSED
    assert await take_code(journal, NUMBER, 1.0) is None
    assert await take_code(journal, OTHER, 1.0) is None
    await happen(journal, NUMBER, Event.CALL)
    assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.ACCEPTED
    assert await submitted(journal, NUMBER, "01", 1.0) is Submission.ACCEPTED
    assert await submitted(journal, NUMBER, "0001", 1.0) is Submission.DUPLICATE
    assert await take_code(journal, NUMBER, 1.0) is None  # CALLING
    await happen(journal, NUMBER, Event.CALLED)
    for code in ("0001", "01"):
        claimed = await take_code(journal, NUMBER, 1.0)
        assert claimed is not None
        assert claimed[1] == code
        assert await take_code(journal, NUMBER, 1.0) is None
        assert await submitted(journal, NUMBER, code, 1.0) is Submission.DUPLICATE
        await happen(journal, NUMBER, Event.CODE_REJECTED)
    assert sorted(backend.codes()) == ["0001", "01"]
    assert await submitted(journal, NUMBER, "0001", 2.0) is Submission.DUPLICATE
    # The same code for another call is another code.
    await happen(journal, NUMBER, Event.RECALL)
    await happen(
        journal,
        NUMBER,
        Event.LOOKED_UP,
        Event.CALL,
        Event.CALLED,
        remote=GlobalProcessState.ELIGIBLE,
    )
    assert await submitted(journal, NUMBER, "0001", 3.0) is Submission.ACCEPTED


async def test_the_code_in_flight_is_sent_again_first(journal: Journal) -> None:
    """Rule 15: after a lost response the code in flight precedes those that wait."""
    await called(journal, NUMBER)
    for code in ("1111", "2222"):
        await journal.submit_code(NUMBER, code, 1.0)
    await take_code(journal, NUMBER, 1.0)
    await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.RETRY_CODE)
    claimed = await take_code(journal, NUMBER, 1.0)
    assert claimed is not None
    assert claimed[1] == "1111"
    assert claimed[0].codes_used == 2


async def test_a_refused_code_is_not_sent_again(journal: Journal) -> None:
    """Rule 15: a code that was not sent waits again; one that was refused before does not."""
    await called(journal, NUMBER)
    for code in ("1111", "2222"):
        await journal.submit_code(NUMBER, code, 1.0)
    await take_code(journal, NUMBER, 1.0)
    await happen(journal, NUMBER, Event.CODE_REJECTED)
    await take_code(journal, NUMBER, 1.0)
    await happen(journal, NUMBER, Event.CODE_NOT_SENT)
    claimed = await take_code(journal, NUMBER, 1.0)
    assert claimed is not None
    assert claimed[1] == "2222"


async def test_a_requested_code_may_be_the_same(journal: Journal) -> None:
    """Rule 15: a code that is requested again is accepted, also if it is the same."""
    await called(journal, NUMBER)
    await journal.submit_code(NUMBER, "1111", 1.0)
    await take_code(journal, NUMBER, 1.0)
    await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.RETRY_CODE)
    await take_code(journal, NUMBER, 1.0)
    await happen(journal, NUMBER, Event.VERIFY_UNKNOWN, Event.REQUEST_CODE)
    assert await submitted(journal, NUMBER, "1111", 2.0) is Submission.ACCEPTED


@pytest.mark.parametrize("end", [Event.VERIFIED, Event.BLOCKED, Event.CODE_REJECTED])
async def test_codes_are_erased_when_their_number_settles(backend: Backend, end: Event) -> None:
    """Rule 16: settling a number erases its codes, those that wait included."""
    await called(backend.journal, NUMBER, OTHER)
    for code in ("1111", "2222"):
        await backend.journal.submit_code(NUMBER, code, 1.0)
    await backend.journal.submit_code(OTHER, "3333", 1.0)
    await take_code(backend.journal, NUMBER, 1.0)
    entry = await happen(backend.journal, NUMBER, end, max_codes=1)
    assert entry.settled_at is not None
    assert backend.codes() == ["3333"]
    if end is Event.CODE_REJECTED:
        assert entry.state is ChallengeState.FAILED
        again = await happen(backend.journal, NUMBER, Event.RECALL)
        assert again.todo is Todo.REQUESTED_LOOK_UP
        taken = await backend.journal.take_code()
        assert taken is not None
        assert taken[1] == "3333"
    else:
        assert await submitted(backend.journal, NUMBER, "1111", 2.0) is Submission.REFUSED


@pytest.mark.parametrize("outcome", [Event.NOT_CALLABLE, Event.CALL_UNKNOWN])
async def test_a_code_after_a_recall_that_was_taken_back(journal: Journal, outcome: Event) -> None:
    """P8: a code is accepted and sent after a recall whose refusal was taken back (rule 24).

    So it is after a late CALL_NOT_SENT (rule 29).
    """
    await called(journal, NUMBER)
    await journal.submit_code(NUMBER, "1111", 2.0)
    await take_code(journal, NUMBER, 2.0)
    await happen(journal, NUMBER, Event.CODE_REJECTED, Event.RECALL)
    await happen(journal, NUMBER, Event.LOOKED_UP, Event.CALL, remote=GlobalProcessState.ELIGIBLE)
    await happen(journal, NUMBER, outcome, Event.CALL_NOT_SENT)
    assert await submitted(journal, NUMBER, "2222", 3.0) is Submission.ACCEPTED
    claimed = await take_code(journal, NUMBER, 3.0)
    assert claimed is not None
    assert claimed[1] == "2222"
