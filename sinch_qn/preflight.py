"""What an order would do, before it is placed: how it is split, its letter, what is missing.

Pure. An order sends somebody a Letter of Authorization (LOA) to sign, so a mistake in it costs
days: it is cheaper to find it before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import attrs

from sinch_qn._checks import MAX_NUMBERS
from sinch_qn._redaction import MASK
from sinch_qn.models import (
    Address,
    DirectLoaInfo,
    ResellerLoaInfo,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from sinch_qn.phone import is_toll_free, region_of

OrderRequest: TypeAlias = TextEnableNumbersRequest | TextEnableTollFreeNumbersRequest

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_LOA_FIELDS: Final = ("direct_loa_info", "reseller_loa_info", "blanket_loa_info")


@attrs.frozen(kw_only=True)
class PlannedOrder:
    """The numbers of one order: of one kind and region, and no more than it may have."""

    toll_free: bool
    region: str
    numbers: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as people say it, such as `500 US numbers` or `1 toll-free number`."""
        kind = "toll-free" if self.toll_free else self.region
        return f"{len(self.numbers)} {kind} {'number' if len(self.numbers) == 1 else 'numbers'}"


@attrs.frozen(kw_only=True)
class Letter:
    """The Letter of Authorization of an order. It is personal data."""

    recipient: str = attrs.field(repr=False)
    """Whom it is sent to for signing, such as `Ada Example <ada@example.com>`."""
    masked_recipient: str
    """The same for journals and reports, such as `a•••@example.com`."""
    says: tuple[str, ...] = attrs.field(repr=False)
    """What the order has for it, a line each."""


def split_orders(
    numbers: Iterable[str], *, region: str | None = None, batch_size: int = MAX_NUMBERS
) -> list[PlannedOrder]:
    """Return the orders that *numbers* need: toll-free apart, each of one region and size.

    *region* is that of all numbers, if it is given; otherwise it is told from their area codes.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for number in dict.fromkeys(numbers):
        kind = is_toll_free(number)
        own = "US" if kind else region_of(number) or "US"
        groups.setdefault((kind, region or own), []).append(number)
    return [
        PlannedOrder(
            toll_free=toll_free, region=where, numbers=tuple(members[start : start + batch_size])
        )
        for (toll_free, where), members in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][1] != "US")
        )
        for start in range(0, len(members), batch_size)
    ]


def order_problems(request: OrderRequest) -> list[str]:
    """Return what Sinch, or who signs the letter, would refuse: fields by name, never values."""
    given = [name for name in _LOA_FIELDS if getattr(request, name, None) is not None]
    problems = [
        f"{name}: is empty"
        for name in ("service_plan_id", "campaign_id", "display_name", "nnid")
        if _is_blank(getattr(request, name, None))
    ]
    if len(given) != 1:
        problems.append("the letter: give one LOA, direct, reseller or blanket")
    for name in given:
        problems += _empty_fields(getattr(request, name), _wire_name(type(request), name))
    loa = _letter_info(request)
    if loa is not None and not _is_blank(loa.authorised_person.email):
        where = f"{_wire_name(type(request), given[0])}.authorisedPerson.email"
        if not _EMAIL.fullmatch(loa.authorised_person.email.strip()):
            problems.append(f"{where}: is not an email address, and the letter goes there")
    return problems


def order_warnings(request: OrderRequest) -> list[str]:
    """Return what may be meant, but is seldom right."""
    warnings = []
    if isinstance(request, TextEnableNumbersRequest) and request.campaign_id is None:
        warnings.append("no campaign: Sinch's guide requires one for SMS.")
    regions = [region_of(number) or "US" for number in request.numbers if not is_toll_free(number)]
    others = sum(region != request.region_code for region in regions)
    if others:
        noun = "number is" if others == 1 else "numbers are"
        warnings.append(
            f"{others} {noun} not {request.region_code} by the area code, but the order is."
        )
    return warnings


def letter_of(request: OrderRequest) -> Letter | None:
    """Return the letter that the order sends; None for a blanket LOA, which is agreed already."""
    loa = _letter_info(request)
    if loa is None:
        return None
    person = loa.authorised_person
    says = [f"current voice carrier: {loa.current_voice_carrier}"]
    if isinstance(loa, ResellerLoaInfo):
        says.insert(0, f"business: {loa.business_name}")
    return Letter(
        recipient=f"{person.first_name} {person.last_name} <{person.email}>",
        masked_recipient=f"{person.email[:1]}{MASK}@{person.email.rpartition('@')[2]}",
        says=(*says[:-1], f"address: {_written(loa.address)}", says[-1]),
    )


def _letter_info(request: OrderRequest) -> DirectLoaInfo | ResellerLoaInfo | None:
    return request.direct_loa_info or request.reseller_loa_info


def _written(address: Address) -> str:
    street = f"{address.building_number} {address.street}"
    place = f"{address.city}, {address.state} {address.postal_code}"
    return f"{street}, {place}, {address.country}"


def _wire_name(model: type[Any], name: str) -> str:
    return str(getattr(attrs.fields(model), name).metadata["wire"])


def _empty_fields(model: Any, where: str) -> Iterator[str]:
    for field in attrs.fields(type(model)):
        value, name = getattr(model, field.name), f"{where}.{field.metadata['wire']}"
        if attrs.has(type(value)):
            yield from _empty_fields(value, name)
        elif _is_blank(value):
            yield f"{name}: is empty"


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()
