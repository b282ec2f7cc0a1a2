"""Reports on a run: what needs attention, CSV, JSON lines and an HTML page."""

from sinch_qn.bulk.report.advice import (
    entries_needing_attention,
    first_of_each_state,
    needs_attention,
    what_to_do,
    what_to_do_about,
    what_to_do_about_delivery,
    without_invoices,
)
from sinch_qn.bulk.report.html import write_html
from sinch_qn.bulk.report.records import (
    batch_record,
    delivery_record,
    entry_record,
    write_csv,
    write_json_lines,
)

__all__ = [
    "batch_record",
    "delivery_record",
    "entries_needing_attention",
    "entry_record",
    "first_of_each_state",
    "needs_attention",
    "what_to_do",
    "what_to_do_about",
    "what_to_do_about_delivery",
    "without_invoices",
    "write_csv",
    "write_html",
    "write_json_lines",
]
