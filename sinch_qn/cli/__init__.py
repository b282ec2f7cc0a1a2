"""The command `sinch-qn`, installed with `sinch-qn[cli]`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from sinch_qn.cli.streams import flush_standard_streams, prepare_standard_streams

_NEEDED = ("click", "phonenumbers", "rich", "jsonschema_rs")


def main() -> int:
    """Run the command line, or print how to install what it needs."""
    prepare_standard_streams()
    if any(find_spec(name) is None for name in _NEEDED):
        print("sinch-qn needs an extra: pip install 'sinch-qn[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    try:
        from sinch_qn.cli.app import cli  # noqa: PLC0415 - needs the extra
    except KeyboardInterrupt:
        return 130
    try:
        return cli.main(prog_name="sinch-qn")
    finally:
        flush_standard_streams()
