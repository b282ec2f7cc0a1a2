"""A limit on the client's own requests: Sinch documents none for this API, so you set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sinch_qn.errors import InvalidRequestError

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


def _above_zero(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise InvalidRequestError(f"{field.name}: {value!r} is not a number above 0")


def _whole(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e6:
        raise InvalidRequestError(f"{field.name}: {value!r} is not a whole number from 1")


@attrs.frozen(eq=False)
class RateLimit:
    """At most *per_second* requests a second on average, and *burst* at once.

    One instance may be shared by several clients of one project in one event loop. Needs the extra
    `sinch-qn[rate-limit]`, which is aiolimiter.
    """

    per_second: float = attrs.field(validator=_above_zero)
    burst: int = attrs.field(default=1, kw_only=True, validator=_whole)
    _limiter: AsyncLimiter = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # not a default: those are made before the validators had their say
        try:
            from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError(
                "RateLimit needs aiolimiter: pip install 'sinch-qn[rate-limit]'"
            ) from error
        limiter = AsyncLimiter(self.burst, self.burst / self.per_second)
        object.__setattr__(self, "_limiter", limiter)

    async def acquire(self) -> None:
        """Wait for the next request's turn."""
        await self._limiter.acquire()
