"""Numbers are added from an uploaded file as from the command line: preview, then confirm."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import FormData

from sinch_qn.bulk import ChallengeState, NewNumber, SqliteJournal
from sinch_qn.desk import uploads
from sinch_qn.sandbox import Sandbox
from tests.support.desk import Page, Site, site
from tests.support.runs import NUMBER, OTHER, until

FILE = f"""\
name,phone,ref
Ada,(202) 555-0134,shop 1
Bob,202-555-0135,"=cmd()"
Cyd,12,shop 3
Dan,+1 876-555-0134,shop 4
Eve,{NUMBER},again
"""


@pytest.fixture
async def desk(sandbox: Sandbox) -> AsyncIterator[Site]:
    """Serve a desk beside a run that calls on request."""
    sandbox.add([NUMBER, OTHER])
    async with site(sandbox, on_request=True) as desk:
        yield desk


async def upload(desk: Site, text: str | bytes, column: str = "", token: str | None = None) -> Page:
    """Upload a file; return its preview."""
    page = await desk.browser.get("/operator/upload")
    form = FormData(quote_fields=False)
    form.add_field("token", page.field("token") if token is None else token)
    form.add_field("column", column)
    data = text.encode() if isinstance(text, str) else text
    form.add_field("file", io.BytesIO(data), filename="<b>numbers</b>.csv", content_type="text/csv")
    return await desk.browser.post("/operator/upload", form)


async def confirm(desk: Site, page: Page, **form: str) -> Page:
    """Confirm a preview."""
    return await desk.browser.post(page.path, {"token": page.field("token"), **form})


async def until_added(desk: Site, page: Page) -> Page:
    """Reload the page until all numbers are added."""

    async def is_added() -> bool:
        return "added;" in (await desk.browser.get(page.path)).words

    await until(is_added, seconds=20)
    return await desk.browser.get(page.path)


async def test_nothing_is_added_before_it_is_confirmed(desk: Site) -> None:
    """The preview counts new, known, bad and repeated lines, each bad one with its line."""
    await desk.run.add([NewNumber(number=OTHER)])
    page = await upload(desk, FILE)
    assert "1 new number, 1 already in the run (0 settled). Bad lines: 2, duplicates: 1." in (
        page.words
    )
    assert "Line 4: 12: too short" in page.words
    assert "Line 5: +1 876-555-0134: Jamaica (JM)" in page.words
    assert f"Line 6: {NUMBER}: duplicate of line 2" in page.words
    assert "Numbers are read from column 2, 'phone'" in page.words
    assert "<b>numbers" not in page.text
    assert sum((await desk.run.counts()).values()) == 1
    done = await until_added(desk, await confirm(desk, page))
    assert "1 number is added; 1 were in the run before." in done.words
    counts = await desk.run.counts()
    assert (counts[ChallengeState.PENDING], counts[ChallengeState.INVALID]) == (2, 2)
    entry = await desk.run.result(NUMBER)
    assert entry is not None
    assert (entry.ref, entry.line) == ("shop 1", 2)


async def test_confirming_again_adds_nothing(desk: Site) -> None:
    """A second press, a reload, and the same file again change nothing."""
    page = await upload(desk, FILE)
    for _ in range(2):
        await until_added(desk, await confirm(desk, page))
    again = await upload(desk, FILE)
    assert "0 new numbers, 2 already" in again.words
    assert "nothing is to be added" in again.words


async def test_a_trial_adds_so_many(desk: Site) -> None:
    """With a limit only the first valid numbers are added; one that is none is refused."""
    page = await upload(desk, FILE)
    for bad in ("0", "x", "-1", "1.5"):
        refused = await confirm(desk, page, limit=bad)
        assert "Nothing was added" in refused.words
    await until_added(desk, await confirm(desk, page, limit="1"))
    assert {state for state, n in (await desk.run.counts()).items() if n} == {
        ChallengeState.PENDING
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04", "Excel"),
        (b"", "no valid number"),
        (b"phone\n12\n", "no valid number"),
        (b"a,b\n2025550134,2025550135\n", "the column of the numbers is not clear"),
        (b"\x00\x01\x02" * 9, "binary"),
    ],
)
async def test_a_file_that_cannot_be_used_says_why(desk: Site, content: bytes, reason: str) -> None:
    """No file is an error of ours: the page says what is wrong with it."""
    page = await upload(desk, content)
    assert (page.status, reason in page.words) == (422, True)


async def test_the_column_can_be_named(desk: Site) -> None:
    """Where the column is not clear, its heading decides."""
    page = await upload(desk, "a,b\n2025550134,2025550135\n", column="b")
    assert "1 new number" in page.words


async def test_a_form_without_its_token_is_not_read(desk: Site) -> None:
    """The token stands before the file: without it not a line of the file is read."""
    page = await upload(desk, FILE, token="x")
    assert page.status == 403
    form = FormData()
    form.add_field("file", b"phone\n2025550134\n", filename="x.csv")
    form.add_field("token", (await desk.browser.get("/operator/upload")).field("token"))
    assert (await desk.browser.post("/operator/upload", form)).status == 403
    assert (await desk.browser.post("/operator/upload", {"token": "x"})).status == 415


async def test_a_file_that_is_too_large_is_refused(
    desk: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file above the limit is refused before it fills the disk."""
    monkeypatch.setattr(uploads, "MAX_BYTES", 1 << 20)
    page = await upload(desk, b"2025550134\n" * 200_000)
    assert (page.status, "split it" in page.words) == (422, True)


async def test_an_upload_belongs_to_its_login(desk: Site) -> None:
    """Another operator does not see the file, and an unknown one is said to be gone."""
    page = await upload(desk, FILE)
    assert (await desk.browser.get("/operator/upload/unknown")).status == 404
    await desk.browser.post("/operator/logout", {"token": page.field("token")})
    await desk.browser.log_in()
    gone = await desk.browser.get(page.path)
    assert (gone.status, "upload the file again" in gone.words) == (404, True)


async def test_previews_are_not_kept_for_ever(desk: Site) -> None:
    """Old previews make room for new ones, and their temporary files go."""
    first = await upload(desk, FILE)
    for _ in range(8):
        await upload(desk, FILE)
    assert (await desk.browser.get(first.path)).status == 404


async def test_a_desk_beside_the_run_of_another_process_adds(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file that is uploaded where no runner is gets into the run, whose runner calls it."""
    from sinch_qn.desk import create_app  # noqa: PLC0415
    from tests.support.desk import PUBLIC, SECRET, browsing  # noqa: PLC0415

    path = tmp_path / "run.db"
    sandbox.add([NUMBER, OTHER])
    settings = {"calls_per_second": 100.0}
    async with site(sandbox, SqliteJournal(path), **settings) as desk:
        beside = SqliteJournal(path)
        await beside.open(None, running=False)
        async with browsing(create_app(None, beside, secret=SECRET, public_url=PUBLIC)) as browser:
            await browser.log_in()
            other = Site(sandbox, desk.run, beside, browser.app, browser)
            page = await upload(other, FILE)
            assert "2 to call, at most 100 a second and 1000 phones at once: until" in page.words
            await until_added(other, await confirm(other, page))
        await beside.close()

        async def are_called() -> bool:
            return (await desk.run.counts())[ChallengeState.AWAITING_CODE] == 2

        await until(are_called, seconds=20)
