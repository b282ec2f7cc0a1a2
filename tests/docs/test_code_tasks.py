"""The task, on Procrastinate's own connector in memory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from procrastinate.testing import InMemoryConnector

from examples import code_tasks
from sinch_qn.bulk import Entry, Submission, submit_code
from sinch_qn.bulk.states import Event
from tests.support.journals import happen, opened

NUMBER = "+12025550134"
CODE = "0417"


async def test_a_code_reaches_the_journal_once(
    journal: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A deferred code is in the journal, twice is once, and one that is not wanted is refused."""
    monkeypatch.setenv("JOURNAL", str(journal))
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    run = await opened(journal)
    await run.add([Entry(number=NUMBER)])
    await happen(run, NUMBER, Event.CALL, Event.CALLED)
    connector = InMemoryConnector()
    with code_tasks.app.replace_connector(connector) as app:
        for number in (NUMBER, NUMBER, "+12025550199"):
            await code_tasks.submit.defer_async(phone_number=number, code=CODE)
        await app.run_worker_async(wait=False, install_signal_handlers=False, delete_jobs="always")
    assert connector.jobs == {}, "an ended job keeps no code"
    assert await submit_code(run, NUMBER, CODE) is Submission.DUPLICATE, "it is there already"
    await run.close()
    assert [r.getMessage() for r in caplog.records if r.name == "code_tasks"] == [
        "a code was refused: phone_number: +1202•••0199 is not in this run: it accepts no code"
    ]
    assert CODE not in caplog.text
