"""What people hand in: numbers as they write them, states, files, and a yes or no."""

from __future__ import annotations

import functools
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sinch_qn.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinch_qn.models import GlobalProcessState
    from sinch_qn.parsing import BadLine, GoodLine, ParsedNumber


def number(value: str) -> ParsedNumber:
    """Read a US or CA number; what will be used is said, unless it is what was written."""
    from sinch_qn.parsing import InvalidPhoneNumber, parse_phone_number  # noqa: PLC0415 - 30 ms

    try:
        read = parse_phone_number(value)
    except InvalidPhoneNumber as error:
        raise click.BadParameter(f"{value}: {error}") from error
    if read.e164 != value:
        say(f"{value} is {read.e164}")
    return read


def state(value: str) -> GlobalProcessState:
    """Read a state, as in `verified`, `VERIFICATION-PENDING` or by its whole name."""
    from sinch_qn.models import GlobalProcessState  # noqa: PLC0415 - 50 ms, for states only

    name = value.upper().replace("-", "_").removeprefix("GLOBAL_PROCESS_STATE_")
    if name not in GlobalProcessState.__members__:
        known = ", ".join(GlobalProcessState.__members__).lower()
        raise click.BadParameter(f"{value!r} is not a state. There are: {known}.")
    return GlobalProcessState[name]


def time(value: str) -> datetime:
    """Read a moment with its time zone, such as `2026-01-13T14:30:00Z`."""
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time: 2026-01-13T14:30:00Z") from None
    if read.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone: end it with Z for UTC")
    return read


_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", re.ASCII)


def duration(value: str) -> float:
    """Read a duration such as `90`, `15m` or `24h`, in seconds."""
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration such as 90, 15m, 24h or 2d")
    return float(match[1]) * _UNITS[match[2]]


class _Output(click.Path):
    """A file to be written: its folder must be there now, not only when the work is done."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{value!r}: there is no folder {str(path.parent)!r}.", param, ctx)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{value!r}: nothing can be written into {str(path.parent)!r}.", param, ctx)
        return path


FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT: Final = _Output(dir_okay=False)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
region_option = click.option(
    "--region",
    type=click.Choice(["US", "CA"], case_sensitive=False),
    metavar="US|CA",
    help="The region of the numbers.",
)


def examples(*lines: str) -> str:
    """Return the end of a command's --help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def ask(question: str, *, yes: bool) -> None:
    """Go on only after a yes; where nobody can be asked, `--yes` must have been given."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} There is no terminal to ask at: repeat it with --yes.")
    click.confirm(question, abort=True, err=True)


def listed(numbers: Sequence[ParsedNumber], most: int = 5) -> str:
    """Return the first *most* numbers and how many more there are."""
    shown = ", ".join(each.e164 for each in numbers[:most])
    return shown + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def numbers_input(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* its `numbers`, from arguments, from `--file`, or from both."""

    @functools.wraps(command)
    def with_numbers(
        numbers: Sequence[ParsedNumber],
        path: Path | None,
        column: str | None,
        *,
        skip_invalid: bool,
        **options: Any,
    ) -> None:
        gathered = {each.e164: each for each in numbers}
        if path is not None:
            for each in _read(path, column, skip_invalid=skip_invalid):
                gathered.setdefault(each.e164, each)
        if not gathered:
            raise click.UsageError("no numbers: give them as arguments, or with --file.")
        command(numbers=list(gathered.values()), **options)

    for option in (
        click.option("--skip-invalid", is_flag=True, help="Go on without the lines that are bad."),
        click.option("--column", help="The file's column of numbers: its heading, or 1, 2, 3 …"),
        click.option("--file", "path", type=FILE, help="A CSV file of numbers, however written."),
        click.argument("numbers", nargs=-1, type=number),
    ):
        with_numbers = option(with_numbers)
    return with_numbers


def _read(path: Path, column: str | None, *, skip_invalid: bool) -> list[ParsedNumber]:
    """Return the file's numbers, and tell each bad line, with its line number and reason.

    Unless bad lines may be skipped nothing is done then; a duplicate is told, but harms nobody.
    """
    from sinch_qn.parsing import GoodLine  # noqa: PLC0415 - 30 ms, for files only

    numbers, invalid = [], 0
    for line in file_lines(path, column):
        if isinstance(line, GoodLine):
            numbers.append(line.number)
        else:
            say(f"{path}:{line.line}: {line.text}: {line.reason}", "warning")
            invalid += line.duplicate_of is None
    if invalid and not skip_invalid:
        raise click.UsageError(
            f"{path} has {invalid} bad {'line' if invalid == 1 else 'lines'}, and nothing was"
            " done: correct the file, or repeat with --skip-invalid."
        )
    return numbers


def file_lines(
    path: Path, column: str | None = None, *, find_duplicates: bool = True
) -> Iterator[GoodLine | BadLine]:
    """Read the file at *path*; if its column of numbers is not clear the user is told."""
    from sinch_qn.parsing import ColumnError, read_numbers  # noqa: PLC0415 - as above

    try:
        yield from read_numbers(path, column=column, find_duplicates=find_duplicates)
    except ColumnError as error:
        raise click.UsageError(f"{path}: {error}. Say which with --column.") from error
