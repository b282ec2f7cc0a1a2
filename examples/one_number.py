"""Verify one phone number: Sinch calls it, and you type the code that you hear.

    pip install sinch-qn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python one_number.py +12025550134

The exit status is 0 if the number is verified. To try it without a phone: `sinch-qn sandbox`.
"""

from __future__ import annotations

import asyncio
import sys

from sinch_qn import GlobalProcessState as SinchState
from sinch_qn import Outcome, QualifiedNumber, QualifiedNumbersClient, SinchError, errors

RINGABLE = (SinchState.ELIGIBLE, SinchState.VERIFICATION_PENDING, SinchState.VERIFICATION_FAILED)
VERIFIED = (
    SinchState.VERIFIED,
    SinchState.HOSTING_IN_PROGRESS,
    SinchState.HOSTING_DONE,
    SinchState.HOSTING_FAILED,
)


async def qualify(client: QualifiedNumbersClient, number: str) -> QualifiedNumber:
    """Add *number* to the project if it is missing; wait until it is callable or verified."""
    try:
        await client.get_number(number)
    except errors.NotFoundError:
        try:
            await client.add_numbers([number])
        except SinchError as error:
            if error.outcome is not Outcome.UNKNOWN:
                raise
            # It may have been added; if it was not, the wait below raises NotFoundError.
    return await client.wait_for_state(
        number,
        *RINGABLE,
        *VERIFIED,
        unless=(SinchState.NOT_ELIGIBLE, SinchState.VERIFICATION_BLOCKED),
        timeout=600,
    )


async def ring(client: QualifiedNumbersClient, number: str) -> SinchState | None:
    """Call once and return the number's new state; None if the outcome is unknown."""
    try:
        answer = await client.send_voice_challenge(number)
    except SinchError as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        # A second call would invalidate the first one's code.
        print(f"No response ({error}): {number} may be ringing and is not called again.")
        return None
    print(f"Calling {number}.")
    return answer.global_process_state


async def hand_in(client: QualifiedNumbersClient, number: str, code: str) -> SinchState | None:
    """Submit a code once and return the number's new state."""
    try:
        answer = await client.verify_voice_challenge(number, code)
    except SinchError as error:
        if error.outcome is not Outcome.UNKNOWN and not isinstance(error, errors.BadRequestError):
            raise
        # The code may have been accepted, or rejected as wrong: the number's state shows which.
        answer = await client.get_number(number)
    return answer.global_process_state


def ask() -> str:
    """Read a code from the keyboard; an empty line cancels."""
    try:
        return input("Type the code that you hear, or press Enter to cancel: ").strip()
    except EOFError:
        return ""


async def verify(client: QualifiedNumbersClient, number: str) -> bool:
    """Verify *number* from any state; return whether it is verified."""
    state = (await qualify(client, number)).global_process_state
    if state not in VERIFIED:
        state = await ring(client, number)
    while state not in VERIFIED:
        if state is SinchState.VERIFICATION_BLOCKED:
            print(f"{number} is blocked: Sinch accepts no more codes for it.")
            return False
        code = await asyncio.to_thread(ask)  # input() would block the event loop
        if not code:
            return False
        state = await hand_in(client, number, code)
        if state not in VERIFIED:
            print("Sinch rejected this code.")
    print(f"{number} is verified.")
    return True


async def main(number: str) -> bool:
    """Verify *number* with a client configured by the environment."""
    async with QualifiedNumbersClient.from_env() as client:
        return await verify(client, number)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.exit(0 if asyncio.run(main(sys.argv[1])) else 1)
    except SinchError as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
