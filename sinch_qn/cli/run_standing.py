"""Who works on a run in PostgreSQL, and what its runners share: for `sinch-qn status`."""

from __future__ import annotations

import platform
from typing import Any

from sinch_qn._redaction import printable
from sinch_qn.bulk import journal
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines
from sinch_qn.cli.times import clock


def standing_record(standing: journal.Standing) -> dict[str, Any]:
    """Return *standing* as JSON has it; times are seconds."""
    return {
        "runners": [
            {
                "name": runner.name,
                "version": runner.version,
                "leaseLeft": round(runner.lease_left, 1),
                "callsPerSecond": round(runner.calls_per_second, 2),
            }
            for runner in standing.runners
        ],
        "ringing": standing.ringing,
        "maxRinging": standing.max_ringing,
        "callsPerSecond": standing.rate,
        "pausedSince": standing.paused_since,
        "callsInFlight": standing.at_risk,
        "maxUnknown": standing.max_unknown,
        "oldestDue": standing.oldest_due,
        "stopped": standing.stopped,
    }


def is_here(standing: journal.Standing) -> bool:
    """Return whether a runner of this machine holds its lease."""
    here = f"{platform.node()}:"
    return any(each.name.startswith(here) and each.lease_left > 0 for each in standing.runners)


def show_standing(standing: journal.Standing) -> None:
    """Print the runners on standard output, and what they share as messages."""
    with Lines("RUNNER", "VERSION", "LEASE LEFT", "CALLS/S", as_json=False) as lines:
        for runner in standing.runners:
            left = f"{runner.lease_left:.0f} s" if runner.lease_left > 0 else "over"
            lines.add({}, runner.name, runner.version, left, f"{runner.calls_per_second:.2f}")
    if not standing.runners:
        print_message("No runner is at work: sinch-qn worker URL")
    if standing.stopped is not None:
        print_message(f"A runner stopped the run: {printable(standing.stopped)}", "error")
    rate = _pause(standing) or f"at most {standing.rate:.3g} calls a second"
    print_message(
        f"{standing.ringing} of {standing.max_ringing} phones ringing, {rate};"
        f" {standing.at_risk} calls in flight, at most {standing.max_unknown}."
    )
    if standing.oldest_due is not None:
        print_message(f"The number that is due longest has waited {standing.oldest_due:.0f} s.")


def _pause(standing: journal.Standing) -> str:
    """Return since when calling is paused; nothing if it is not."""
    if standing.paused_since is None:
        return ""
    if not standing.paused_since:
        return "paused until Sinch responds"
    return f"paused since {clock(standing.paused_since)} until Sinch responds"
