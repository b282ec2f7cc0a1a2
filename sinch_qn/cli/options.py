"""Option types, options of several commands, and prompts."""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from sinch_qn import parsing
from sinch_qn.cli.journals import ALLOW_INSECURE, URL_PREFIXES, JournalName, check_url
from sinch_qn.cli.messages import note_typed, print_message
from sinch_qn.errors import JournalError
from sinch_qn.models import DirectLoaInfo, GlobalProcessState, ResellerLoaInfo
from sinch_qn.phone import ALL_REGIONS, REGIONS, region_of
from sinch_qn.preflight import OrderRequest, letter_of

E = TypeVar("E", bound=Enum)

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

# ── Types ───────────────────────────────────────────────────────────────────────────────────────


def phone_number(value: str) -> parsing.ParsedNumber:
    """Parse a number of an accepted region, and print it as E.164 unless it is written so."""
    return _parse(value, accepted_regions())


def number_of_run(value: str) -> str:
    """Return as E.164 a number that is in a run already, of any region.

    One that is written so is not parsed: whether it exists is for the journal to say.
    """
    if region_of(value, ALL_REGIONS) is None:
        return _parse(value, ALL_REGIONS).e164
    note_typed(value)
    return value


def _parse(value: str, regions: Collection[str]) -> parsing.ParsedNumber:
    try:
        number = parsing.parse_phone_number(value, regions=regions)
    except parsing.InvalidPhoneNumber as error:
        raise click.BadParameter(f"{value}: {error}") from error
    note_typed(number.e164)
    if number.e164 != value:
        print_message(f"{value} is {number.e164}")
    return number


def state(value: str) -> GlobalProcessState:
    """Parse a state, such as `verified`, `VERIFICATION-PENDING` or its full name."""
    name = value.upper().replace("-", "_").removeprefix("GLOBAL_PROCESS_STATE_")
    if name not in GlobalProcessState.__members__:
        known = ", ".join(GlobalProcessState.__members__).lower()
        raise click.BadParameter(f"{value!r} is not a state. There are: {known}.")
    return GlobalProcessState[name]


def member_of(enum: type[E]) -> Callable[[str], E]:
    """Return a parser of the names of *enum*, in any case, such as `in-progress`."""

    def parse(value: str) -> E:
        name = value.upper().replace("-", "_")
        if name not in enum.__members__:
            known = ", ".join(each for each in enum.__members__ if "UNSPECIFIED" not in each)
            raise click.BadParameter(f"{value!r} is none of {known.lower()}.")
        return enum[name]

    return parse


def moment(value: str) -> datetime:
    """Parse a time with its time zone, such as `2026-01-13T14:30:00Z`."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time: 2026-01-13T14:30:00Z") from None
    if time.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone: end it with Z for UTC")
    return time


_FILES_KEY: Final = "sinch_qn_files"
_BESIDE_A_JOURNAL: Final = ("-wal", "-shm", "-journal", ".lock")

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", re.ASCII)


def duration(value: str) -> float:
    """Parse a duration such as `90`, `15m` or `24h`, in seconds."""
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration such as 90, 15m, 24h or 2d")
    return float(match[1]) * _UNITS[match[2]]


class _File(click.Path):
    """A file that the command reads or writes; `check_files` compares them."""

    def __init__(
        self, *, exists: bool = False, is_output: bool = False, is_journal: bool = False
    ) -> None:
        super().__init__(exists=exists, dir_okay=False)
        self._is_output = is_output or is_journal
        self._is_journal = is_journal

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self._is_output:
            self._check(path, param, ctx)
        if param is not None:
            name = param.opts[0] if isinstance(param, click.Option) else str(param.metavar)
            _files().append(_UsedFile(name, path, is_output=self._is_output))
        return path

    def _check(self, path: Path, param: click.Parameter | None, ctx: click.Context | None) -> None:
        """Check that the file can be written before the command starts."""
        if _is_special(path):
            if self._is_journal:
                self.fail(f"{str(path)!r} is a device or a pipe: a journal is a file.", param, ctx)
            if not os.access(path, os.W_OK):
                self.fail(f"{str(path)!r}: no permission to write into it.", param, ctx)
            return
        folder = path.parent if not path.is_symlink() else Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            self.fail(f"{str(path)!r}: there is no folder {str(folder)!r}.", param, ctx)
        if not os.access(folder, os.W_OK | os.X_OK):
            self.fail(f"{str(path)!r}: no permission to write into {str(folder)!r}.", param, ctx)


class _Journal(_File):
    """The path of a SQLite journal, or the URL of a run in PostgreSQL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not (isinstance(value, str) and value.startswith(URL_PREFIXES)):
            return super().convert(value, param, ctx)
        try:
            return check_url(value)
        except JournalError as error:
            self.fail(f"{error}.", param, ctx)


class _Url(click.ParamType[str]):
    """The URL of a run in PostgreSQL."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not (isinstance(value, str) and value.startswith(URL_PREFIXES)):
            self.fail(f"{value!r} is not postgresql://HOST/DATABASE?run=NAME.", param, ctx)
        return JOURNAL.convert(value, param, ctx)


class _UsedFile(NamedTuple):
    name: str
    """The option or argument that it was given as."""
    path: Path
    is_output: bool


def _files() -> list[_UsedFile]:
    files: list[_UsedFile] = click.get_current_context().meta.setdefault(_FILES_KEY, [])
    return files


def _is_special(path: Path) -> bool:
    """Return whether *path* is a device or a pipe, also through a link."""
    return path.exists() and not path.is_file()


def check_files(journal: JournalName) -> None:
    """Refuse an output that is an input, the journal or another output, also through a link.

    The files beside the journal are its own. Raises `click.UsageError`.
    """
    ends = _BESIDE_A_JOURNAL if isinstance(journal, Path) else ()
    beside = [_UsedFile("JOURNAL", Path(f"{journal}{end}"), is_output=True) for end in ends]
    for one, other in itertools.combinations([*_files(), *beside], 2):
        if (one.is_output or other.is_output) and _is_same(one.path, other.path):
            raise click.UsageError(
                f"{one.name} and {other.name} are the same file, {str(one.path)!r}, which would be"
                " overwritten: nothing was done."
            )


def _is_same(one: Path, other: Path) -> bool:
    if _is_special(one) or _is_special(other):
        return False
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def loa_file(value: str) -> dict[str, DirectLoaInfo | ResellerLoaInfo]:
    """Read a file with a LOA as JSON; return it by the request field that takes it."""
    try:
        loa = parsing.parse_loa(Path(value).read_bytes())
        _files().append(_UsedFile("--loa", Path(value), is_output=False))
    except parsing.InvalidLoa as error:
        raise click.BadParameter(f"{value}: {error}.") from error
    return {f"{'direct' if isinstance(loa, DirectLoaInfo) else 'reseller'}_loa_info": loa}


FILE: Final = _File(exists=True)
GROWING_FILE: Final = _File()
OUTPUT: Final = _File(is_output=True)
JOURNAL_FILE: Final = _File(is_journal=True)
JOURNAL: Final = _Journal(is_journal=True)
URL: Final = _Url()

# ── Options of several commands ─────────────────────────────────────────────────────────────────

_REGIONS_KEY: Final = "sinch_qn_regions"

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
public_url_option = click.option(
    "--public-url", metavar="URL", help="Where browsers reach the desk, path included."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
region_option = click.option(
    "--region",
    type=click.Choice(["US", "CA"], case_sensitive=False),
    metavar="US|CA",
    help="The region of the numbers.",
)
more_regions_option = click.option(
    "--region",
    _REGIONS_KEY,
    multiple=True,
    type=click.Choice(sorted(ALL_REGIONS - set(REGIONS)), case_sensitive=False),
    metavar="REGION",
    is_eager=True,  # before the numbers are parsed
    expose_value=False,
    callback=lambda ctx, _, regions: ctx.meta.update({_REGIONS_KEY: regions}),
    help="Also accept numbers of another region of +1, such as PR.",
)
column_option = click.option(
    "--column", help="The file's column of numbers: its heading, or 1, 2, 3 …"
)
campaign_option = click.option(
    "--campaign-id", help="The 10DLC campaign. Sinch's guide requires it."
)
blanket_loa_option = click.option("--blanket-loa", is_flag=True, help="Use the agreed blanket LOA.")


insecure_option = click.option(
    "--allow-insecure",
    ALLOW_INSECURE,
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, value: ctx.find_root().meta.update({ALLOW_INSECURE: value}),
    help="Accept a database whose certificate is not verified.",
)


def accepted_regions() -> tuple[str, ...]:
    """Return US and CA, and the regions of `--region`."""
    return (*REGIONS, *click.get_current_context().meta.get(_REGIONS_KEY, ()))


def combine(*options: Decorator) -> Decorator:
    """Return one decorator that adds *options* in their order."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        return functools.reduce(lambda done, option: option(done), reversed(options), function)

    return decorate


journal_argument = combine(
    click.argument("journal", metavar="JOURNAL", type=_Journal(exists=True)), insecure_option
)
place_options = combine(
    click.option("--service-plan-id", required=True, help="The service plan."),
    click.option("--campaign-id", required=True, help="The campaign."),
)
"""What Sinch's listings require."""


def loa_option(*, required: bool = False) -> Decorator:
    """Return the option of a direct or reseller LOA."""
    return click.option(
        "--loa",
        type=loa_file,
        metavar="FILE",
        required=required,
        help="Direct or reseller LOA, as JSON: see docs/reference/cli.md.",
    )


def numbers_input(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* its `numbers`, from arguments, from `--file`, or from both."""

    @functools.wraps(command)
    def with_numbers(
        numbers: Sequence[parsing.ParsedNumber],
        path: Path | None,
        column: str | None,
        *,
        skip_invalid: bool,
        **options: Any,
    ) -> None:
        unique = {number.e164: number for number in numbers}
        if path is not None:
            for number in _read_file(path, column, skip_invalid=skip_invalid):
                unique.setdefault(number.e164, number)
        if not unique:
            raise click.UsageError("no numbers: give them as arguments, or with --file.")
        command(numbers=list(unique.values()), **options)

    return combine(
        click.argument("numbers", nargs=-1, type=phone_number),
        click.option("--file", "path", type=FILE, help="A CSV file of numbers, however written."),
        column_option,
        click.option("--skip-invalid", is_flag=True, help="Skip bad lines of the file."),
    )(with_numbers)


def _read_file(path: Path, column: str | None, *, skip_invalid: bool) -> list[parsing.ParsedNumber]:
    """Return the numbers of a file; print a warning about each bad line and duplicate.

    Raises `click.UsageError` if there are bad lines, unless they are to be skipped, or no others.
    """
    numbers, invalid = [], 0
    for line in read_lines(path, column, on_column=lambda found: _print_column(path, found)):
        if isinstance(line, parsing.GoodLine):
            numbers.append(line.number)
        else:
            print_message(f"{path}:{line.line}: {line.text}: {line.reason}", "warning")
            invalid += line.duplicate_of is None
    if not numbers:
        raise no_number(path)
    if invalid and not skip_invalid:
        raise click.UsageError(
            f"{path} has {invalid} bad {'line' if invalid == 1 else 'lines'}, and nothing was"
            " done: correct the file, or repeat with --skip-invalid."
        )
    return numbers


def _print_column(path: Path, column: parsing.Column) -> None:
    if column.of > 1:
        print_message(f"{path}: the numbers are those of {column}.")


def no_number(path: Path) -> click.UsageError:
    """Return the error of a file without a valid number."""
    return click.UsageError(f"{path}: there is no phone number in it, and nothing was done.")


def read_lines(
    path: Path,
    column: str | None = None,
    *,
    ref: str = "ref",
    find_duplicates: bool = True,
    on_column: Callable[[parsing.Column], None] | None = None,
) -> Iterator[parsing.GoodLine | parsing.BadLine]:
    """Read the lines of a file.

    Raises `click.UsageError` if it is not text, or if its column of numbers is ambiguous.
    """
    try:
        yield from parsing.read_numbers(
            path,
            column=column,
            ref=ref,
            find_duplicates=find_duplicates,
            regions=accepted_regions(),
            on_column=on_column,
        )
    except parsing.InvalidFile as error:
        raise click.UsageError(f"{path}: {error}.") from error
    except parsing.ColumnError as error:
        raise click.UsageError(f"{path}: {error}. Choose one with --column.") from error


# ── Prompts ─────────────────────────────────────────────────────────────────────────────────────


def confirm(question: str, *, yes: bool) -> None:
    """Continue only after a yes; without a terminal `--yes` is required."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} No terminal to confirm at: repeat it with --yes.")
    click.confirm(question, abort=True, err=True)


def print_letter(request: OrderRequest) -> None:
    """Print what the Letter of Authorization says and to whom it goes: personal data.

    So it is printed on a terminal, or if it is asked for.
    """
    letter = letter_of(request)
    if letter is None:
        print_message("No letter is sent: the blanket LOA was agreed before.")
        return
    print_message(f"The Letter of Authorization goes to {letter.recipient} to be signed.")
    for line in letter.says:
        print_message(f"It says: {line}")


def summarize_numbers(numbers: Sequence[str], shown: int = 5) -> str:
    """Return the first of *numbers*, and how many more there are."""
    more = len(numbers) - shown
    return ", ".join(numbers[:shown]) + (f" and {more} more" if more > 0 else "")


def code_or_prompt(number: str, code: str | None) -> str:
    """Return *code*, or the one that is typed at a prompt: that keeps it out of the history."""
    return (code or click.prompt(f"Code read out to {number}", err=True)).strip()
