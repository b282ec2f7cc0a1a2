"""A number's life: the order of its states, and what can follow each."""

from __future__ import annotations

from sinch_qn.lifecycle import (
    CALLABLE,
    HOSTING_ENDED,
    HOSTING_ORDERED,
    IN_ORDER,
    REACHABLE,
    VERIFIED_OR_LATER,
)
from sinch_qn.models import GlobalProcessState as SinchState


def test_every_state_has_its_successors() -> None:
    """The table of reachable states covers the ten in order, and is transitive."""
    assert tuple(REACHABLE) == IN_ORDER
    assert set(IN_ORDER) == set(SinchState) - {SinchState.UNSPECIFIED}
    for reachable in REACHABLE.values():
        for state in reachable:
            assert REACHABLE[state] <= reachable


def test_groups_follow_from_what_is_reachable() -> None:
    """A number can be called before it is verified, and hosted only after."""
    assert all(REACHABLE[state] >= VERIFIED_OR_LATER for state in CALLABLE)
    assert not CALLABLE & VERIFIED_OR_LATER
    assert (
        REACHABLE[SinchState.VERIFIED]
        == HOSTING_ORDERED
        == VERIFIED_OR_LATER - {SinchState.VERIFIED}
    )
    assert {s for s in HOSTING_ORDERED if not REACHABLE[s]} == HOSTING_ENDED
