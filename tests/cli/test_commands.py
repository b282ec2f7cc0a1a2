"""Laws of the commands: output, confirmation and exit codes."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result

from sinch_qn import __version__, errors
from sinch_qn.cli import exit_codes, output, resources
from sinch_qn.cli.app import COMMANDS, SECTIONS, cli
from sinch_qn.errors import Outcome
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.models import (
    HostedNumberDetails,
    HostingStatus,
    OsrEligibilityDetails,
    QualifiedNumber,
)
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import (
    WITHOUT_WAITS,
    at_terminal,
    eventually,
    finish,
    process,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NUMBER, OTHER, CANADIAN, TOLL_FREE = "+12025550134", "+12025550135", "+14165550134", "+18335550134"
LOST_ANSWER = "+12025559996"
PERSON = {"firstName": "Canary", "lastName": "Canary", "email": "canary@example.com"}
ADDRESS = dict.fromkeys(
    ["buildingNumber", "street", "city", "state", "postalCode", "country"], "Canary"
)
LOA = {"authorisedPerson": PERSON, "address": ADDRESS, "currentVoiceCarrier": "Canary"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox."""
    with running(Sandbox()) as sandbox:
        yield sandbox


@pytest.fixture
def run(sandbox: Sandbox) -> Callable[..., Result]:
    """Run a command against the sandbox; no expected failure leaves a traceback."""

    def run(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(
            cli,
            arguments,
            env={**sandbox.environment(), **(env or {})},
            input=stdin,
            obj=WITHOUT_WAITS,
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def loa(tmp_path: Path) -> str:
    """Write a LOA for a direct customer."""
    path = tmp_path / "loa.json"
    path.write_text(json.dumps({"directLoaInfo": LOA}))
    return str(path)


# ── Output ──────────────────────────────────────────────────────────────────────────────────────


def test_version_and_help(run: Callable[..., Result]) -> None:
    """`--version` and `--help` need no credentials; each command has examples and its line."""
    assert run("--version").output == f"sinch-qn, version {__version__}\n"
    names = set(COMMANDS)
    assert names >= {"list", "get", "add", "delete", "send", "verify", "sandbox", "demo"}
    assert names >= {"run", "status", "code", "recall", "report"}
    assert names >= {"text-enable", "text-enable-toll-free"}
    listed = re.sub(r"\s+", " ", run("--help").output)
    assert sorted(" ".join(SECTIONS.values()).split()) == sorted(names), "each is in one section"
    assert all(f" {title}: " in listed for title in SECTIONS)
    for name, (_, first_line) in COMMANDS.items():
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert f"Examples:\n    sinch-qn {name}" in shown.output
        assert f"{name} {first_line}" in listed
        loaded = cli.get_command(click.Context(cli), name)
        assert loaded is not None
        assert (loaded.help or "").partition("\n")[0] == first_line
        assert loaded.name == name


def test_pipes_get_one_tab_separated_line_for_each_number(
    sandbox: Sandbox, run: Callable[..., Result]
) -> None:
    """In a pipe a listing is tab-separated lines without headings."""
    sandbox.add([NUMBER, CANADIAN], SinchState.VERIFIED)
    lines = run("list", "verified").stdout.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [
        [NUMBER, "US", "VERIFIED"],
        [CANADIAN, "CA", "VERIFIED"],
    ]
    assert {line.count("\t") for line in lines} == {7}


def test_json_has_the_objects_of_the_api(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """With `--json` each line is one JSON object, with the names and values of the API."""
    sandbox.add([NUMBER, OTHER], SinchState.VERIFIED)
    numbers = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [number["phoneNumber"] for number in numbers] == [NUMBER, OTHER]
    assert numbers[0]["globalProcessState"] == "GLOBAL_PROCESS_STATE_VERIFIED"
    [shown] = run("get", "--json", NUMBER).stdout.splitlines()
    assert json.loads(shown) == numbers[0]


def test_terminals_get_a_table(sandbox: Sandbox) -> None:
    """On a terminal a listing is a table with headings, without empty columns."""
    sandbox.add([NUMBER], SinchState.VERIFIED)
    code, shown = at_terminal(sandbox, "list")
    assert code == 0
    assert re.search(r"NUMBER +REGION +STATE +.*UPDATED", shown)
    assert NUMBER in shown
    assert "HOSTING" not in shown
    assert "\x1b[32m" in at_terminal(sandbox, "list", raw=True)[1]


def test_a_table_shows_every_detail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table shows statuses by name or as received, and errors in full; long ones are split."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(output, "_TABLE_ROWS", 2)
    monkeypatch.setenv("COLUMNS", "200")
    number = QualifiedNumber(
        phone_number=NUMBER,
        global_process_state=SinchState("GLOBAL_PROCESS_STATE_BRAND_NEW"),
        osr_eligibility=OsrEligibilityDetails(status=7, error="no \x1b[31mway"),
        hosted_number=HostedNumberDetails(status=HostingStatus.FAILED, error="[red]not[/red]"),
    )
    with resources.NumberLines(as_json=False) as lines:
        for _ in range(3):
            lines.add_number(number)
    shown = capsys.readouterr().out
    assert shown.count(NUMBER) == 3
    assert shown.count("ELIGIBILITY") == 2
    assert re.search(r"BRAND_NEW +7 +FAILED +no  ?\[31mway; \[red\]not\[/red\]", shown)
    assert "\x1b[31m" not in shown


def test_a_number_is_printed_as_e164(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """A number that is not written as E.164 is printed as such, on standard error."""
    sandbox.add([NUMBER])
    result = run("get", "(202) 555-0134")
    assert result.stdout.startswith(NUMBER)
    assert result.stderr == f"(202) 555-0134 is {NUMBER}\n"
    assert run("get", NUMBER).stderr == ""


def test_a_listing_obeys_its_options(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """States have any case, with or without prefix; region, page size and limit are obeyed."""
    sandbox.add([NUMBER, OTHER, CANADIAN], SinchState.HOSTING_DONE)
    sandbox.add([TOLL_FREE], SinchState.VERIFIED)
    for name in ("hosting_done", "Hosting-Done", "GLOBAL_PROCESS_STATE_HOSTING_DONE"):
        assert run("list", name, "--region", "ca").stdout.startswith(CANADIAN)
    limited = run("list", "--limit", "2", "--page-size", "1", "--order-by", "createdTime")
    assert [line.split("\t")[0] for line in limited.stdout.splitlines()] == [TOLL_FREE, NUMBER]
    assert sandbox.violations == []


# ── Single calls ────────────────────────────────────────────────────────────────────────────────


def test_a_number_is_added_called_and_verified(
    sandbox: Sandbox, run: Callable[..., Result]
) -> None:
    """`add` and `send` print the next step, and `verify` submits the code."""
    added = run("add", NUMBER)
    assert added.stdout.startswith(f"{NUMBER}\tUS\tEL")
    assert "orders@sinch.com" in added.stderr
    assert "sinch-qn send" in added.stderr
    assert f"sinch-qn verify {NUMBER}" in run("send", "--yes", NUMBER).stderr
    verified = run("verify", NUMBER, sandbox.code_for(NUMBER) or "")
    assert verified.exit_code == 0
    assert verified.stdout.startswith(f"{NUMBER}\tUS\tVERIFIED")


@pytest.mark.parametrize(
    "command", ["sandbox --port", "run numbers.csv --journal run.db --yes --desk"]
)
def test_a_port_that_is_taken_says_to_give_another(
    command: str,
    sandbox: Sandbox,
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server whose port is taken ends with 2, says what to do, and calls nobody."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.csv").write_text("phone\n+12025550134\n")
    sandbox.add(["+12025550134"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run(*command.split(), str(other.getsockname()[1]))
    assert result.exit_code == 2, result.output
    assert "give another one" in result.stderr
    assert sandbox.world.rings("+12025550134") == 0


def test_a_blocked_number_is_a_failure(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """If a call leaves its number blocked, `send` exits with 1 and expects no code."""
    sandbox.add(["+12025559995"])
    result = run("send", "--yes", "+12025559995")
    assert result.exit_code == exit_codes.Exit.FAILED
    assert "verify it by invoices" in result.stderr
    assert "Submit the code" not in result.stderr


def test_a_code_is_prompted_for(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """Without a code `verify` prompts, which keeps it out of the history; pipes work, too."""
    sandbox.add([NUMBER], SinchState.VERIFICATION_PENDING)
    result = run("verify", NUMBER, stdin=f" {sandbox.code_for(NUMBER)} \n")
    assert result.exit_code == 0
    assert "Code read out" not in result.stdout
    assert "Code read out" in result.stderr
    assert run("verify", NUMBER, stdin="").exit_code == exit_codes.Exit.INTERRUPTED


@pytest.mark.parametrize("wrong_code", ["failed", "rejected"])
def test_a_wrong_code_is_a_failure(wrong_code: Any) -> None:
    """After a wrong code `verify` exits with 1, whatever the response, and shows no code."""
    with running(Sandbox(wrong_code=wrong_code)) as sandbox:
        sandbox.add([NUMBER], SinchState.VERIFICATION_PENDING)
        code = f"{(int(sandbox.code_for(NUMBER) or 0) + 1) % 10_000:04}"
        result = CliRunner().invoke(cli, ["verify", NUMBER, code], env=sandbox.environment())
    assert result.exit_code == exit_codes.Exit.FAILED
    assert code not in result.stderr.replace(NUMBER, "")


def test_a_number_is_deleted(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """`delete` prints what it deleted, and an error names its number."""
    sandbox.add([NUMBER])
    result = run("delete", "--yes", NUMBER, OTHER)
    assert result.exit_code == exit_codes.Exit.NOT_FOUND
    assert result.stdout == f"{NUMBER}\tdeleted\n"
    assert f"error: {OTHER}: HTTP 404 NOT_FOUND" in result.stderr


def test_numbers_come_from_a_file_too(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """`--file` adds the numbers of a CSV file to those of the command line, each once."""
    path = tmp_path / "numbers.csv"
    path.write_text("name;phone\nAl;(202) 555-0135\nBo;202-555-0134\nAl;2025550135\n")
    result = run("add", NUMBER, "--file", str(path))
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [NUMBER, OTHER]
    assert f"{path}:4: 2025550135: duplicate of line 2" in result.stderr


def test_a_bad_line_stops_the_file(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """A file with a bad line is rejected with line and reason, unless it is to be skipped."""
    path = tmp_path / "numbers.csv"
    path.write_text("2025550134\n1.20256E+10\n")
    refused = run("add", "--file", str(path))
    assert refused.exit_code == exit_codes.Exit.USAGE
    assert f"{path}:2: 1.20256E+10: a spreadsheet" in refused.stderr
    assert "1 bad line, and nothing was done" in refused.stderr
    assert sandbox.calls.total("addQualifiedNumbers") == 0
    assert run("add", "--file", str(path), "--skip-invalid").exit_code == 0
    path.write_text("a,b\n2025550134,2025550135\n")
    assert "Choose one with --column" in run("add", "--file", str(path)).stderr
    path.write_text("\n")
    assert "no phone number in it" in run("add", "--file", str(path)).stderr


def test_many_numbers_are_added_in_parts(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """A long file is added 500 numbers at a time, as the dashboard does."""
    path = tmp_path / "numbers.csv"
    path.write_text(
        "".join(f"202{exchange}0{n:03}\n" for exchange in (555, 556) for n in range(300))
    )
    assert len(run("add", "--file", str(path)).stdout.splitlines()) == 600
    assert sandbox.calls.total("addQualifiedNumbers") == 2


# ── Orders ──────────────────────────────────────────────────────────────────────────────────────


def test_numbers_are_text_enabled(sandbox: Sandbox, run: Callable[..., Result], loa: str) -> None:
    """`text-enable` places one order, with every field as given."""
    sandbox.add([NUMBER], SinchState.VERIFIED)
    result = run(
        *("text-enable", NUMBER, "--yes", "--service-plan-id", "plan", "--loa", loa, "--json"),
        *("--campaign-id", "campaign", "--display-name", "ours", "--nnid", "1"),
        *("--callback-url", "https://example.com/", "--migrate-to-sinch-tmo"),
        *("--osr-update-time", "2099-01-13T15:30:00+01:00"),
    )
    [order] = sandbox.world.orders.values()
    assert json.loads(result.stdout) == {"hostingOrderId": order.id}
    assert dict(order.request) == {
        "regionCode": "US",
        "numbers": [NUMBER],
        "servicePlanId": "plan",
        "campaignId": "campaign",
        "displayName": "ours",
        "nnid": "1",
        "callbackUrl": "https://example.com/",
        "migrateToSinchTmo": True,
        "scheduledOsrUpdateTime": "2099-01-13T14:30:00Z",
        "directLoaInfo": LOA,
    }
    assert "warning" not in result.stderr
    assert "sent by email" in result.stderr


def test_a_blanket_loa_is_enough(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """`--blanket-loa` sends the empty object; without a campaign there is a warning."""
    sandbox.add([CANADIAN], SinchState.VERIFIED)
    result = run("text-enable", CANADIAN, "--yes", "--service-plan-id", "plan", "--blanket-loa")
    [order] = sandbox.world.orders.values()
    assert dict(order.request) == {
        "regionCode": "CA",
        "numbers": [CANADIAN],
        "servicePlanId": "plan",
        "blanketLoaInfo": {},
    }
    assert result.stdout == f"{order.id}\n"
    assert "warning: no campaign" in result.stderr


def test_toll_free_numbers_are_text_enabled(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """`text-enable-toll-free` places an order of its kind, for resellers too, and shows no LOA."""
    sandbox.add([TOLL_FREE], SinchState.VERIFIED)
    path = tmp_path / "loa.json"
    path.write_text(json.dumps({"resellerLoaInfo": {"businessName": "Canary", **LOA}}))
    result = run(
        *("text-enable-toll-free", TOLL_FREE, "--yes", "--service-plan-id", "plan"),
        *("--loa", str(path), "--provisioning-time", "2099-01-13T14:30:00Z"),
    )
    [order] = sandbox.world.orders.values()
    assert order.toll_free
    assert order.request["resellerLoaInfo"]["businessName"] == "Canary"
    assert order.request["scheduledZipwhipProvisioningTime"] == "2099-01-13T14:30:00Z"
    assert result.stdout.startswith(f"{order.id}\t")
    assert "Canary" not in result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["text-enable", NUMBER], "--service-plan-id"),
        (["text-enable", NUMBER, "--service-plan-id", "p"], "either --loa FILE or --blanket-loa"),
        (["text-enable", "--service-plan-id", "p", "--blanket-loa"], "no numbers"),
        (
            ["text-enable", NUMBER, CANADIAN, "--service-plan-id", "p", "--blanket-loa"],
            "these numbers need 2 orders",
        ),
        (
            ["text-enable", TOLL_FREE, "--service-plan-id", "p", "--blanket-loa"],
            "`sinch-qn text-enable-toll-free`",
        ),
        (
            ["text-enable-toll-free", NUMBER, "--service-plan-id", "p", "--loa", "LOA"],
            "`sinch-qn text-enable`",
        ),
        (
            ["text-enable", NUMBER, "--service-plan-id", "p", "--osr-update-time", "2026-01-13"],
            "has no time zone",
        ),
        (
            ["text-enable", NUMBER, "--service-plan-id", "p", "--osr-update-time", "soon"],
            "is not a time",
        ),
        (["text-enable", NUMBER, "--service-plan-id", "p", "--loa", "nowhere"], "No such file"),
        (["list", "verfied"], "is not a state"),
        (["list", "--region", "FR"], "--region"),
        (["get", "555-0134"], "no area code"),
        (["get", "+1 876 555 0134"], "Jamaica (JM)"),
        (["send"], "NUMBER"),
        (["dance"], "No such command"),
        (["verify", NUMBER, "12 34"], "code: expected"),
    ],
)
def test_mistakes_are_reported_before_anything_is_sent(
    sandbox: Sandbox, run: Callable[..., Result], loa: str, arguments: list[str], reason: str
) -> None:
    """A mistake on the command line exits with 2 and its reason, and sends nothing."""
    result = run(*(loa if argument == "LOA" else argument for argument in arguments))
    assert result.exit_code == exit_codes.Exit.USAGE
    assert reason in result.stderr
    assert result.stdout == ""
    assert not any(sandbox.calls.totals().values())


def test_an_order_takes_at_most_500(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """More numbers than an order may have are rejected before sending."""
    path = tmp_path / "numbers.csv"
    path.write_text("".join(f"202555{number:04}\n" for number in range(501)))
    plan = ("--service-plan-id", "p", "--blanket-loa")
    refused = run("text-enable", "--file", str(path), *plan)
    assert refused.exit_code == exit_codes.Exit.USAGE
    assert "at most 500 numbers each: 500 US numbers, 1 US number" in refused.stderr


def test_a_dry_run_of_an_order(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path, loa: str
) -> None:
    """`--dry-run` shows every order, the letter and whom it goes to, and sends nothing."""
    path = tmp_path / "numbers.csv"
    lines = [f"202555{number:04}" for number in range(501)] + [CANADIAN, TOLL_FREE]
    path.write_text("\n".join(lines))
    arguments = ("text-enable", "--file", str(path), "--service-plan-id", "p", "--loa", loa)
    result = run(*arguments, "--dry-run", "--json")
    assert result.exit_code == 0
    orders = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(o["command"], o["regionCode"], len(o["phoneNumbers"])) for o in orders] == [
        ("text-enable", "US", 500),
        ("text-enable", "US", 1),
        ("text-enable", "CA", 1),
        ("text-enable-toll-free", "US", 1),
    ]
    assert "goes to Canary Canary <canary@example.com>" in result.stderr
    assert "current voice carrier: Canary" in result.stderr
    assert "no campaign" in result.stderr
    assert "--text-enable`, which orders nothing twice" in result.stderr
    assert run(*arguments, "--yes").exit_code == exit_codes.Exit.USAGE
    assert not any(sandbox.calls.totals().values())


def test_a_dry_run_of_one_order(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """An order that is fine exits with 0 in a dry run, and is not placed."""
    plan = ("--service-plan-id", "p", "--campaign-id", "c", "--blanket-loa", "--dry-run")
    result = run("text-enable", NUMBER, *plan)
    assert (result.exit_code, result.stdout) == (0, f"1\ttext-enable\t1 US number\t{NUMBER}\n")
    assert "No letter is sent" in result.stderr
    assert not any(sandbox.calls.totals().values())


def test_an_incomplete_letter_is_not_sent(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """Empty fields and an address that is none are named, not shown, before anything is sent."""
    path = tmp_path / "loa.json"
    person = {**PERSON, "email": "canary at example.com"}
    letter = {**LOA, "authorisedPerson": person, "address": {**ADDRESS, "city": " "}}
    path.write_text(json.dumps({"directLoaInfo": letter}))
    result = run("text-enable", NUMBER, "--yes", "--service-plan-id", "p", "--loa", str(path))
    assert result.exit_code == exit_codes.Exit.USAGE
    assert "directLoaInfo.address.city: is empty" in result.stderr
    assert "directLoaInfo.authorisedPerson.email: is not an email address" in result.stderr
    assert "canary" not in result.output.lower()
    assert not any(sandbox.calls.totals().values())


def test_a_bad_loa_is_explained_and_not_shown(run: Callable[..., Result], tmp_path: Path) -> None:
    """An invalid LOA file exits with 2 and names the file and field, not the values."""
    path = tmp_path / "loa.json"
    path.write_text(json.dumps({"resellerLoaInfo": LOA}))
    result = run("text-enable", NUMBER, "--service-plan-id", "p", "--loa", str(path))
    assert result.exit_code == exit_codes.Exit.USAGE
    assert f"{path}: resellerLoaInfo: without businessName." in result.stderr
    assert "canary" not in result.output.lower()


# ── Errors ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "command", "code"),
    [
        (errors.InvalidRequestError("no"), "send", 2),
        (errors.AuthenticationError("no", status_code=401), "send", 3),
        (errors.PermissionDeniedError("no", status_code=403), "list", 3),
        (errors.NotFoundError("no", status_code=404), "send", 4),
        (errors.BadRequestError("no", status_code=400), "send", 1),
        (errors.ConflictError("no", status_code=409), "text-enable-toll-free", 1),
        (errors.RateLimitError("no", status_code=429), "send", 6),
        (errors.ConnectError("no"), "send", 6),
        (errors.TokenError("no"), "text-enable", 6),
        (errors.DeadlineExceededError("no", outcome=Outcome.NOT_SENT), "send", 6),
        (errors.DeadlineExceededError("no", outcome=Outcome.UNKNOWN), "send", 5),
        (errors.TransportError("no"), "verify", 5),
        (errors.ServerError("no", status_code=500), "text-enable", 5),
        (errors.ServerError("no", status_code=500), "text-enable-toll-free", 5),
        (errors.InvalidResponseError("no"), "add", 5),
        (errors.TransportError("no"), "delete", 5),
        (errors.TransportError("no"), "get", 6),
        (errors.ServerError("no", status_code=503), "list", 6),
        (errors.InvalidResponseError("no"), "list", 1),
        (errors.PaginationError("no"), "list", 1),
    ],
)
def test_exit_codes_by_kind_of_failure(
    error: errors.SinchError,
    command: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script can tell from the exit code what it may do next; a read has no unknown outcome."""

    def fail() -> None:
        raise error

    loaded = cli.get_command(click.Context(cli), command)
    assert loaded is not None
    monkeypatch.setattr(loaded, "callback", fail)
    with pytest.raises(click.exceptions.Exit) as caught:
        loaded.invoke(click.Context(loaded))
    assert caught.value.exit_code == code
    assert ("outcome unknown" in capsys.readouterr().err) is (code == exit_codes.Exit.UNKNOWN)


def test_an_unknown_outcome_is_explained(sandbox: Sandbox, run: Callable[..., Result]) -> None:
    """If the response to a call is lost, the message is that the phone may be ringing."""
    sandbox.add([LOST_ANSWER])
    result = run("send", "--yes", LOST_ANSWER)
    assert result.exit_code == exit_codes.Exit.UNKNOWN
    assert "The phone may be ringing" in result.stderr
    assert sandbox.world.rings(LOST_ANSWER) == 1


def test_rejected_credentials(run: Callable[..., Result]) -> None:
    """A wrong secret exits with 3 and is not shown."""
    result = run("list", env={"SINCH_KEY_SECRET": "canary"})
    assert result.exit_code == exit_codes.Exit.AUTHENTICATION
    assert "canary" not in result.output


def test_missing_credentials_are_named(run: Callable[..., Result]) -> None:
    """Without credentials one message names every missing variable."""
    result = run("list", env={"SINCH_KEY_ID": "", "SINCH_KEY_SECRET": ""})
    assert result.exit_code == exit_codes.Exit.USAGE
    assert "SINCH_KEY_ID, SINCH_KEY_SECRET" in result.stderr


def test_no_server_is_no_traceback(run: Callable[..., Result]) -> None:
    """Without a server nothing is done, and the message is to try again."""
    nobody = {"SINCH_BASE_URL": "http://127.0.0.1:9", "SINCH_TOKEN_URL": "http://127.0.0.1:9/"}
    result = run("send", "--yes", NUMBER, env=nobody)
    assert result.exit_code == exit_codes.Exit.TRY_AGAIN
    assert "Nothing was done" in result.stderr


def test_an_unreadable_file_is_no_traceback(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the operating system is one line: the file and the reason."""
    path = tmp_path / "numbers.csv"
    path.write_text("2025550134\n")
    monkeypatch.setattr("pathlib.Path.open", _refuse)
    result = run("add", "--file", str(path))
    assert result.exit_code == exit_codes.Exit.USAGE
    assert result.stderr == "error: numbers.csv: Permission denied\n"


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", "numbers.csv")


# ── Confirmation ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", NUMBER],
        ["delete", NUMBER],
        ["text-enable", NUMBER, "--service-plan-id", "p", "--blanket-loa"],
        ["text-enable-toll-free", TOLL_FREE, "--service-plan-id", "p", "--loa", "LOA"],
    ],
)
def test_without_a_terminal_yes_is_required(
    sandbox: Sandbox, run: Callable[..., Result], loa: str, arguments: list[str]
) -> None:
    """Commands that call, delete or order need a terminal to confirm at, or `--yes`."""
    result = run(*(loa if argument == "LOA" else argument for argument in arguments), stdin="y\n")
    assert result.exit_code == exit_codes.Exit.USAGE
    assert "repeat it with --yes" in result.stderr
    assert not any(sandbox.calls.totals().values())


def test_at_a_terminal_a_command_is_confirmed(sandbox: Sandbox) -> None:
    """Anything but a yes, Ctrl-C included, does nothing and exits with 130."""
    sandbox.add([NUMBER, OTHER])
    for refusal in ("n\n", "\n", "\x03", "\x04"):
        code, shown = at_terminal(sandbox, "delete", "202-555-0134", answer=refusal)
        assert code == exit_codes.Exit.INTERRUPTED
        assert f"Delete {NUMBER} from the project? [y/N]" in shown
        assert "Nothing was done" in shown
        assert "Traceback" not in shown
    code, shown = at_terminal(sandbox, "delete", NUMBER, answer="y\n")
    assert (code, "deleted" in shown) == (0, True)
    assert sandbox.calls.total("deleteQualifiedNumber") == 1


# ── Processes ───────────────────────────────────────────────────────────────────────────────────


def test_the_sandbox_prints_its_variables(tmp_path: Path) -> None:
    """`sinch-qn sandbox` prints the variables that the other commands need."""
    python = shlex.quote(sys.executable)
    script = f"""
        set -e
        eval "$(cat "$0/exports")"
        qn() {{ {python} -m sinch_qn.cli "$@"; }}
        qn add '(202) 555-0134'
        qn send --yes {NUMBER}
        {python} "$0/heard.py" | qn verify {NUMBER}
        qn add --region PR '(787) 555-0134' >&2
        qn list verified
    """
    (tmp_path / "heard.py").write_text(
        "import json, os, urllib.request\n"
        f"url = os.environ['SINCH_BASE_URL'] + '/_sandbox/codes/{NUMBER}'\n"
        "print(json.load(urllib.request.urlopen(url))['code'])\n"
    )
    options = ["--hosting-delay", "1", "--sign-by-hand", "--region", "PR"]
    with process("sandbox", "--port", "0", *options) as server:
        assert server.stdout is not None
        exports = [server.stdout.readline() for _ in range(6)]
        assert all(re.fullmatch(r"export SINCH_[A-Z_]+=\S+\n", line) for line in exports)
        (tmp_path / "exports").write_text("".join(exports))
        done = subprocess.run(  # noqa: S603 - our own script
            ["/bin/sh", "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        server.send_signal(signal.SIGINT)
        code, _, err = finish(server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split("\t")[:3] == [NUMBER, "US", "VERIFIED"]
    assert code == 0
    assert "/_sandbox/codes/+12025550134" in err
    assert ":signLoa" in err


def test_ctrl_c_is_no_traceback() -> None:
    """Ctrl-C during a call exits with 130 and prints what the call may have done."""
    with running(Sandbox(latency=30.0)) as sandbox:
        sandbox.add([NUMBER])
        environment = {**sandbox.environment(), "SINCH_AUTH": "basic"}
        with process("send", "--yes", NUMBER, env=environment) as command:
            eventually(lambda: sandbox.calls.total("sendVoiceChallenge") == 1)
            command.send_signal(signal.SIGINT)
            code, _, err = finish(command)
    assert code == exit_codes.Exit.INTERRUPTED
    assert "The phone may be ringing" in err


def test_a_reader_may_go_away(sandbox: Sandbox) -> None:
    """`sinch-qn list | head -1` exits without an error."""
    sandbox.add(f"+12{area:02}555{number:04}" for area in range(1, 6) for number in range(2000))
    with process("list", env=sandbox.environment()) as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("+1")
        command.stdout.close()
        _, err = command.communicate(timeout=20)
    assert err == ""


def test_without_the_extra_one_line_names_it() -> None:
    """Without click, rich or phonenumbers the command prints how to install them."""
    script = (
        "import sys; sys.modules['rich'] = None; from sinch_qn.cli import main; sys.exit(main())"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_codes.Exit.USAGE
    assert done.stderr == "sinch-qn needs an extra: pip install 'sinch-qn[cli]'\n"


def test_numbers_of_other_regions_are_accepted_by_a_switch(
    sandbox: Sandbox, run: Callable[..., Result], tmp_path: Path
) -> None:
    """`--region PR` sends Puerto Rico beside US and CA; this sandbox has none of them."""
    refused = run("get", "787-555-0134")
    assert "Puerto Rico (PR)" in refused.stderr
    assert "--region" in refused.stderr
    added = ("add", "787-555-0134", "--region", "pr", "202-555-0134")
    assert run(*added).exit_code == exit_codes.Exit.FAILED
    path = tmp_path / "numbers.csv"
    path.write_text("787-555-0135\n416-555-0134\n")
    assert run("add", "--file", str(path)).exit_code == exit_codes.Exit.USAGE
    assert sandbox.calls.total("addQualifiedNumbers") == 1
    run("add", "--file", str(path), "--region", "PR")
    assert sandbox.calls.total("addQualifiedNumbers") == 2
    assert run("get", "787-555-0135", "--region", "PR").exit_code == exit_codes.Exit.NOT_FOUND
    assert run("get", "--region", "XX", "787-555-0135").exit_code == exit_codes.Exit.USAGE
