"""What the commands do. A command loads its job when it is carried out, not for its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn.cli.jobs.callbacks import set_callback_secret as set_callback_secret
    from sinch_qn.cli.jobs.callbacks import show_callbacks as show_callbacks
    from sinch_qn.cli.jobs.demo import demonstrate as demonstrate
    from sinch_qn.cli.jobs.demo_desk import demonstrate_desk as demonstrate_desk
    from sinch_qn.cli.jobs.desk import desk_beside as desk_beside
    from sinch_qn.cli.jobs.desk import print_links as print_links
    from sinch_qn.cli.jobs.desk import print_new_token as print_new_token
    from sinch_qn.cli.jobs.desk import print_operator_secret as print_operator_secret
    from sinch_qn.cli.jobs.desk import print_tokens as print_tokens
    from sinch_qn.cli.jobs.desk import revoke_token as revoke_token
    from sinch_qn.cli.jobs.desk import serve_code_desk as serve_code_desk
    from sinch_qn.cli.jobs.doctor import examine as examine
    from sinch_qn.cli.jobs.hosting_orders import follow_order as follow_order
    from sinch_qn.cli.jobs.hosting_orders import get_orders as get_orders
    from sinch_qn.cli.jobs.hosting_orders import list_order_numbers as list_order_numbers
    from sinch_qn.cli.jobs.hosting_orders import list_orders as list_orders
    from sinch_qn.cli.jobs.hosting_orders import report_orders as report_orders
    from sinch_qn.cli.jobs.imported_numbers import delete_imported as delete_imported
    from sinch_qn.cli.jobs.imported_numbers import get_imported as get_imported
    from sinch_qn.cli.jobs.imported_numbers import list_imported as list_imported
    from sinch_qn.cli.jobs.imported_numbers import update_imported as update_imported
    from sinch_qn.cli.jobs.invoices import send_invoices as send_invoices
    from sinch_qn.cli.jobs.journals import accept_journal as accept_journal
    from sinch_qn.cli.jobs.journals import back_up_journal as back_up_journal
    from sinch_qn.cli.jobs.journals import distrust_database as distrust_database
    from sinch_qn.cli.jobs.journals import init_database as init_database
    from sinch_qn.cli.jobs.journals import upgrade_database as upgrade_database
    from sinch_qn.cli.jobs.number_files import check_file as check_file
    from sinch_qn.cli.jobs.numbers import add_numbers as add_numbers
    from sinch_qn.cli.jobs.numbers import delete_numbers as delete_numbers
    from sinch_qn.cli.jobs.numbers import get_numbers as get_numbers
    from sinch_qn.cli.jobs.numbers import list_numbers as list_numbers
    from sinch_qn.cli.jobs.reports import print_entries as print_entries
    from sinch_qn.cli.jobs.reports import write_reports as write_reports
    from sinch_qn.cli.jobs.run_state import free_batch as free_batch
    from sinch_qn.cli.jobs.run_state import recall_numbers as recall_numbers
    from sinch_qn.cli.jobs.run_state import request_calls as request_calls
    from sinch_qn.cli.jobs.run_state import show_status as show_status
    from sinch_qn.cli.jobs.run_state import submit_code as submit_code
    from sinch_qn.cli.jobs.runs import run_file as run_file
    from sinch_qn.cli.jobs.sandbox import serve_sandbox as serve_sandbox
    from sinch_qn.cli.jobs.text_enabling import order_sms as order_sms
    from sinch_qn.cli.jobs.text_enabling import order_toll_free_sms as order_toll_free_sms
    from sinch_qn.cli.jobs.text_enabling import show_planned_orders as show_planned_orders
    from sinch_qn.cli.jobs.verification import call_number as call_number
    from sinch_qn.cli.jobs.verification import verify_number as verify_number
    from sinch_qn.cli.jobs.workers import set_pace as set_pace
    from sinch_qn.cli.jobs.workers import work as work
    from sinch_qn.cli.jobs.workers import work_shifts as work_shifts

_NAMES = {
    "callbacks": ("set_callback_secret", "show_callbacks"),
    "demo": ("demonstrate",),
    "hosting_orders": (
        *("follow_order", "get_orders", "list_order_numbers", "list_orders", "report_orders"),
    ),
    "imported_numbers": (*("delete_imported", "get_imported", "list_imported", "update_imported"),),
    "demo_desk": ("demonstrate_desk",),
    "desk": (
        "desk_beside",
        "print_links",
        "print_new_token",
        "print_operator_secret",
        "print_tokens",
        "revoke_token",
        "serve_code_desk",
    ),
    "doctor": ("examine",),
    "invoices": ("send_invoices",),
    "journals": (
        "accept_journal",
        "back_up_journal",
        "distrust_database",
        "init_database",
        "upgrade_database",
    ),
    "number_files": ("check_file",),
    "numbers": ("add_numbers", "delete_numbers", "get_numbers", "list_numbers"),
    "reports": ("print_entries", "write_reports"),
    "run_state": ("free_batch", "recall_numbers", "request_calls", "show_status", "submit_code"),
    "runs": ("run_file",),
    "sandbox": ("serve_sandbox",),
    "text_enabling": ("order_sms", "order_toll_free_sms", "show_planned_orders"),
    "verification": ("call_number", "verify_number"),
    "workers": ("set_pace", "work", "work_shifts"),
}

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES)
