"""The system's Chromium, for pictures and for tests in a browser: where it is, how it starts."""

from __future__ import annotations

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
VARIABLE: Final = "SINCH_QN_CHROMIUM"
"""The environment variable with its path, where it has another name."""

_ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


def arguments() -> list[str]:
    """Return what it is started with: it contacts nobody; root cannot have its sandbox."""
    return [*_ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
