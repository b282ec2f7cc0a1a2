"""A rate limit for the client's own requests; Sinch documents none for this API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sinch_qn._checks import check_above_zero, check_whole

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


def _above_zero(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_above_zero(value, field.name)


def _whole(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_whole(value, field.name)


@attrs.frozen(eq=False)
class RateLimit:
    """At most *per_second* requests a second on average, and *burst* at once.

    Several clients of one project can share an instance in one event loop. Needs the extra
    `sinch-qn[rate-limit]`, which is aiolimiter.
    """

    per_second: float = attrs.field(validator=_above_zero)
    burst: int = attrs.field(default=1, kw_only=True, validator=_whole)
    _limiter: AsyncLimiter = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # not a default: defaults are evaluated before the validators
        try:
            from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError(
                "RateLimit needs aiolimiter: pip install 'sinch-qn[rate-limit]'"
            ) from error
        limiter = AsyncLimiter(self.burst, self.burst / self.per_second)
        object.__setattr__(self, "_limiter", limiter)

    async def acquire(self) -> None:
        """Wait for a slot."""
        await self._limiter.acquire()
