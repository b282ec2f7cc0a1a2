"""How numbers come into a run: valid ones as PENDING, the others as INVALID with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from sinch_qn.bulk.calling_hours import CallingHours
from sinch_qn.bulk.journal.protocol import Journal, invalid_line
from sinch_qn.bulk.states import ChallengeState, Entry
from sinch_qn.errors import InvalidRequestError
from sinch_qn.phone import REGIONS, check_e164, region_of

_CHUNK = 500
"""Numbers in one commit."""

_MAX_INVALID = 1000
"""Invalid numbers that an AddReport lists; the journal has them all."""


@attrs.frozen(kw_only=True)
class NewNumber:
    """A number to add, with its origin."""

    number: str
    ref: str | None = None
    """Your own reference: a chat id, a ticket. It comes back in events and in the report."""
    line: int | None = None
    region: str | None = None
    """Its region, if it was checked already: another than US and CA is accepted, such as PR."""
    problem: str | None = None
    """Why it cannot be used: it is kept as INVALID, so that it is not lost."""


@attrs.frozen(kw_only=True)
class Invalid:
    """A number that was refused."""

    line: int | None
    number: str
    reason: str


@attrs.frozen(kw_only=True)
class AddReport:
    """The result of adding numbers."""

    added: int
    already: int
    """Numbers that were in the journal before, and not INVALID: nothing changed for them."""
    invalid: list[Invalid]
    """The first thousand that were refused; `invalid_count` counts all."""
    invalid_count: int


@attrs.define(kw_only=True)
class Admission:
    """Adds numbers to a journal, chunk by chunk."""

    journal: Journal
    hours: CallingHours | None
    clock: Callable[[], float]
    check_running: Callable[[], None]
    """Called before each commit; raises if the run has ended."""
    regions: Collection[str] = REGIONS
    """The regions whose numbers are called."""
    _added: int = 0
    _already: int = 0
    _invalid_count: int = 0
    _invalid: list[Invalid] = attrs.field(factory=list)

    async def add(self, numbers: Iterable[str | tuple[str, str | None] | NewNumber]) -> AddReport:
        """Store *numbers*; on disk when this returns. Raises `InvalidRequestError`."""
        if isinstance(numbers, str):
            raise InvalidRequestError("numbers: expected many numbers, not one string")
        chunk: list[Entry] = []
        lines: dict[int, str] = {}
        for line, item in enumerate(numbers, start=1):
            chunk.append(self._entry(item, line))
            if isinstance(item, NewNumber) and item.line is not None:
                lines[item.line] = chunk[-1].number
            if len(chunk) >= _CHUNK:
                await self._commit(chunk, lines)
                chunk, lines = [], {}
        await self._commit(chunk, lines)
        return AddReport(
            added=self._added,
            already=self._already,
            invalid=self._invalid,
            invalid_count=self._invalid_count,
        )

    async def _commit(self, chunk: list[Entry], lines: Mapping[int, str]) -> None:
        self.check_running()
        if lines:
            await self.journal.remove_corrected(lines)
        good = [entry for entry in chunk if entry.state is not ChallengeState.INVALID]
        bad = [entry for entry in chunk if entry.state is ChallengeState.INVALID]
        new = await self.journal.add(good)  # also none: it tells whether the journal is well
        if bad:
            await self.journal.add(bad)
        self._added += new
        self._already += len(good) - new
        self._invalid_count += len(bad)
        self._invalid += [
            Invalid(line=entry.line, number=entry.number, reason=entry.note or "")
            for entry in bad[: _MAX_INVALID - len(self._invalid)]
        ]

    def _entry(self, item: object, line: int) -> Entry:
        if isinstance(item, tuple) and len(item) == 2:
            item = NewNumber(number=item[0], ref=item[1])
        new = item if isinstance(item, NewNumber) else NewNumber(number=item)  # type: ignore[arg-type]
        for name, text in (("ref", new.ref), ("problem", new.problem)):
            if text is not None and not (isinstance(text, str) and _is_storable(text)):
                raise InvalidRequestError(f"{name}: expected text, not {text!r}")
        at = new.line if new.line is not None else line
        problem = new.problem or self._problem(new.number, new.region)
        if problem is None:
            region = new.region or region_of(new.number, self.regions)
            return Entry(number=new.number, ref=new.ref, line=at, region=region)
        text = str(new.number)[:100].encode(errors="backslashreplace").decode()
        return Entry(
            # Each invalid line of a file is a row of its own, even if two have the same text.
            number=text if new.line is None else invalid_line(text, new.line),
            ref=new.ref,
            line=at,
            state=ChallengeState.INVALID,
            note=problem,
            settled_at=self.clock(),
        )

    def _problem(self, number: object, region: str | None) -> str | None:
        try:
            e164 = check_e164(number, "number")
        except InvalidRequestError as error:
            return error.message
        if (region or region_of(e164, self.regions)) is None:
            return (
                f"not a number of {' or '.join(self.regions)}, and +1 is not always one of them: "
                "the API's text names US and CA only; add other regions with regions="
            )
        if self.hours is not None and not self.hours.zones(e164):
            return "its time zone is not known: calling hours need a default_zone for it"
        return None


def _is_storable(text: str) -> bool:
    """Return whether *text* can be stored: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
