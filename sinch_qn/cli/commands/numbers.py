"""The commands: read what was given, call Sinch, show the answer."""

from __future__ import annotations

import sys
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from sinch_qn import __version__
from sinch_qn.cli import exit_codes, options
from sinch_qn.cli.client import about, call
from sinch_qn.cli.commands import runs, sandbox
from sinch_qn.cli.commands.text_enabling import text_enable, text_enable_toll_free
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.options import (
    ask,
    examples,
    json_option,
    listed,
    numbers_input,
    region_option,
    yes_option,
)
from sinch_qn.cli.output import Lines, NumberLines, say, show_number, state_name
from sinch_qn.errors import SinchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sinch_qn import QualifiedNumbersClient
    from sinch_qn.models import GlobalProcessState
    from sinch_qn.parsing import ParsedNumber


class _Commands(click.Group):
    """Turns every expected failure of a command into a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that went away shows here, not at the interpreter's end
        except SinchError as error:
            ctx.exit(exit_codes.explain(error, ctx.invoked_subcommand or ""))
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            say(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), "error")
            ctx.exit(Exit.USAGE)
        except click.Abort:
            click.echo(err=True)  # the answer's line may not have ended
            say("Nothing was done.", "interrupted")
            ctx.exit(Exit.INTERRUPTED)
        except KeyboardInterrupt:
            ctx.exit(exit_codes.explain_interrupt(ctx.invoked_subcommand or ""))
        return result


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "sinch-qn demo",
        "sinch-qn list verified",
        "sinch-qn add '(202) 555-0134'",
        "sinch-qn send +12025550134",
        "sinch-qn verify +12025550134 0417",
    ),
)
@click.version_option(__version__, prog_name="sinch-qn")
def cli() -> None:
    """Prove that you own phone numbers, then text-enable them, with Sinch.

    Credentials come from the environment: SINCH_PROJECT_ID, SINCH_KEY_ID and SINCH_KEY_SECRET.
    `sinch-qn sandbox` prints some that need no account.
    """


@cli.command(
    "list",
    epilog=examples(
        "sinch-qn list",
        "sinch-qn list verified hosting_failed --region CA",
        "sinch-qn list verification-pending --json | jq -r .phoneNumber",
    ),
)
@click.argument("states", nargs=-1, type=options.state)
@region_option
@click.option("--page-size", type=click.IntRange(min=1), help="Numbers per request.")
@click.option("--order-by", type=click.Choice(["createdTime", "updatedTime"]))
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many numbers.")
@json_option
def list_numbers(
    states: Sequence[GlobalProcessState],
    region: str | None,
    page_size: int | None,
    order_by: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """List the project's numbers, by state.

    STATES such as `verified` or `hosting_done`; by default all, in the order of a number's life.
    """

    async def job(client: QualifiedNumbersClient) -> None:
        listing = client.list_numbers(
            *states, region_code=region, page_size=page_size, order_by=order_by
        )
        shown = 0
        with NumberLines(as_json=as_json) as lines:
            async with aclosing(listing):
                async for number in listing:
                    lines.add_number(number)
                    shown += 1
                    if shown == limit:
                        return

    call(job)


@cli.command(epilog=examples("sinch-qn get +12025550134", "sinch-qn get --json '(202) 555-0134'"))
@click.argument("numbers", nargs=-1, required=True, type=options.number)
@json_option
def get(numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Show NUMBERS as they are now."""

    async def job(client: QualifiedNumbersClient) -> None:
        with NumberLines(as_json=as_json) as lines:
            for number in numbers:
                with about(number.e164):
                    lines.add_number(await client.get_number(number.e164))

    call(job)


@cli.command(
    epilog=examples(
        "sinch-qn add '(202) 555-0134' 202-555-0135",
        "sinch-qn add --file customers.csv --column Phone",
    )
)
@numbers_input
@json_option
def add(numbers: Sequence[ParsedNumber], *, as_json: bool) -> None:
    """Ask Sinch to qualify NUMBERS.

    You must then show that they are yours: by their invoices, or by a call to each.
    """

    async def job(client: QualifiedNumbersClient) -> None:
        from sinch_qn._checks import MAX_NUMBERS  # noqa: PLC0415 - 50 ms, when it is needed

        rest = iter(number.e164 for number in numbers)
        with NumberLines(as_json=as_json) as lines:
            while batch := list(islice(rest, MAX_NUMBERS)):  # as many as the dashboard takes
                for number in await client.add_numbers(batch):
                    lines.add_number(number)

    call(job)
    say(
        "Now show that they are yours: email their invoices to orders@sinch.com (1 to 3 working"
        " days), or ring each with `sinch-qn send NUMBER` and hand in the code that is read out."
    )


@cli.command(epilog=examples("sinch-qn delete +12025550134", "sinch-qn delete --yes +12025550134"))
@click.argument("numbers", nargs=-1, required=True, type=options.number)
@yes_option
@json_option
def delete(numbers: Sequence[ParsedNumber], *, yes: bool, as_json: bool) -> None:
    """Delete NUMBERS from the project.

    Asks first.
    """
    ask(f"Delete {listed(numbers)} from the project?", yes=yes)

    async def job(client: QualifiedNumbersClient) -> None:
        with Lines("NUMBER", "RESULT", as_json=as_json) as lines:
            for number in numbers:
                with about(number.e164):
                    await client.delete_number(number.e164)
                lines.add({"phoneNumber": number.e164, "deleted": True}, number.e164, "deleted")

    call(job)


@cli.command(epilog=examples("sinch-qn send +12025550134", "sinch-qn send --yes +12025550134"))
@click.argument("number", type=options.number)
@yes_option
@json_option
def send(number: ParsedNumber, *, yes: bool, as_json: bool) -> None:
    """Ring NUMBER and read out a code.

    Asks first, as a call cannot be taken back.
    """
    ask(f"Ring {number.e164} now?", yes=yes)
    answer = call(lambda client: client.send_voice_challenge(number.e164))
    show_number(answer, as_json=as_json)
    if state_name(answer) == "VERIFICATION_BLOCKED":
        say(f"{number.e164} is blocked: it can be verified by invoices only", "error")
        raise click.exceptions.Exit(Exit.FAILED)
    say(f"Hand in the code: sinch-qn verify {number.e164}")


@cli.command(
    epilog=examples(
        "sinch-qn verify +12025550134",
        "sinch-qn verify +12025550134 0417",
        "echo 0417 | sinch-qn verify +12025550134",
    )
)
@click.argument("number", type=options.number)
@click.argument("code", required=False)
@json_option
def verify(number: ParsedNumber, code: str | None, *, as_json: bool) -> None:
    """Hand in the CODE that was read out to NUMBER.

    It is asked for if not given. Exits with 0 only if the number is verified now.
    """
    heard = code or click.prompt(f"Code that {number.e164} heard", err=True)
    answer = call(lambda client: client.verify_voice_challenge(number.e164, heard.strip()))
    show_number(answer, as_json=as_json)
    if state_name(answer) not in ("VERIFIED", "HOSTING_IN_PROGRESS", "HOSTING_DONE"):
        say(f"{number.e164} is not verified: {state_name(answer) or 'no state'}", "error")
        raise click.exceptions.Exit(Exit.FAILED)


@cli.command("sandbox", epilog=sandbox.EXAMPLES)
@sandbox.options
def run_sandbox(**settings: Any) -> None:
    """Run a fake Sinch that rings nobody, until Ctrl-C.

    Prints the variables that lead there, ready to paste or to `eval`.
    """
    sandbox.serve(**settings)


@cli.command("demo", epilog=examples("sinch-qn demo", "sinch-qn demo customers.csv"))
@click.argument("path", metavar="[FILE]", required=False, type=options.FILE)
@json_option
def run_demo(path: Path | None, *, as_json: bool) -> None:
    """Do the whole job on the sandbox: no account, no phones, no questions.

    The numbers in FILE, or made-up ones, are added, rung, verified and text-enabled by a run that
    is killed in the middle and goes on. Leaves demo-report.html here.
    """
    from sinch_qn.cli.commands.demo import demo  # noqa: PLC0415 - 500 ms, when it is needed

    demo(path, as_json=as_json)


for _command in (
    text_enable,
    text_enable_toll_free,
    runs.run,
    runs.status,
    runs.code,
    runs.recall,
    runs.free,
    runs.report,
):
    cli.add_command(_command)
