"""`sinch-qn` in its own process, under the detector of blocking calls."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from sinch_qn.cli import main  # noqa: E402 - needs the path above
from tests.support.blocking import watched  # noqa: E402

with watched() as found:
    try:
        sys.exit(main())
    finally:
        if found:
            sys.exit(f"Traceback of a call that blocked the event loop:\n{found[0]}")
