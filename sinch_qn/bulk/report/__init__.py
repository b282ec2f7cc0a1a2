"""Reports on a run: what to do next, CSV, JSON lines and one HTML page."""

from sinch_qn.bulk.report.advice import what_to_do, what_to_do_about
from sinch_qn.bulk.report.html import write_html
from sinch_qn.bulk.report.records import as_record, write_csv, write_json_lines

__all__ = [
    "as_record",
    "what_to_do",
    "what_to_do_about",
    "write_csv",
    "write_html",
    "write_json_lines",
]
