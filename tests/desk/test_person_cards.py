"""What a person sees of a number: a function of its entry, the run and the time."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sinch_qn.bulk import ChallengeState, Entry
from sinch_qn.bulk.journal.protocol import Readiness, RunSettings
from sinch_qn.bulk.outcomes import ASK_AGAIN
from sinch_qn.desk.person_cards import RESULT_KEPT, card_of, is_gone
from sinch_qn.models import GlobalProcessState
from tests.support.runs import EPOCH, NUMBER

SETTINGS = RunSettings(on_request=True, ring_window=90.0, max_codes=3)
READY = Readiness(settings=SETTINGS, has_runner=True, paused=False)
CALLED = {"attempt": 1, "called_at": EPOCH - 10, "to_ring": False}
LONG_AGO = CALLED | {"called_at": EPOCH - 90}


def entry(state: ChallengeState = ChallengeState.PENDING, **fields: Any) -> Entry:
    """Return an entry."""
    usual = {"number": NUMBER, "remote": GlobalProcessState.ELIGIBLE}
    return Entry(state=state, **usual | fields)


@pytest.mark.parametrize(
    ("subject", "situation", "button", "takes_code"),
    [
        (entry(), "ready", "call_now", False),
        (entry(requested_at=EPOCH), "asked", None, False),
        (entry(attempt=1, requested_at=EPOCH, codes_waiting=1), "checking", None, False),
        (entry(ChallengeState.CALLING, attempt=1, called_at=EPOCH - 900), "ringing", None, True),
        (entry(ChallengeState.AWAITING_CODE, **CALLED), "ringing", None, True),
        (entry(ChallengeState.UNKNOWN, **CALLED), "ringing", None, True),
        (entry(ChallengeState.AWAITING_CODE, **LONG_AGO), "awaiting", "call_again", True),
        (entry(ChallengeState.UNKNOWN, **LONG_AGO), "unsure", "call_again", True),
        (entry(ChallengeState.AWAITING_CODE, **CALLED, codes_used=1), "wrong", "call_again", True),
        (
            entry(ChallengeState.AWAITING_CODE, **CALLED, codes_used=2, note=ASK_AGAIN),
            "ask",
            "call_again",
            True,
        ),
        (entry(ChallengeState.AWAITING_CODE, **CALLED, codes_waiting=1), "checking", None, False),
        (entry(ChallengeState.VERIFYING, **CALLED), "checking", None, False),
        (entry(ChallengeState.EXPIRED, **LONG_AGO), "expired", "call_again", True),
        (entry(ChallengeState.FAILED, **CALLED, codes_used=3), "used_up", "call_again", False),
        (
            entry(ChallengeState.FAILED, remote=GlobalProcessState.NOT_ELIGIBLE),
            "refused",
            "try_again",
            False,
        ),
        (entry(ChallengeState.VERIFIED, **CALLED), "verified", None, False),
        (entry(ChallengeState.SKIPPED), "skipped", None, False),
        (entry(ChallengeState.BLOCKED, **CALLED), "blocked", None, False),
        (entry(ChallengeState.INVALID), "refused", None, False),
    ],
)
def test_each_state_has_its_card(
    subject: Entry, situation: str, button: str | None, *, takes_code: bool
) -> None:
    """Every state leads to one situation, which says whether to call and whether to type."""
    card = card_of(subject, READY, EPOCH)
    assert (card.situation.value, card.button, card.takes_code) == (situation, button, takes_code)
    assert card.attempt == subject.attempt
    assert card.tries_left == 3 - subject.codes_used


@pytest.mark.parametrize(
    ("readiness", "obstacle"),
    [
        (attrs.evolve(READY, paused=True), "paused"),
        (attrs.evolve(READY, has_runner=False), "no_runner"),
        (Readiness(), "no_runner"),
        (READY, None),
    ],
)
def test_what_is_in_the_way_of_a_call_is_said(readiness: Readiness, obstacle: str | None) -> None:
    """Before and after the press the card has the reason why the phone does not ring at once."""
    for subject in (entry(), entry(requested_at=EPOCH)):
        assert card_of(subject, readiness, EPOCH).obstacle == obstacle
    checked = entry(requested_at=EPOCH, remote=GlobalProcessState.ELIGIBLE_CHECK_PENDING)
    assert card_of(checked, READY, EPOCH).obstacle == "checking"


def test_a_card_knows_when_time_alone_changes_it() -> None:
    """The end of ringing, the opening of calling hours and the end of a link are known before."""
    ringing = card_of(entry(ChallengeState.AWAITING_CODE, **CALLED), READY, EPOCH)
    assert ringing.next_change(EPOCH) == ringing.ring_end == EPOCH + 80
    assert (
        card_of(entry(ChallengeState.AWAITING_CODE, **CALLED), READY, EPOCH + 80).button
        == "call_again"
    )
    closed = attrs.evolve(READY, settings=attrs.evolve(SETTINGS, calling_hours="09:00-20:00"))
    shut = card_of(entry(), closed, EPOCH)  # 19:00 in New York, the day before
    assert shut.button == "call_now"
    shut = card_of(entry(), closed, EPOCH + 2 * 3600)
    assert (shut.situation.value, shut.button) == ("closed", None)
    alone = attrs.evolve(closed, has_runner=False)
    assert card_of(entry(), alone, EPOCH + 2 * 3600).situation.value == "closed"
    asked = card_of(entry(requested_at=EPOCH), alone, EPOCH + 2 * 3600)
    assert asked.obstacle == "no_runner"
    assert shut.next_change(EPOCH + 2 * 3600) == EPOCH + 14 * 3600
    assert card_of(entry(), closed, EPOCH + 14 * 3600).button == "call_now"
    done = card_of(entry(ChallengeState.VERIFIED, settled_at=EPOCH), READY, EPOCH)
    assert done.next_change(EPOCH) == EPOCH + RESULT_KEPT
    assert not is_gone([done], EPOCH + RESULT_KEPT - 1)
    assert is_gone([done], EPOCH + RESULT_KEPT)
    assert not is_gone([done, ringing], EPOCH + RESULT_KEPT)


def test_a_number_is_shown_in_groups() -> None:
    """People read it aloud: `+1 202 555 0134`, on one line."""
    assert card_of(entry(), READY, EPOCH).digits.split("\u00a0") == ["+1", "202", "555", "0134"]
    odd = card_of(attrs.evolve(entry(ChallengeState.INVALID), number="12 (line 3)"), READY, EPOCH)
    assert odd.digits == "12 (line 3)"


def test_numbers_that_are_called_in_turn_say_so() -> None:
    """In a run that is not on request a press only moves the number to the front."""
    in_turn = attrs.evolve(READY, settings=attrs.evolve(SETTINGS, on_request=False))
    assert card_of(entry(), in_turn, EPOCH).in_turn
    assert not card_of(entry(), READY, EPOCH).in_turn
