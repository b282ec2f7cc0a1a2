"""Laws of `orders`, `imported` and `callbacks`: output, confirmation, exit codes, the secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Clock, Fault, Sandbox
from tests.sandbox.curl import order_of
from tests.support.cli_process import WITHOUT_WAITS, Terminal, at_terminal, running

NUMBER, OTHER = "+12025550134", "+12025550135"
FAILS, REFUSED, REJECTED = "+12025559997", "+12025559989", "+12025559998"
PLACE = ("--service-plan-id", "plan", "--campaign-id", "C1")
CANARY = "canary-secret-of-callbacks"

Run = Callable[..., Result]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox whose clock only the test moves."""
    with running(Sandbox(clock=Clock.stopped())) as sandbox:
        sandbox.add([NUMBER, OTHER, FAILS, REFUSED, REJECTED], SinchState.VERIFIED)
        yield sandbox


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Run a command against the sandbox; no expected failure leaves a traceback."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(
            cli, arguments, env=sandbox.environment(), input=stdin, obj=WITHOUT_WAITS
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        return result

    return run


def place(sandbox: Sandbox, *numbers: str, **more: Any) -> str:
    """Place an order and return its id."""
    request = order_of(*numbers, campaignId="C1", **more)
    return sandbox.world.text_enable(request, toll_free=False).id


def hosted(sandbox: Sandbox, *numbers: str) -> None:
    """Have *numbers* hosted."""
    place(sandbox, *numbers)
    sandbox.world.advance_to_now()


# ── Orders ──────────────────────────────────────────────────────────────────────────────────────


def test_orders_are_listed_and_shown(sandbox: Sandbox, run: Run) -> None:
    """A listing has one line for each order, in the states that were asked for; `get` the same."""
    sandbox.hosting_delay = 60.0
    first, second = place(sandbox, NUMBER, displayName="first"), place(sandbox, OTHER)
    listed = run("orders", "list", *PLACE)
    assert listed.exit_code == 0
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [row[:6] for row in rows] == [
        [order, "IN_PROGRESS", "TYPE_TEXT_ENABLE", "US", "plan", "C1"] for order in (first, second)
    ]
    assert rows[0][8] == "first"
    assert run("orders", "list", "completed", *PLACE).stdout == ""
    assert run("orders", "list", "in-progress", *PLACE, "--limit", "1").stdout.count("\n") == 1
    assert run("orders", "list", "--type", "import", *PLACE).stdout == ""
    shown = run("orders", "get", first, second)
    assert shown.stdout == listed.stdout
    order = json.loads(run("orders", "get", first, "--json").stdout)
    assert (order["hostingOrderId"], order["state"]) == (first, "IN_PROGRESS")


def test_a_listing_needs_what_the_api_needs(run: Run) -> None:
    """A listing without service plan or campaign, or with an unknown state, is a usage error."""
    assert run("orders", "list", "--service-plan-id", "plan").exit_code == 2
    wrong = run("orders", "list", "done", *PLACE)
    assert wrong.exit_code == 2
    assert "waiting_for_loa_signature" in wrong.stderr
    missing = run("orders", "get", "unknown")
    assert missing.exit_code == 4
    assert "unknown" in missing.stderr
    assert run("orders", "get", "../x").exit_code == 2


def test_the_numbers_of_an_order(sandbox: Sandbox, run: Run) -> None:
    """Each number has its state at each carrier; what failed is named, with its code."""
    order = place(sandbox, NUMBER, FAILS, REFUSED)
    lines = [line.split("\t") for line in run("orders", "numbers", order).stdout.splitlines()]
    assert {len(line) for line in lines} == {9}
    assert lines[0] == [NUMBER, *["DONE"] * 7, ""]
    assert lines[2][-1] == "smsTmo MNO_SHARING_ERROR"
    assert lines[1][-1].startswith("osrUpdate; smsAtt INVALID_NNID")
    failed = run("orders", "numbers", order, "--failed").stdout
    assert [line.split("\t")[0] for line in failed.splitlines()] == [FAILS, REFUSED]
    osr = run("orders", "numbers", order, "--osr", "failed", "--json").stdout
    assert [json.loads(line)["phoneNumber"] for line in osr.splitlines()] == [FAILS]
    one = run("orders", "numbers", order, "(202) 555-0134").stdout
    assert one.split("\t")[0] == NUMBER
    assert run("orders", "numbers", order, NUMBER, "--failed").exit_code == 2
    assert run("orders", "numbers", order, OTHER).exit_code == 4


def test_the_report_of_an_order(sandbox: Sandbox, run: Run) -> None:
    """A report has the order's id and its counts, with the API's names in JSON."""
    order = place(sandbox, NUMBER, FAILS, REFUSED)
    assert run("orders", "report", order).stdout == f"{order}\t3\t2\t2\t2\t1\n"
    report = json.loads(run("orders", "report", order, "--json").stdout)
    assert report == {
        "hostingOrderId": order,
        "total": 3,
        "osrUpdated": 2,
        "smsProvisioned": 2,
        "addedToCampaign": 2,
        "ongoingManualAction": 1,
    }


def test_an_order_is_followed_to_its_end(sandbox: Sandbox, run: Run) -> None:
    """Following exits with 0 once all is done, with 1 if a number failed or is rejected."""
    order = place(sandbox, NUMBER)
    done = run("orders", "follow", order, "--json")
    assert done.exit_code == 0
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["state"], last["report"]["smsProvisioned"]) == ("COMPLETED", 1)
    failing = place(sandbox, FAILS, REFUSED)
    failed = run("orders", "follow", failing)
    assert failed.exit_code == 1
    assert f"2 numbers failed: sinch-qn orders numbers {failing} --failed" in failed.stderr
    assert failed.stdout.split("\t")[:2] == [failing, "COMPLETED"]
    request = order_of(REJECTED)
    del request["blanketLoaInfo"]
    order = sandbox.world.text_enable(request | {"directLoaInfo": {}}, toll_free=False).id
    rejected = run("orders", "follow", order)
    assert rejected.exit_code == 1
    assert "REJECTED: none of its numbers is hosted" in rejected.stderr


def test_what_an_order_waits_for_is_said(sandbox: Sandbox, run: Run) -> None:
    """An order that waits for a signature says so; the end of the patience is no end of it."""
    sandbox.loa_delay = None
    request = order_of(NUMBER)
    del request["blanketLoaInfo"]
    order = sandbox.world.text_enable(request | {"directLoaInfo": {}}, toll_free=False).id
    waiting = run("orders", "follow", order, "--timeout", "0.2")
    assert waiting.exit_code == 6
    assert "waits for its signature since 2026-01-01T00:00:00Z" in waiting.stderr
    assert "repeat the command to follow it" in waiting.stderr
    assert waiting.stdout.split("\t")[1] == "WAITING_FOR_LOA_SIGNATURE"


def test_terminals_get_tables(sandbox: Sandbox) -> None:
    """On a terminal orders, numbers and reports are tables, and changes are sentences."""
    order = place(sandbox, NUMBER, REFUSED)
    code, shown = at_terminal(sandbox, "orders", "numbers", order)
    assert code == 0
    assert re.search(r"NUMBER +OSR +SERVICE PLAN +CAMPAIGN +SMS AT&T +SMS T-MOBILE", shown)
    code, shown = at_terminal(sandbox, "orders", "follow", order)
    assert code == 1
    assert "COMPLETED: of 2 numbers 2 have their OSR updated" in shown


# ── Imported numbers ────────────────────────────────────────────────────────────────────────────


def test_imported_numbers_are_listed_and_shown(sandbox: Sandbox, run: Run) -> None:
    """A listing filters by service plan, campaign and digits; `get` shows the same line."""
    hosted(sandbox, NUMBER, OTHER, REFUSED)
    listed = run("imported", "list", *PLACE)
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == [NUMBER, OTHER, REFUSED]
    assert {line.count("\t") for line in listed.stdout.splitlines()} == {11}
    for options in (("--pattern", "0134"), ("--pattern", "+12025550134"), ("--limit", "1")):
        assert run("imported", "list", *PLACE, *options).stdout.count("\n") == 1
    at_the_end = ("--pattern", "9", "--at", "end")
    assert run("imported", "list", *PLACE, *at_the_end).stdout.startswith(REFUSED)
    assert run("imported", "list", *PLACE, "--at", "end").exit_code == 2
    shown = run("imported", "get", REFUSED)
    assert shown.stdout == listed.stdout.splitlines(keepends=True)[2]
    assert "smsTmo MNO_SHARING_ERROR" in shown.stdout
    assert run("imported", "get", "+12025550199").exit_code == 4


def test_a_number_is_moved_by_two_requests(sandbox: Sandbox, run: Run) -> None:
    """`update` unlinks, then links; a repeated command does nothing more."""
    hosted(sandbox, NUMBER)
    moved = run("imported", "update", NUMBER, "--campaign-id", "C2", "--yes", "--json")
    assert moved.exit_code == 0
    assert json.loads(moved.stdout)["smsConfiguration"]["campaignId"] == "C2"
    assert sandbox.done.total("updateImportedNumber") == 2
    assert run("imported", "update", NUMBER, "--campaign-id", "C2", "--yes").exit_code == 0
    assert sandbox.done.total("updateImportedNumber") == 2


def test_an_update_with_an_unknown_outcome_is_resumed(sandbox: Sandbox, run: Run) -> None:
    """After a lost response the command says to repeat it, and then only links."""
    hosted(sandbox, NUMBER)
    fault = Fault.status(500, when="after", times=1)
    sandbox.faults.add(fault, operation="updateImportedNumber")
    lost = run("imported", "update", NUMBER, "--campaign-id", "C2", "--yes")
    assert lost.exit_code == 5
    assert "repeat the same command" in lost.stderr
    assert run("imported", "update", NUMBER, "--campaign-id", "C2", "--yes").exit_code == 0
    assert sandbox.done.total("updateImportedNumber") == 2


def test_a_number_is_unlinked_and_named(sandbox: Sandbox, run: Run) -> None:
    """Unlinking and other changes are one request; contradictions and nothing are usage errors."""
    hosted(sandbox, NUMBER)
    changed = run(
        *("imported", "update", NUMBER, "--yes", "--json"),
        *("--unlink-campaign", "--unlink-service-plan", "--display-name", "Store 7"),
    )
    number = json.loads(changed.stdout)
    assert number["displayName"] == "Store 7"
    assert number["smsConfiguration"] == {"servicePlanId": "", "campaignId": ""}
    assert sandbox.done.total("updateImportedNumber") == 1
    assert run("imported", "update", NUMBER, "--yes").exit_code == 2
    both = ("--unlink-campaign", "--campaign-id", "C2")
    assert run("imported", "update", NUMBER, *both, "--yes").exit_code == 2


@pytest.mark.parametrize("command", [("update", "--campaign-id", "C2"), ("delete",)])
def test_changes_are_confirmed(sandbox: Sandbox, run: Run, command: tuple[str, ...]) -> None:
    """Without a terminal a change needs `--yes`, and nothing is sent before."""
    hosted(sandbox, NUMBER)
    refused = run("imported", command[0], NUMBER, *command[1:])
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert sum(sandbox.calls.totals().values()) == 0


def test_a_number_is_deleted(sandbox: Sandbox, run: Run) -> None:
    """A deletion prints the number; a second one is a 404."""
    hosted(sandbox, NUMBER)
    assert run("imported", "delete", NUMBER, "--yes").stdout == f"{NUMBER}\tdeleted\n"
    assert run("imported", "delete", NUMBER, "--yes").exit_code == 4


# ── The secret ──────────────────────────────────────────────────────────────────────────────────


def test_the_secret_is_shown_only_if_that_is_asked_for(sandbox: Sandbox, run: Run) -> None:
    """`get` says that there is a secret; `--show-secret` alone prints it."""
    sandbox.webhook_secret = CANARY
    assert run("callbacks", "get").output == f"{sandbox.project_id}\tset\n"
    told = run("callbacks", "get", "--json").output
    assert json.loads(told) == {"projectId": sandbox.project_id, "hmacSecretIsSet": True}
    assert run("callbacks", "get", "--show-secret").stdout.split() == [sandbox.project_id, CANARY]
    shown = json.loads(run("callbacks", "get", "--show-secret", "--json").stdout)
    assert shown["hmacSecret"] == CANARY
    sandbox.webhook_secret = ""
    assert run("callbacks", "get").output == f"{sandbox.project_id}\tnone\n"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_secret_comes_from_a_file(sandbox: Sandbox, run: Run, tmp_path: Path, end: str) -> None:
    """A file's text without its last newline is the secret, and is not printed."""
    path = tmp_path / "secret"
    path.write_bytes(f"{CANARY} ".encode() + end.encode())
    done = run("callbacks", "set-secret", "--file", str(path), "--yes")
    assert done.exit_code == 0
    assert sandbox.webhook_secret == f"{CANARY} "
    assert CANARY not in done.output


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff\xfe"])
def test_a_file_without_one_secret_is_refused(
    sandbox: Sandbox, run: Run, tmp_path: Path, content: bytes
) -> None:
    """An empty file, several lines and bytes that are no text change nothing."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert run("callbacks", "set-secret", "--file", str(path), "--yes").exit_code == 2
    assert sum(sandbox.calls.totals().values()) == 0


def test_the_secret_is_no_argument_and_needs_a_terminal(run: Run, tmp_path: Path) -> None:
    """There is no argument for the secret; without a terminal it needs a file, and `--yes`."""
    assert run("callbacks", "set-secret", CANARY).exit_code == 2
    piped = run("callbacks", "set-secret", "--yes", stdin=f"{CANARY}\n{CANARY}\n")
    assert piped.exit_code == 2
    assert "--file" in piped.stderr
    path = tmp_path / "secret"
    path.write_text(CANARY)
    assert run("callbacks", "set-secret", "--file", str(path)).exit_code == 2


def test_the_secret_is_typed_twice_and_not_shown(sandbox: Sandbox) -> None:
    """At a terminal the secret is prompted for, unseen, and confirmed."""
    with Terminal(sandbox.environment(), "callbacks", "set-secret") as terminal:
        terminal.expect("Secret:")
        terminal.type(f"{CANARY}\n")
        terminal.expect("Repeat for confirmation:")
        terminal.type(f"{CANARY}\n")
        terminal.expect("Replace the secret")
        terminal.type("y\n")
        code = terminal.finish()
        shown = terminal.screen
    assert code == 0
    assert sandbox.webhook_secret == CANARY
    assert CANARY not in shown


def test_a_rejected_secret_is_not_shown(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    """An error of the server that repeats the secret is printed without it."""
    path = tmp_path / "secret"
    path.write_text(CANARY)
    body = {"error": {"code": 400, "message": f"{CANARY} is too short"}}
    sandbox.faults.add(Fault.status(400, body=body), operation="updateCallbackConfiguration")
    refused = run("callbacks", "set-secret", "--file", str(path), "--yes")
    assert refused.exit_code == 1
    assert "••• is too short" in refused.stderr
    assert CANARY not in refused.output
