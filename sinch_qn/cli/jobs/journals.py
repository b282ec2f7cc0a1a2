"""What `sinch-qn journal` does."""

from __future__ import annotations

from pathlib import Path

from sinch_qn.bulk import SqliteJournal
from sinch_qn.cli.messages import print_message


def back_up_journal(path: Path, copy: Path) -> None:
    """Copy a journal to the new file *copy*, and print what a run may do with it."""
    if SqliteJournal(path).backup(copy):
        print_message(f"{copy}: complete; run from it, or from {path}, but not from both.")
    else:
        print_message(f"{copy}: complete up to now; its run may go on, so a run refuses the copy.")


def accept_journal(path: Path) -> None:
    """Accept a journal as it is."""
    SqliteJournal(path).accept()
    print_message(f"{path}: accepted.")
