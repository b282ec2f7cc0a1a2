"""A file of numbers, uploaded by an operator: first its preview, then, once confirmed, the run's.

The preview is that of the command line. It is kept by the process that made it, for a while.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path
from typing import IO, Final

import attrs

from sinch_qn.bulk.journal.protocol import Journal, RunSettings
from sinch_qn.bulk.preview import RunPreview, with_zones
from sinch_qn.desk.state import Desk, hours_of
from sinch_qn.errors import SinchError
from sinch_qn.parsing import Column, ColumnError, InvalidFile, read_numbers

MAX_BYTES: Final = 128 * 1024 * 1024
"""Bytes of a file; a million lines of customers have about half of it."""
_MAX_KEPT: Final = 8
_KEPT_FOR: Final = 3600.0
"""Seconds that a preview can be confirmed, and its result be looked at."""
_PAGE: Final = 5000
"""Numbers added together."""


class UnusableUpload(ValueError):  # noqa: N818 - named as `InvalidFile` is
    """The file cannot be read; the message says why, for people."""


@attrs.define(eq=False, kw_only=True)
class Upload:
    """A file beside the journal: what it would add, then what it added."""

    id: str
    owner: str
    """The session that uploaded it; others do not see it."""
    name: str
    preview: RunPreview
    settings: RunSettings
    made: float
    limit: int | None = None
    """Add only so many numbers: a trial."""
    task: asyncio.Task[None] | None = None
    """Adds the numbers, once that is confirmed."""
    done: int = 0
    """Lines that were handed to the journal."""
    added: int = 0
    already: int = 0
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether adding has ended."""
        return self.task is not None and self.task.done()


@attrs.define(eq=False)
class Uploads:
    """The uploads of one desk."""

    _desk: Desk
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, Upload] = attrs.field(factory=dict, init=False)

    async def preview(
        self, chunks: AsyncIterator[bytes], name: str, column: str | None, owner: str
    ) -> Upload:
        """Read a file and compare it with the journal. Raises `UnusableUpload`."""
        settings = await self._desk.settings()
        file = await asyncio.to_thread(_temporary_file)
        try:
            await _store(chunks, file)
            preview = await asyncio.to_thread(
                _read, Path(file.name), column, settings, self._desk.journal
            )
        finally:
            await asyncio.to_thread(file.close)
        upload = Upload(
            id=secrets.token_urlsafe(12),
            owner=owner,
            name=name,
            preview=preview,
            settings=settings,
            made=self.clock(),
        )
        self._forget_old()
        self._kept[upload.id] = upload
        return upload

    def get(self, upload: str, owner: str) -> Upload | None:
        """Return an upload of *owner*; None if it is not kept here."""
        found = self._kept.get(upload)
        return found if found is not None and found.owner == owner else None

    def confirm(self, upload: Upload, limit: int | None) -> None:
        """Begin to add the numbers of *upload*; nothing the second time."""
        if upload.task is None:
            upload.limit = limit
            upload.task = asyncio.create_task(self._add(upload), name="sinch_qn desk upload")

    async def close(self) -> None:
        """Stop adding, and delete the temporary files; what is left can be uploaded again."""
        for upload in self._kept.values():
            if upload.task is not None:
                upload.task.cancel()
                await asyncio.wait([upload.task])
            upload.preview.close()
        self._kept.clear()

    async def _add(self, upload: Upload) -> None:
        journal, preview = self._desk.journal, upload.preview
        try:
            gone = preview.lines_gone() if upload.limit is None else iter(())
            while lines := await asyncio.to_thread(lambda: list(islice(gone, _PAGE))):
                await journal.remove_corrected(dict.fromkeys(lines, ""))
            numbers = preview.new_numbers(upload.limit)
            while page := await asyncio.to_thread(lambda: list(islice(numbers, _PAGE))):
                report = await self._desk.add(page)
                upload.done += len(page)
                upload.added += report.added
                upload.already += report.already
        except SinchError as error:
            upload.error = str(error)

    def _forget_old(self) -> None:
        """Make room: finished and old ones go first, one that is being added never."""
        old = self.clock() - _KEPT_FOR
        kept = sorted(self._kept.values(), key=lambda upload: (not upload.is_done, upload.made))
        for upload in kept:
            is_adding = upload.task is not None and not upload.is_done
            if not is_adding and (upload.made < old or len(self._kept) >= _MAX_KEPT):
                upload.preview.close()
                del self._kept[upload.id]


def _temporary_file() -> IO[bytes]:
    return tempfile.NamedTemporaryFile(prefix="sinch-qn-upload-")


async def _store(chunks: AsyncIterator[bytes], file: IO[bytes]) -> None:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_BYTES:
            raise UnusableUpload(f"it has more than {MAX_BYTES >> 20} MiB: split it")
        await asyncio.to_thread(file.write, chunk)
    await asyncio.to_thread(file.flush)


def _read(path: Path, column: str | None, settings: RunSettings, journal: Journal) -> RunPreview:
    preview = RunPreview()

    def remember(found: Column) -> None:
        preview.column = found

    try:
        lines = read_numbers(
            path,
            column=column,
            find_duplicates=False,
            regions=frozenset(settings.regions),
            on_column=remember,
        )
        preview.add_lines(with_zones(lines, hours_of(settings)))
        preview.mark_known(journal.rows())
        if not (preview.new or preview.known):
            raise UnusableUpload("it has no valid number")
    except BaseException as error:
        preview.close()
        if isinstance(error, InvalidFile | ColumnError | OSError):
            raise UnusableUpload(str(error)) from error
        raise
    return preview
