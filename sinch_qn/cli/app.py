"""The command `sinch-qn`: loads a command when it is used, and turns errors into exit codes."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from sinch_qn._version import __version__
from sinch_qn.cli.client_options import keep_client_option
from sinch_qn.cli.exit_codes import Exit, report_error, report_interrupt, report_unexpected
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.streams import discard_unwritten
from sinch_qn.errors import SinchError

_DEBUG: Final = "sinch_qn.debug"
"""The key of `--debug` in a context's `meta`."""

COMMANDS: Final = {
    "list": ("numbers:list_numbers", "List the project's numbers by state."),
    "get": ("numbers:get", "Show NUMBERS as they are now."),
    "add": ("numbers:add", "Submit NUMBERS for qualification."),
    "delete": ("numbers:delete", "Delete NUMBERS from the project."),
    "send": ("verification:send", "Call NUMBER and read out a code."),
    "verify": ("verification:verify", "Submit the CODE that was read out to NUMBER."),
    "invoices": (
        "invoices:invoices",
        "Email the invoices of the numbers in FILE to orders@sinch.com.",
    ),
    "text-enable": ("text_enabling:text_enable", "Order SMS for verified NUMBERS."),
    "text-enable-toll-free": (
        "text_enabling:text_enable_toll_free",
        "Order SMS for verified toll-free NUMBERS.",
    ),
    "orders": ("hosting_orders:orders", "Follow hosting orders, their numbers and carriers."),
    "imported": (
        "imported_numbers:imported",
        "Show, link or delete the numbers that Sinch hosts.",
    ),
    "callbacks": ("callbacks:callbacks", "Show or replace the secret that signs callbacks."),
    "check": ("number_files:check", "Read the numbers in FILE offline, and list its bad lines."),
    "doctor": ("doctor:doctor", "Check environment, network and credentials; say what to mend."),
    "run": ("runs:run", "Call the numbers in FILE, and verify their codes."),
    "worker": ("workers:worker", "Work on the run at URL, as one of any number of runners."),
    "pace": ("workers:pace", "Change the pace of the run at URL, for all its runners at once."),
    "status": ("run_tools:status", "Show the state of the run in JOURNAL."),
    "code": ("run_tools:code", "Submit a CODE of NUMBER to the run in JOURNAL."),
    "request": ("run_tools:request", "Have the run in JOURNAL call NUMBERS next."),
    "recall": ("run_tools:recall", "Have the run in JOURNAL call NUMBERS again."),
    "desk": ("desk:desk", "Serve the code desk of the run in JOURNAL, until Ctrl-C."),
    "links": ("desk:links", "Print the links of the run in JOURNAL as CSV, for a mail merge."),
    "free": ("run_tools:free", "Free the numbers of BATCH for another order."),
    "report": ("run_tools:report", "Report the outcome of each number in JOURNAL."),
    "journal": ("journal:journal", "Copy or accept a JOURNAL file; prepare or repair a database."),
    "sandbox": ("sandbox:sandbox", "Run a fake Sinch that calls nobody, until Ctrl-C."),
    "demo": ("demo:demo", "Show the whole job on a sandbox, without an account."),
}
"""The module and function of each command, and the first line of its help."""

SECTIONS: Final = {
    "Numbers": "list get add delete send verify invoices",
    "Bulk runs": "run worker desk links status code request recall report pace journal",
    "Text-enabling and orders": "text-enable text-enable-toll-free free orders imported callbacks",
    "Tools": "check doctor sandbox demo",
}
"""The commands of each section of `--help`, in the order of their use."""


class Command(click.Command):
    """A command that reports its errors, and what it may have done if the outcome is unknown."""

    def __init__(
        self, *args: Any, if_unknown: str = "", if_failed: str = "", **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self._if_unknown = if_unknown
        self._if_failed = if_failed

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        hints = {"if_unknown": self._if_unknown, "if_failed": self._if_failed}
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, OSError):
            raise
        except SinchError as error:
            _print_traceback(ctx)
            raise click.exceptions.Exit(report_error(error, **hints)) from error
        except Exception as error:
            _print_traceback(ctx)
            raise click.exceptions.Exit(report_unexpected(error, **hints)) from error
        except KeyboardInterrupt as interrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the next one ends the process
            raise click.exceptions.Exit(report_interrupt(self._if_unknown)) from interrupt


def _note_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value:
        ctx.find_root().meta[_DEBUG] = True


def _print_traceback(ctx: click.Context) -> None:
    """Print the traceback of the current error, if `--debug` is given."""
    if ctx.find_root().meta.get(_DEBUG):
        with suppress(OSError):
            click.echo(traceback.format_exc(), err=True, nl=False)


def _load_env_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:  # noqa: ARG001 - click's signature
    if value is not None:
        import_module("sinch_qn.cli.env_file").load_env_file(Path(value))


_debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_note_debug,
    help="Show the traceback of an error.",
)


def command(
    name: str | None = None, *, examples: str, if_unknown: str = "", if_failed: str = ""
) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command; its help ends with *examples*, one a line.

    See `report_error` for *if_unknown* and *if_failed*.
    """
    decorate = click.command(
        name, cls=Command, epilog=_examples(examples), if_unknown=if_unknown, if_failed=if_failed
    )
    return lambda function: decorate(_debug_option(function))


def command_group(*, examples: str) -> Callable[[Callable[..., None]], click.Group]:
    """Make a function a group of commands, each made by `command` and added to it."""
    return click.group(epilog=_examples(examples))


def _examples(lines: str) -> str:
    indented = "\n".join(f"  {line.strip()}" for line in lines.strip().splitlines())
    return f"\b\nExamples:\n{indented}"


class _Group(click.Group):
    """Loads only the command that is used, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        loaded: click.Command = getattr(import_module(f"sinch_qn.cli.commands.{module}"), function)
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names.split()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # raises here, not at exit, if the reader is gone
        except BrokenPipeError:
            raise  # click exits quietly
        except OSError as error:
            _print_traceback(ctx)
            message = f"{error.filename or ''}: {error.strerror or error}"
            print_message(message.lstrip(": "), "error")
            if error.errno == errno.EADDRINUSE:
                print_message("Another program has that port: give another one; 0 is any free one.")
            discard_unwritten(sys.stdout)
            ctx.exit(Exit.USAGE)
        except click.Abort:
            click.echo(err=True)  # the line of the prompt may not have ended
            print_message("Nothing was done.", "interrupted")
            ctx.exit(Exit.INTERRUPTED)
        except KeyboardInterrupt:  # while the command is loaded
            ctx.exit(report_interrupt())
        return result


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples("""
        sinch-qn demo
        sinch-qn --env-file .env list verified
        sinch-qn add '(202) 555-0134'
        sinch-qn send +12025550134
        sinch-qn verify +12025550134 0417
    """),
)
@_debug_option
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False),
    expose_value=False,
    callback=_load_env_file,
    help="Read variables that the environment does not have from a .env file.",
)
@click.option(
    "--proxy",
    metavar="URL",
    expose_value=False,
    callback=keep_client_option,
    help="An HTTP proxy, such as http://host:3128; by default that of HTTPS_PROXY and NO_PROXY.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    expose_value=False,
    callback=keep_client_option,
    help="Seconds that a call to Sinch may last, retries included; 30 by default.",
)
@click.version_option(__version__, prog_name="sinch-qn")
def cli() -> None:
    """Prove that you own phone numbers, then text-enable them, with Sinch.

    Credentials come from the environment: SINCH_PROJECT_ID, SINCH_KEY_ID and SINCH_KEY_SECRET.
    `sinch-qn sandbox` prints some that need no account.
    """
