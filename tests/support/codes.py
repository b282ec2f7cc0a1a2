"""The codes that the sandbox's phones are read."""

from __future__ import annotations

from sinch_qn.sandbox import Sandbox

NUMBER = "+12025550134"


def heard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return the code that was read out last: the phone has rung."""
    code = sandbox.code_for(number)
    assert code is not None
    return code


def misheard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return a code that is not the right one."""
    return f"{(int(heard(sandbox, number)) + 1) % 10_000:04}"
