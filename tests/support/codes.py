"""The codes that the sandbox's calls read out."""

from __future__ import annotations

from sinch_qn.sandbox import Sandbox

NUMBER = "+12025550134"


def heard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return the code of the last call."""
    code = sandbox.code_for(number)
    assert code is not None
    return code


def misheard(sandbox: Sandbox, number: str = NUMBER) -> str:
    """Return a wrong code."""
    return f"{(int(heard(sandbox, number)) + 1) % 10_000:04}"
