"""Times and durations as people read them."""

from __future__ import annotations

import time


def clock(at: float) -> str:
    """Return a local time with its zone, such as `14:30 EST`, and its date if it is not today."""
    then = time.localtime(at)
    is_today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M %Z" if is_today else "%F %H:%M %Z", then)


def rounded(seconds: float) -> str:
    """Return a duration as coarsely as it is known, such as `10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
