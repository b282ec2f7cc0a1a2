"""`sinch-qn` as a process of its own, under the detector of blocking calls."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from sinch_qn.cli import main  # noqa: E402 - found there
from tests.support.blocking import watched  # noqa: E402

with watched() as found:
    try:
        sys.exit(main())
    finally:
        if found:
            sys.exit(f"Traceback of what blocked the event loop:\n{found[0]}")
