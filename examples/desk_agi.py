#!/usr/bin/env python3
"""An Asterisk AGI script: ask the caller for the code of a number, and hand it to the code desk.

    exten => 700,1,Answer()
     same => n,AGI(desk_agi.py,${CALLERID(num)})     ; E.164, or the id of a number

DESK_URL and DESK_TOKEN are in the environment; the prompts are sound files of your own:
`desk-enter-code`, `desk-thanks`, `desk-wrong`, `desk-later`. Needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from contextlib import suppress

_TRIES = 3
_TIMEOUT = 10_000  # milliseconds that the caller has for the next digit
_MAX_DIGITS = 12


def read_arguments() -> list[str]:
    """Read what Asterisk says of the call, up to an empty line; return the script's arguments."""
    found = {}
    while line := sys.stdin.readline().strip():
        name, _, value = line.partition(": ")
        found[name] = value
    return [found[name] for name in sorted(found) if name.startswith("agi_arg_")]


def command(text: str) -> str:
    """Have Asterisk do something; return its result. Raises `EOFError` if the caller hung up."""
    print(text, flush=True)
    answer = sys.stdin.readline()
    result = re.match(r"200 result=(\S*)", answer)
    if result is None or result[1] == "-1":
        raise EOFError(answer)
    return result[1]


def submit(number: str, code: str) -> str:
    """Hand in a code; return the prompt to play."""
    subject = "number" if number.startswith("+") else "id"
    request = urllib.request.Request(  # noqa: S310 - the URL is the operator's own
        os.environ["DESK_URL"] + "/api/v1/codes",
        json.dumps({subject: number, "code": code}).encode(),
        {
            "Authorization": f"Bearer {os.environ['DESK_TOKEN']}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return "desk-thanks"
    except urllib.error.HTTPError as error:
        return "desk-wrong" if error.code in (400, 404, 409) else "desk-later"
    except OSError:
        return "desk-later"


def main() -> None:
    """Ask for a code until the desk takes it, three times at most."""
    (number,) = read_arguments()
    for _ in range(_TRIES):
        code = command(f"GET DATA desk-enter-code {_TIMEOUT} {_MAX_DIGITS}")
        if code:
            prompt = submit(number, code)
            command(f'STREAM FILE {prompt} ""')
            if prompt != "desk-wrong":
                break


if __name__ == "__main__":
    with suppress(EOFError):  # the caller hung up
        main()
