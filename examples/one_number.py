"""Prove that one phone number is yours: it rings, and you type the code that you hear.

    pip install sinch-qn
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python one_number.py +12025550134

It ends with status 0 once the number is verified. To try it without a phone: `sinch-qn sandbox`.
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
    """Have the project know *number*, and wait until it may be rung or has been verified."""
    try:
        await client.get_number(number)
    except errors.NotFoundError:
        try:
            await client.add_numbers([number])
        except SinchError as error:
            if error.outcome is not Outcome.UNKNOWN:
                raise
            # It may have been added: the wait below looks, and is refused with a 404 if not.
    return await client.wait_for_state(number, *RINGABLE, *VERIFIED, timeout=600)


async def ring(client: QualifiedNumbersClient, number: str) -> SinchState | None:
    """Ring once, and return the number's state then; None if nobody can say whether it rang."""
    try:
        answer = await client.send_voice_challenge(number)
    except SinchError as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        # A second call would make the first one's code wrong: a person says whether it rang.
        print(f"The answer was lost ({error}): {number} may be ringing, and is not called again.")
        return None
    print(f"{number} is being called.")
    return answer.global_process_state


async def hand_in(client: QualifiedNumbersClient, number: str, code: str) -> SinchState | None:
    """Hand in a code once, and return the number's state then."""
    try:
        answer = await client.verify_voice_challenge(number, code)
    except SinchError as error:
        if error.outcome is not Outcome.UNKNOWN and not isinstance(error, errors.BadRequestError):
            raise
        # It may have arrived, or was refused as wrong: the number itself tells.
        answer = await client.get_number(number)
    return answer.global_process_state


def ask() -> str:
    """Return what the person types; nothing to give up."""
    try:
        return input("Type the code that you hear, or nothing to give up: ").strip()
    except EOFError:
        return ""


async def verify(client: QualifiedNumbersClient, number: str) -> bool:
    """Take *number* from wherever it is to VERIFIED; return whether it got there."""
    state = (await qualify(client, number)).global_process_state
    if state not in VERIFIED:
        state = await ring(client, number)
    while state not in VERIFIED:
        if state is SinchState.VERIFICATION_BLOCKED:
            print(f"{number} is blocked: Sinch takes no more codes for it.")
            return False
        code = await asyncio.to_thread(ask)  # the event loop must not wait for a keyboard
        if not code:
            return False
        state = await hand_in(client, number, code)
        if state not in VERIFIED:
            print("That code did not verify it.")
    print(f"{number} is verified.")
    return True


async def main(number: str) -> bool:
    """Open a client for the project that the environment names."""
    async with QualifiedNumbersClient.from_env() as client:
        return await verify(client, number)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.exit(0 if asyncio.run(main(sys.argv[1])) else 1)
    except SinchError as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
