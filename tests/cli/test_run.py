"""Laws of `sinch-qn run` and its tools: confirmation, codes, resuming and output."""

from __future__ import annotations

import csv
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner, Result

from sinch_qn.cli.app import cli
from sinch_qn.cli.exit_codes import Exit
from sinch_qn.cli.options import duration
from sinch_qn.cli.times import rounded
from sinch_qn.models import GlobalProcessState as SinchState
from sinch_qn.sandbox import Fault, Sandbox
from tests.support.cli_process import (
    PATIENCE,
    WITHOUT_WAITS,
    Terminal,
    answering,
    eventually,
    finish,
    process,
    running,
)

NUMBERS = [f"+1202555{n:04}" for n in range(100, 130)]
ONE, TWO, THREE = NUMBERS[:3]
NOT_ELIGIBLE, BLOCKED, LOST_ANSWER = "+12025559990", "+12025559995", "+12025559996"
RUN = ("run", "numbers.csv", "--journal", "run.db")
TAKES = "number and code>"


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox, whose numbers are eligible; work in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    with running(Sandbox(random=Random(5))) as sandbox:
        sandbox.add([*NUMBERS, BLOCKED, LOST_ANSWER])
        sandbox.add([NOT_ELIGIBLE], SinchState.NOT_ELIGIBLE)
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def qn(sandbox: Sandbox) -> Callable[..., Result]:
    """Run a command here; no expected failure leaves a traceback."""

    def qn(*arguments: str, stdin: str | None = None) -> Result:
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(int(PATIENCE))
        try:
            result = CliRunner().invoke(cli, arguments, input=stdin, obj=WITHOUT_WAITS)
        finally:
            signal.alarm(0)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return qn


def _give_up(*_: object) -> None:
    raise TimeoutError("the command does not end")


def write(*numbers: str) -> None:
    """Write the file of numbers."""
    Path("numbers.csv").write_text("phone\n" + "".join(f"{number}\n" for number in numbers))


def counts(qn: Callable[..., Result]) -> dict[str, int]:
    """Return how many numbers are in each state, without the empty states."""
    shown = json.loads(qn("status", "run.db", "--json").stdout)["counts"]
    return {state: count for state, count in shown.items() if count}


def rings(sandbox: Sandbox, *numbers: str) -> list[int]:
    """Return how often each phone rang."""
    return [sandbox.world.rings(number) for number in numbers]


def silent(sandbox: Sandbox, qn: Callable[..., Result]) -> list[str]:
    """Return the numbers whose call has an intent, but was killed before it was sent."""
    entries = map(json.loads, qn("report", "run.db", "--json").stdout.splitlines())
    return [
        number
        for entry in entries
        if entry["state"] in ("calling", "unknown")
        and not sandbox.world.rings(number := entry["phoneNumber"])
    ]


# ── Preview and confirmation ────────────────────────────────────────────────────────────────────


def test_a_preview_is_confirmed_first(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """Rule 22: host, project, count, rate and end are printed; without a yes nobody is called."""
    write(ONE, "(202) 555-0101", "2025550100", "202-555-010")
    result = qn(*RUN, "--rate", "2", "--max-ringing", "7")
    assert result.exit_code == Exit.USAGE
    assert f"Project {sandbox.project_id} at {sandbox.base_url}." in result.stderr
    assert "2 new numbers, 0 already in run.db (0 settled). Bad lines: 1, dup" in result.stderr
    assert "2 to call, at most 2 a second and 7 phones at once: until " in result.stderr
    assert "numbers.csv:4: +12025550100: duplicate of line 2" in result.stderr
    assert "numbers.csv:5: 202-555-010: too short" in result.stderr
    assert "Call 2 phones now? No terminal to confirm at: repeat it with --yes" in result.stderr
    assert not any(sandbox.calls.totals().values())
    assert not Path("run.db").exists()


def test_a_preview_says_until_when(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """The estimate has ring windows, calling hours and the local zone."""
    write(*NUMBERS)
    shown = qn(*RUN, "--rate", "100", "--max-ringing", "1").stderr
    assert re.search(
        r"until \S*\s?\d\d:\d\d \S+ if codes come at once, .* \S+ if none comes within 90 s", shown
    )
    hours = datetime.now(ZoneInfo("America/New_York")).hour
    window = f"{(hours + 2) % 24:02}:00-{(hours + 3) % 24:02}:00"
    opens = time.localtime(time.time() + 3600 * 2)
    shown = qn(*RUN, "--calling-hours", window).stderr
    assert f"{opens.tm_hour:02}:00 {opens.tm_zone}" in shown


def test_a_number_without_a_zone_is_a_bad_line(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """With calling hours a toll-free number needs --default-zone: said first, and never exit 0."""
    sandbox.add([ONE], SinchState.VERIFIED)
    write(ONE, "+18335550134")
    result = qn(*RUN, "--yes", "--calling-hours", "00:00-23:59")
    assert result.exit_code == Exit.FAILED
    assert "numbers.csv:3: +18335550134: its time zone is not known" in result.stderr
    assert "--default-zone America/New_York" in result.stderr.partition("Project")[0]


def test_warnings_that_are_left_out_are_counted(qn: Callable[..., Result]) -> None:
    """Only the first bad lines have warnings; the rest are counted."""
    write(*["x1"] * 25)
    assert "numbers.csv: 5 more bad lines or duplicates" in qn(*RUN).stderr


def test_a_piped_run_says_what_it_does_and_waits_for(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """The first line says what the run does; a waiting run says for what, until when, and how."""
    write(ONE)
    with process(*RUN, "--yes", "--codes", "codes.csv") as command:
        assert command.stderr is not None
        lines = iter(command.stderr.readline, "")
        assert "adding the numbers" in next(line for line in lines if re.match(r"\d\d:", line))
        waits = next(line for line in lines if "awaited" in line)
        assert re.search(r"1 code is awaited, the first until .*\d\d:\d\d \S+: append", waits)
        assert "append NUMBER,CODE to codes.csv, or sinch-qn code run.db NUMBER" in waits
        assert "to call" not in waits


def test_a_rate_that_cannot_be_reached_is_a_warning(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """`--max-unknown` limits the rate: a warning has both rates, once."""
    numbers = [f"+1202557{n:04}" for n in range(100, 170)]
    sandbox.add(numbers)
    write(*numbers)
    options = ("--rate", "2000", "--max-unknown", "1", "--max-ringing", "99")
    result = qn(*RUN, "--yes", "--code-timeout", "2", *options)
    warning = (
        r"warning: --rate 2000 cannot be reached: a call takes \S+ s, so --max-unknown 1 allows"
        r" \S+ calls a second\. A higher one lets an outage leave more numbers UNKNOWN"
    )
    assert len(re.findall(warning, result.stderr.replace("\n", " "))) == 1, result.stderr


def test_a_typed_number_is_shown_in_full(sandbox: Sandbox) -> None:
    """On the terminal of the person who typed it a number is not masked."""
    write(ONE)
    with Terminal({}, *RUN, "--yes") as terminal:
        terminal.expect(TAKES)
        terminal.type(f"{THREE} 1234\n")
        terminal.expect(f"{THREE} is not in this run")
    with Terminal({}, "send", "--yes", "+12025550199") as terminal:
        terminal.finish()
        assert "•" not in terminal.screen


def test_the_column_is_said_before_the_question(qn: Callable[..., Result]) -> None:
    """The column that was found is named before anybody is asked, or called."""
    Path("numbers.csv").write_text(f"Name,Work Phone\nAda,{ONE}\n")
    result = qn(*RUN)
    assert "numbers.csv, column 2, 'Work Phone': 1 new numbers" in result.stderr
    assert result.stderr.index("Work Phone") < result.stderr.index("Call 1 phone now?")
    assert "column 2, 'Work Phone'" in qn("add", "--file", "numbers.csv").stderr


@pytest.mark.parametrize("content", [b"", b"phone,ref\n", b"\n\n,,\n", b"phone\nunknown\n"])
def test_a_file_without_a_number_is_an_error(qn: Callable[..., Result], content: bytes) -> None:
    """A file without a valid number exits with 2: a run that found nobody is no success."""
    Path("numbers.csv").write_bytes(content)
    result = qn(*RUN, "--yes")
    assert result.exit_code == qn("add", "--file", "numbers.csv").exit_code == Exit.USAGE
    assert "numbers.csv: there is no phone number in it" in result.stderr
    assert not Path("run.db").exists()


def test_a_workbook_is_refused(qn: Callable[..., Result]) -> None:
    """A file that is not text exits with 2 and says what to do."""
    Path("numbers.csv").write_bytes(b"PK\x03\x04" + bytes(99))
    result = qn(*RUN, "--yes")
    assert result.exit_code == Exit.USAGE
    assert "numbers.csv: this is an Excel workbook or a zip file: open it, and" in result.stderr


def test_mistakes_are_reported_before_anything_is_read(qn: Callable[..., Result]) -> None:
    """A mistake in the options exits with 2 and creates no journal."""
    write(ONE)
    Path("loa.json").write_text("{}")
    for given, reason in (
        (["--calling-hours", "9-5"], "is not a window"),
        (["--calling-hours", "09:00-17:00", "--default-zone", "Mars"], "no such time zone"),
        (["--code-timeout", "soon"], "is not a duration"),
        (["--rate", "0"], "0"),
        (["--text-enable"], "needs --service-plan-id, and either --loa FILE or --blanket-loa"),
        (["--text-enable", "--service-plan-id", "p", "--loa", "loa.json"], "expected"),
        (["--campaign-id", "c"], "no --text-enable"),
        (["--report", "no/report.html"], "there is no folder 'no'"),
        (["--csv", "no/results.csv"], "there is no folder 'no'"),
        (["--journal", "no/run.db"], "there is no folder 'no'"),
        (["--column", "Mobile"], "no column 'Mobile'"),
    ):
        result = qn(*RUN, "--yes", *given)
        assert result.exit_code == Exit.USAGE, given
        assert reason in result.stderr
        assert not Path("run.db").exists()


def test_a_run_that_cannot_start_is_not_to_be_resumed(
    qn: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials a run names the missing variables, and no command to resume."""
    write(ONE)
    monkeypatch.delenv("SINCH_KEY_SECRET")
    result = qn(*RUN, "--yes")
    assert result.exit_code == Exit.USAGE
    assert "not set in the environment: SINCH_KEY_SECRET" in result.stderr
    assert "resume" not in result.stderr


def test_a_journal_of_another_project_is_rejected(
    qn: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal is of one project; another is reported before the confirmation."""
    write(NOT_ELIGIBLE)
    qn(*RUN, "--yes")
    monkeypatch.setenv("SINCH_PROJECT_ID", "5a4db0c5-0000-4000-8000-000000000002")
    result = qn(*RUN)
    assert result.exit_code == Exit.USAGE
    assert "belongs to project" in result.stderr
    assert "Call" not in result.stderr


def test_a_run_has_other_regions_by_a_switch(qn: Callable[..., Result]) -> None:
    """`--region PR` puts Puerto Rico into the run; without it the reason names the switch."""
    write(ONE, "787-555-0134")
    assert "Puerto Rico (PR)" in qn(*RUN).stderr
    command = (*RUN, "--yes", "--region", "PR", "--code-timeout", "1")
    assert "Bad lines: 0" in qn(*command).stderr
    rows = [json.loads(line) for line in qn("report", "run.db", "--json").stdout.splitlines()]
    assert [row["regionCode"] for row in rows] == ["US", "PR"]
    assert rows[1]["state"] == "failed", "this sandbox does not know it"
    assert "accepts no code" in qn("code", "run.db", "787-555-0134", "1234").stderr


def test_bad_lines_vanish_once_they_are_corrected(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """Each bad line is in the journal until it is corrected; a trial corrects its own lines."""
    sandbox.add(NUMBERS[:5], SinchState.VERIFIED)
    write(ONE, "unknown", "unknown", "555-0102", "x")
    assert qn(*RUN, "--yes").exit_code == Exit.FAILED
    assert counts(qn) == {"skipped": 1, "invalid": 4}
    write(ONE, TWO, "unknown", "202-555-0102")
    qn(*RUN, "--yes", "--limit", "1")
    assert counts(qn) == {"skipped": 2, "invalid": 3}
    assert qn(*RUN, "--yes").exit_code == Exit.FAILED
    assert counts(qn) == {"skipped": 3, "invalid": 1}
    write(ONE, TWO)
    assert qn(*RUN, "--yes").exit_code == 0
    assert counts(qn) == {"skipped": 3}


def test_a_trial_adds_the_first_that_are_not_settled(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """`--limit 2` adds two numbers that are not settled; the next trial adds the next two."""
    sandbox.add([ONE, TWO], SinchState.VERIFIED)
    write("x", *NUMBERS[:5])
    trial = qn(*RUN, "--yes", "--limit", "2")
    assert "Trial: 2 new numbers are added." in trial.stderr
    assert (trial.exit_code, counts(qn)) == (0, {"skipped": 2})
    sandbox.add(NUMBERS[2:5], SinchState.VERIFIED)
    assert qn(*RUN, "--yes", "--limit", "2").exit_code == 0
    assert counts(qn) == {"skipped": 4}
    assert qn(*RUN, "--yes").exit_code == Exit.FAILED
    assert counts(qn) == {"skipped": 5, "invalid": 1}


# ── From the first call to the last code ────────────────────────────────────────────────────────


def test_exit_codes_of_a_run(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """A run exits with 0 if every number is verified, with 1 if some need attention."""
    write(*NUMBERS[:5])
    with answering(sandbox, Path("codes.csv"), NUMBERS[:5]):
        result = qn(*RUN, "--yes", "--codes", "codes.csv", "--rate", "50")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"verified\t5\t{ONE}\t\n"
    write(*NUMBERS[:5], BLOCKED)
    result = qn(*RUN, "--yes", "--csv", "results.csv", "--report", "report.html")
    assert result.exit_code == Exit.FAILED
    assert "blocked\t1\t+12025559995\tSinch takes no more codes for it" in result.stdout
    assert "Needs attention: sinch-qn status run.db" in result.stderr
    assert rings(sandbox, *NUMBERS[:5]) == [1] * 5
    rows = list(csv.DictReader(Path("results.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["verified"] * 5 + ["blocked"]
    page = Path("report.html").read_text()
    assert "orders@sinch.com" in page
    assert f"Project: {sandbox.project_id} at {sandbox.base_url}" in page
    assert "Input: numbers.csv" in page


def test_a_page_names_the_files_of_its_numbers(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """The journal keeps the names of the files that its numbers came from, each one once."""
    sandbox.add([ONE, TWO], SinchState.VERIFIED)
    write(ONE)
    Path("more <b>.csv").write_text(f"phone\n{TWO}\n")
    for file in ("numbers.csv", "more <b>.csv", "numbers.csv"):
        assert qn("run", file, *RUN[2:], "--yes").exit_code == 0
    assert qn("report", "run.db", "--html", "page.html").exit_code == 0
    assert "Input: numbers.csv, more &lt;b&gt;.csv<" in Path("page.html").read_text()


def test_codes_are_typed_at_a_prompt(sandbox: Sandbox) -> None:
    """At a terminal the run is confirmed, and then takes NUMBER CODE below its display."""
    write(ONE, TWO)
    with Terminal({}, *RUN, "--codes", "codes.csv") as terminal:
        terminal.expect("Call 2 phones now? [y/N]")
        terminal.type("y\n")
        terminal.expect(TAKES)
        eventually(lambda: sandbox.code_for(ONE) and sandbox.code_for(TWO))
        terminal.expect("awaiting code")
        terminal.type("what?\n")
        terminal.expect("warning: expected a number and its code")
        terminal.type("\x1b[A(202) 555-0100 \x15202 555-0100 xx\x7f\x7f")
        terminal.type(f"{sandbox.code_for(ONE)}\r")
        terminal.expect("verified")
        terminal.type(f"{TWO},{sandbox.code_for(TWO)}\n")
        assert terminal.finish() == 0
        assert "\x1b[?25h" in terminal.raw, "the cursor is shown again"
    assert sandbox.calls.total("verifyVoiceChallenge") == 2


def test_without_a_yes_nobody_is_called(sandbox: Sandbox) -> None:
    """Anything but a yes ends the run, and nothing is done."""
    write(ONE)
    with Terminal({}, *RUN) as terminal:
        terminal.expect("[y/N]")
        terminal.type("n\n")
        assert terminal.finish() == Exit.INTERRUPTED
    assert not any(sandbox.calls.totals().values())


def test_bad_lines_of_codes_are_skipped(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """A bad line of codes is reported by its number and skipped; no code is shown."""
    write(ONE)
    Path("codes.csv").write_text(f"{ONE},04\r17\n+12025550199;77777\n")
    with answering(sandbox, Path("codes.csv"), [ONE]):
        result = qn(*RUN, "--yes", "--codes", "codes.csv")
    assert result.exit_code == 0, result.output
    assert "codes.csv:1: expected a number and its code" in result.stderr
    assert "codes.csv:2: phone_number: +1202•••0199 is not in this run" in result.stderr
    assert "codes.csv:2: this code" not in result.stderr
    assert sandbox.calls.total("verifyVoiceChallenge") == 1
    assert "77777" not in result.output
    assert f",{sandbox.code_for(ONE)}" not in result.output


def test_a_restart_submits_no_old_code(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """After a restart a file of codes is read from its saved offset."""
    write(ONE)
    path = Path("codes.csv")
    with process(*RUN, "--yes", "--codes", str(path)) as command:
        eventually(lambda: sandbox.code_for(ONE))
        path.write_text(f"{ONE},x\n")
        eventually(lambda: sandbox.calls.total("verifyVoiceChallenge") == 1)
        eventually(lambda: "awaiting_code" in counts(qn))
        command.send_signal(signal.SIGINT)
        assert finish(command)[0] == Exit.INTERRUPTED
    assert qn("recall", "run.db", ONE).stdout == f"{ONE}\tpending\n"
    with process(*RUN, "--yes", "--codes", str(path)) as command:
        eventually(lambda: sandbox.world.rings(ONE) == 2)
        with path.open("a") as file:
            file.write(f"{ONE},{sandbox.code_for(ONE)}\n")
        assert finish(command)[0] == 0
    assert sandbox.calls.total("verifyVoiceChallenge") == 2


def test_codes_and_recalls_come_from_other_processes(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """`code`, `recall` and `status` work on the journal of an active run."""
    write(ONE, TWO)
    with process(*RUN, "--yes") as command:
        eventually(lambda: Path("run.db").exists() and sandbox.code_for(TWO))
        eventually(lambda: counts(qn) == {"awaiting_code": 2})
        assert qn("status", "run.db", "--running").exit_code == Exit.OK
        with process(*RUN, "--yes") as second:
            code, _, err = finish(second)
        assert code == Exit.USAGE
        assert "another run is using this journal" in err
        assert qn("recall", "run.db", "202-555-0101").exit_code == 0
        eventually(lambda: sandbox.world.rings(TWO) == 2)
        heard = sandbox.code_for(ONE) or ""
        done = qn("code", "run.db", ONE, heard)
        assert done.stdout == f"{ONE}\taccepted\n"
        assert heard not in done.output.replace(ONE, "")
        done = qn("code", "run.db", TWO, stdin=f"{sandbox.code_for(TWO)}\n")
        assert done.stdout == f"{TWO}\taccepted\n"
        assert finish(command)[0] == 0
    ended = qn("status", "run.db", "--running")
    assert (ended.exit_code, "no runner of this machine" in ended.stderr) == (Exit.FAILED, True)
    for refused in (("code", "run.db", ONE, "1234"), ("code", "run.db", THREE, "1234")):
        assert qn(*refused).exit_code == Exit.USAGE
    assert f"{ONE}: phone_number" in qn("recall", "run.db", ONE).stderr
    assert rings(sandbox, ONE, TWO) == [1, 2]


def test_calls_on_request(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """Rule 26: with `--on-request` a number is called once `request` asks for it, and only then."""
    write(ONE, TWO, THREE)
    with process(*RUN, "--yes", "--on-request") as command:
        assert command.stderr is not None
        lines: list[str] = []
        while "3 called on request: sinch-qn request run.db NUMBER" not in "".join(lines):
            lines.append(command.stderr.readline())
        assert qn("request", "run.db", "202-555-0101").stdout == f"{TWO}\tpending\tnext\n"
        eventually(lambda: sandbox.code_for(TWO))
        eventually(lambda: counts(qn) == {"pending": 2, "awaiting_code": 1})
        again = json.loads(qn("request", "run.db", TWO, "--json").stdout)
        assert (again["state"], again["new"]) == ("awaiting_code", False)
        shown = qn("status", "run.db")
        assert "Pending numbers are called on request: sinch-qn request run.db" in shown.stderr
        assert json.loads(qn("status", "run.db", "--json").stdout)["onRequest"] is True
        command.send_signal(signal.SIGINT)
        assert finish(command)[0] == Exit.INTERRUPTED
    assert "3 to call once somebody asks for it, at most 5 a second" in "".join(lines)
    assert qn("request", "run.db", ONE).stdout == f"{ONE}\tpending\tno runner is on this journal\n"
    assert "is not in this run" in qn("request", "run.db", "+12025559999").stderr
    assert qn("report", "run.db", "--html", "report.html").exit_code == 0
    assert "called once somebody asks for it: 1 were asked for" in Path("report.html").read_text()
    preview = qn(*RUN, "--on-request", stdin="n\n").stderr
    assert "run.db: 2 waiting for a request, 1 for a code or a response." in preview
    assert rings(sandbox, ONE, TWO, THREE) == [0, 1, 0]


def test_missing_numbers_are_added(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """`--add-missing` adds numbers that are not in the project, and calls them once eligible."""
    new = "+14165550134"
    write(new, "+12125559990")
    assert qn(*RUN, "--yes").exit_code == Exit.FAILED
    assert counts(qn) == {"failed": 2}
    Path("run.db").unlink()
    with process(*RUN, "--yes", "--add-missing", "--recheck", "0.1") as command:
        eventually(lambda: sandbox.calls.total("sendVoiceChallenge"))
        qn("code", "run.db", new, sandbox.code_for(new) or "")
        code, out, _ = finish(command)
    assert code == Exit.FAILED
    assert "verified\t1" in out
    assert "failed\t1" in out


# ── Stopped and resumed ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_same_command_resumes(
    sandbox: Sandbox, qn: Callable[..., Result], how: signal.Signals
) -> None:
    """After any stop the same command completes the run, and no phone rings twice."""
    write(*NUMBERS)
    sandbox.latency = 0.02
    command = (*RUN, "--yes", "--codes", "codes.csv", "--rate", "60", "--max-ringing", "60")
    with answering(sandbox, Path("codes.csv"), NUMBERS):
        with process(*command) as first:
            eventually(lambda: sandbox.calls.total("sendVoiceChallenge") >= 10)
            first.send_signal(how)
            code, _, err = finish(first)
        if how is signal.SIGKILL:
            assert code == -how
        else:
            assert code == Exit.INTERRUPTED
            assert "finishing in-flight requests" in err
            assert f"run the same command to resume: sinch-qn {' '.join(command)}" in err
            assert not {"calling", "verifying", "unknown"} & counts(qn).keys()
        assert sum(rings(sandbox, *NUMBERS)) < len(NUMBERS)
        unheard = silent(sandbox, qn)
        with process(*command) as second:
            for number in unheard:
                eventually(lambda: qn("recall", "run.db", number).exit_code == 0)  # noqa: B023
            code, out, err = finish(second)
    assert code == 0, err
    assert "0 new numbers, 30 already in run.db" in err
    assert "verified\t30" in out
    assert rings(sandbox, *NUMBERS) == [1] * 30


def test_a_second_ctrl_c_aborts(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """A second Ctrl-C ends the run at once; the outcome of in-flight requests is unknown."""
    write(ONE, TWO)
    with process(*RUN, "--yes", "--rate", "2") as command:
        assert command.stderr is not None
        eventually(lambda: sandbox.world.rings(ONE))
        sandbox.latency = 60.0
        eventually(lambda: sandbox.calls.count("sendVoiceChallenge", TWO))
        command.send_signal(signal.SIGINT)
        while "in-flight" not in command.stderr.readline():
            pass
        command.send_signal(signal.SIGINT)
        code, _, err = finish(command)
    assert code == Exit.INTERRUPTED
    assert "run the same command to resume" in err
    assert counts(qn) == {"awaiting_code": 1, "unknown": 1}


def test_rejected_credentials_stop_the_run(
    qn: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected credentials end the run at once, with the way to resume it."""
    write(ONE)
    monkeypatch.setenv("SINCH_KEY_SECRET", "canary")
    result = qn(*RUN, "--yes")
    assert result.exit_code == Exit.AUTHENTICATION
    assert "Run the same command to resume" in result.stderr
    assert "canary" not in result.output
    assert counts(qn).keys() <= {"pending"}  # the file may not have been added yet


# ── Output ──────────────────────────────────────────────────────────────────────────────────────


def test_json_has_a_line_for_each_event(sandbox: Sandbox) -> None:
    """With `--json` each event is an object on a line, without codes; the last has the counts."""
    Path("numbers.csv").write_text(f"phone,ref\n{ONE},ticket 7\n202-555-010,\n")
    with (
        answering(sandbox, Path("codes.csv"), [ONE]),
        process(*RUN, "--yes", "--json", "--codes", "codes.csv") as command,
    ):
        code, out, _ = finish(command)
    *events, last = (json.loads(line) for line in out.splitlines())
    assert code == Exit.FAILED
    assert [event["event"] for event in events] == ["call", "called", "code", "verified"][-3:]
    assert {event["phoneNumber"] for event in events} == {ONE}
    assert {event["ref"] for event in events} == {"ticket 7"}
    assert last["event"] == "finished"
    assert (last["counts"]["verified"], last["counts"]["invalid"]) == (1, 1)
    heard = Path("codes.csv").read_text().strip().partition(",")[2]
    assert f'"{heard}"' not in out


def test_a_reader_that_goes_away_ends_the_run(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """`sinch-qn run --json | head -1` exits without an error, and leaves nothing in flight."""
    write(*NUMBERS)
    with process(*RUN, "--yes", "--json", "--rate", "30") as command:
        assert command.stdout is not None
        assert json.loads(command.stdout.readline())["event"] == "called"
        command.stdout.close()
        _, err = command.communicate(timeout=20)
    assert "Traceback" not in err
    assert "Exception" not in err
    assert "calling" not in counts(qn)


def test_status_lists_what_needs_attention(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """`status` shows the counts, and what to do about the first numbers that need attention."""
    write("202-555-010", BLOCKED, LOST_ANSWER, ONE)
    sandbox.add([ONE], SinchState.VERIFIED)
    qn(*RUN, "--yes", "--code-timeout", "0.1")
    lines = qn("status", "run.db").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        *("skipped", "blocked", "unknown", "invalid"),
        *(BLOCKED, LOST_ANSWER, "202-555-010 (line 2)"),
    ]
    assert lines[6].split("\t")[3].startswith("Correct line 2 of the input")
    status = json.loads(qn("status", "run.db", "--json", "--first", "2").stdout)
    assert [each["phoneNumber"] for each in status["needsAttention"]] == [BLOCKED, LOST_ANSWER]
    assert qn("status", "numbers.csv").exit_code == Exit.USAGE


def test_status_shows_how_far_the_orders_have_got(
    sandbox: Sandbox, qn: Callable[..., Result]
) -> None:
    """`status` shows each order's progress, and which number failed at which carrier."""
    refused = "+12025559989"
    write(ONE, refused)
    sandbox.add([ONE, refused], SinchState.VERIFIED)
    order = ("--text-enable", "--service-plan-id", "p", "--campaign-id", "c", "--blanket-loa")
    qn(*RUN, "--yes", *order, "--follow", "10")
    shown = qn("status", "run.db").stdout
    assert "2 of 2 numbers done" in shown
    assert "1 failed somewhere" in shown
    assert f"{refused}\tSMS at T-Mobile\t" in shown
    (batch,) = json.loads(qn("status", "run.db", "--json").stdout)["batches"]
    assert batch["order"]["state"] == "COMPLETED"
    (failure,) = batch["order"]["failures"]
    assert (failure["phoneNumber"], failure["where"]) == (refused, "SMS at T-Mobile")
    assert failure["errorCode"]


def test_reports_are_written_from_anywhere(qn: Callable[..., Result]) -> None:
    """`report` writes the HTML page and the CSV file, or prints an object for each number."""
    write(NOT_ELIGIBLE, ONE)
    assert qn(*RUN, "--limit", "1", "--yes").exit_code == Exit.FAILED
    assert qn("report", "run.db").exit_code == Exit.USAGE
    done = qn("report", "run.db", "--html", "r.html", "--csv", "r.csv", "--json")
    assert done.exit_code == 0
    assert [json.loads(line)["phoneNumber"] for line in done.stdout.splitlines()] == [NOT_ELIGIBLE]
    assert "Project: 5a4db0c5-0000-4000-8000-000000000001 at" in Path("r.html").read_text()
    assert NOT_ELIGIBLE in Path("r.csv").read_text()
    assert str(Path("r.html").absolute()) in done.stderr


def test_a_reference_stays_with_its_line(qn: Callable[..., Result]) -> None:
    """Reports have the ref of each line, also of a bad one."""
    Path("numbers.csv").write_text(f"phone,ref\n{BLOCKED},ticket 7\n202-555-010,ticket 8\n")
    assert qn(*RUN, "--yes").exit_code == Exit.FAILED
    records = map(json.loads, qn("report", "run.db", "--json").stdout.splitlines())
    assert {(each["state"], each["ref"]) for each in records} == {
        ("blocked", "ticket 7"),
        ("invalid", "ticket 8"),
    }


def test_verified_numbers_are_ordered_once(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """`--text-enable` orders SMS for verified numbers; run again, for new ones only."""
    sandbox.add([ONE, "+18335550134", TWO], SinchState.VERIFIED)
    write(ONE, "+18335550134")
    Path("loa.json").write_text(json.dumps({"directLoaInfo": _LOA}))
    order = ("--text-enable", "--service-plan-id", "p", "--loa", "loa.json")
    blanket = qn(*RUN, "--yes", *order[:3], "--blanket-loa")
    assert blanket.exit_code == Exit.FAILED
    assert "1 verified numbers are in no order; 1 are toll-free, which needs --loa" in (
        blanket.stderr
    )
    Path("run.db").unlink()
    sandbox.add([ONE], SinchState.VERIFIED)
    sandbox.world.orders.clear()
    assert "now, then order SMS for the verified numbers? No" in qn(*RUN, *order).stderr
    result = qn(*RUN, "--yes", *order)
    assert result.exit_code == 0, result.output
    assert sorted(len(order.numbers) for order in sandbox.world.orders.values()) == [1, 1]
    write(TWO)
    assert qn(*RUN, "--yes", *order).exit_code == 0
    assert len(sandbox.world.orders) == 3
    batches = json.loads(qn("status", "run.db", "--json").stdout)["batches"]
    assert {batch["state"] for batch in batches} == {"ordered"}
    assert {batch["hostingOrderId"] for batch in batches} == set(sandbox.world.orders)


def test_a_lost_order_is_looked_for(sandbox: Sandbox, qn: Callable[..., Result]) -> None:
    """An order whose response was lost is found by the same run, and has its id."""
    sandbox.add([ONE], SinchState.VERIFIED)
    write(ONE)
    sandbox.faults.add(Fault.dropped(when="after", times=1), operation="textEnableNumbers")
    order = ("--text-enable", "--service-plan-id", "p", "--campaign-id", "c", "--blanket-loa")
    qn(*RUN, "--yes", *order, "--follow", "0")
    (batch,) = json.loads(qn("status", "run.db", "--json").stdout)["batches"]
    assert (batch["state"], [batch["hostingOrderId"]]) == ("ordered", [*sandbox.world.orders])


_PERSON = {"firstName": "A", "lastName": "B", "email": "a@example.com"}
_ADDRESS = dict.fromkeys(
    ["buildingNumber", "street", "city", "state", "postalCode", "country"], "x"
)
_LOA = {"authorisedPerson": _PERSON, "address": _ADDRESS, "currentVoiceCarrier": "x"}


# ── Parts ───────────────────────────────────────────────────────────────────────────────────────


def test_durations_have_units() -> None:
    """A duration is in seconds, or has a unit."""
    read = [duration(text) for text in ("90", "1.5s", "15m", "24h", "2d")]
    assert read == [90.0, 1.5, 900.0, 86_400.0, 172_800.0]
    with pytest.raises(click.BadParameter):
        duration("-1")


@pytest.mark.parametrize(("seconds", "shown"), [(5, "5 s"), (600, "10 min"), (36_000, "10.0 h")])
def test_time_left_is_rounded(seconds: float, shown: str) -> None:
    """An estimate is rounded as coarsely as it is known."""
    assert rounded(seconds) == shown
