"""Reports on a run: what needs attention, CSV, JSON lines and an HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn.bulk.report.advice import entries_needing_attention as entries_needing_attention
    from sinch_qn.bulk.report.advice import first_of_each_state as first_of_each_state
    from sinch_qn.bulk.report.advice import needs_attention as needs_attention
    from sinch_qn.bulk.report.advice import order_progress as order_progress
    from sinch_qn.bulk.report.advice import what_to_do as what_to_do
    from sinch_qn.bulk.report.advice import what_to_do_about as what_to_do_about
    from sinch_qn.bulk.report.advice import what_to_do_about_delivery as what_to_do_about_delivery
    from sinch_qn.bulk.report.advice import what_to_do_about_order as what_to_do_about_order
    from sinch_qn.bulk.report.advice import without_invoices as without_invoices
    from sinch_qn.bulk.report.html import write_html as write_html
    from sinch_qn.bulk.report.output_files import write_csv as write_csv
    from sinch_qn.bulk.report.output_files import write_json_lines as write_json_lines
    from sinch_qn.bulk.report.records import batch_record as batch_record
    from sinch_qn.bulk.report.records import delivery_record as delivery_record
    from sinch_qn.bulk.report.records import entry_record as entry_record

_NAMES = {
    "advice": (
        "entries_needing_attention",
        "first_of_each_state",
        "needs_attention",
        "order_progress",
        "what_to_do",
        "what_to_do_about",
        "what_to_do_about_delivery",
        "what_to_do_about_order",
        "without_invoices",
    ),
    "html": ("write_html",),
    "output_files": ("write_csv", "write_json_lines"),
    "records": ("batch_record", "delivery_record", "entry_record"),
}

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES)
