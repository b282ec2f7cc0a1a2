"""What people hand in: numbers as they write them, states, files, and a yes or no."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource as ParameterSource

from sinch_qn.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sinch_qn.cli.as_written import Number
    from sinch_qn.models import GlobalProcessState

F = TypeVar("F", bound="Callable[..., Any]")


class NumberType(click.ParamType):
    """A US or CA phone number; what will be used is said unless that is what was written."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> Number:
        from sinch_qn.cli import as_written  # noqa: PLC0415 - 30 ms, for numbers only

        if isinstance(value, as_written.Number):
            return value
        try:
            number = as_written.read(value)
        except as_written.RefusedNumber as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        if number.e164 != value:
            say(f"{value} is {number.e164}")
        return number


class StateType(click.ParamType):
    """A state, as in `verified`, `VERIFICATION-PENDING` or by its whole name."""

    name = "state"

    def convert(self, value: Any, param: Any, ctx: Any) -> GlobalProcessState:
        from sinch_qn.models import GlobalProcessState  # noqa: PLC0415 - 50 ms

        name = value.upper().replace("-", "_").removeprefix("GLOBAL_PROCESS_STATE_")
        if name not in GlobalProcessState.__members__:
            known = ", ".join(GlobalProcessState.__members__).lower()
            self.fail(f"{value!r} is not a state. There are: {known}.", param, ctx)
        return GlobalProcessState[name]


class TimeType(click.ParamType):
    """A moment with its time zone, such as `2026-01-13T14:30:00Z`."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-01-13T14:30:00Z", param, ctx)
        if time.tzinfo is None:
            self.fail(f"{value!r} has no time zone: end it with Z for UTC", param, ctx)
        return time


NUMBER: Final = NumberType()
STATE: Final = StateType()
TIME: Final = TimeType()
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
region_option = click.option(
    "--region", type=click.Choice(["US", "CA"], case_sensitive=False), metavar="US|CA"
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


def numbers_input(command: F) -> F:
    """Take numbers as arguments, from `--file`, or both; see `gather`."""
    for option in (
        click.option("--skip-invalid", is_flag=True, help="Go on without the lines that are bad."),
        click.option("--column", help="The file's column of numbers: its heading, or 1, 2, 3 …"),
        click.option("--file", "path", type=FILE, help="A CSV file of numbers, however written."),
        click.argument("numbers", nargs=-1, type=NUMBER),
    ):
        command = option(command)
    return command


def gather(
    numbers: Sequence[Number], path: Path | None, column: str | None, *, skip_invalid: bool
) -> list[Number]:
    """Return the numbers given, each once, in their order.

    Every bad line of the file is told with its line number and reason. Unless they may be skipped
    nothing is done then; a duplicate is told, but harms nobody.
    """
    gathered = {number.e164: number for number in numbers}
    invalid = 0
    if path is not None:
        from sinch_qn.cli.numbers_file import BadLine, ColumnError, read_file  # noqa: PLC0415

        try:
            for line in read_file(path, column=column):
                if isinstance(line, BadLine):
                    invalid += line.duplicate_of is None
                    say(f"{path}:{line.line}: {line.text}: {line.reason}", "warning")
                else:
                    gathered.setdefault(line.number.e164, line.number)
        except ColumnError as error:
            raise click.UsageError(f"{path}: {error}. Say which with --column.") from error
    if invalid and not skip_invalid:
        raise click.UsageError(
            f"{path} has {invalid} bad {'line' if invalid == 1 else 'lines'}, and nothing was done:"
            " correct them, or repeat with --skip-invalid."
        )
    if not gathered:
        raise click.UsageError("no numbers: give them as arguments, or with --file.")
    return list(gathered.values())
