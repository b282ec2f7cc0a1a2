"""The tables of the architecture; `test_architecture` holds the code to them and prints them."""

from __future__ import annotations

from typing import NamedTuple

FLOORS: dict[str, dict[int, str]] = {
    "": {
        6: "cli",
        5: "desk",
        4: "bulk sandbox pytest_plugin",
        3: "client resources parsing invoices preflight",
        2: (
            "_client_options _general_calls _pipeline _observation _raw instrumentation"
            " _error_context _paging waiting auth rate_limit _deadlines _transport _connections"
            " smtp"
        ),
        1: (
            "_operations _http _codec _readers _checks _queries retry lifecycle"
            " webhooks phone proxy serialization"
        ),
        0: "errors _redaction _headers drift _open_enums _model models _version _lazy_face",
    },
    "instrumentation": {1: "log_lines opentelemetry", 0: "hooks"},
    "bulk": {
        11: "fleet",
        10: "run",
        9: "scheduler text_enable",
        8: "calls order_watch callback_receiver",
        7: "chores due_numbers",
        6: "steps preview report call_requests",
        5: (
            "unsafe_writes lost_orders callback_inbox invoice_emails admission actions refusals"
            " journal_watch text_enable_report rate_ceiling run_events"
        ),
        4: "journal order_records",
        3: "permits",
        2: "pacing",
        1: "outcomes transitions",
        0: "states at_most_once calling_hours",
    },
    "bulk/journal": {
        8: "sqlite postgres",
        7: "sqlite_session postgres_store",
        6: "postgres_claims postgres_deliveries",
        5: "sqlite_work memory postgres_work postgres_writer postgres_backup",
        4: "sqlite_deliveries sqlite_copy postgres_transaction postgres_entrance",
        3: (
            "sqlite_thread sqlite_queries postgres_queries postgres_lease postgres_listener"
            " postgres_control"
        ),
        2: "sqlite_schema memory_store local_runner postgres_connection",
        1: "protocol",
        0: "queries deliveries sqlite_file postgres_schema postgres_url",
    },
    "bulk/report": {3: "html", 2: "charts output_files", 1: "summary records", 0: "advice"},
    "parsing": {
        2: "number_files",
        1: "columns codes transcripts",
        0: "phone_numbers rows text_files loa spoken_numbers",
    },
    "resources": {
        1: "imported_numbers",
        0: "hosting_orders callback_configuration number_links",
    },
    "desk": {
        9: "server",
        8: "app",
        7: "operator_pages",
        6: "operator_numbers operator_orders operator_links operator_uploads",
        5: "login api",
        4: "security api_requests",
        3: "uploads person problems",
        2: "state",
        1: "sessions summaries link_files tokens",
        0: "attempts forms links watch pages live person_cards translations",
    },
    "sandbox": {
        8: "server",
        7: "app",
        6: "callbacks control_api handlers",
        5: "hosting_handlers state",
        4: "world",
        3: "hosting_orders",
        2: "imported_numbers",
        1: "timeline payloads",
        0: "request_validation faults misbehaving_numbers number_store clock settings refusal"
        " events",
    },
    "cli": {
        9: "__main__",
        8: "__init__",
        7: "commands",
        6: "jobs",
        5: "run_session",
        4: "run_display",
        3: "code_prompt resources run_standing",
        2: "signals app output run_status",
        1: "tables session_settings run_codes exit_codes options client",
        0: ("background_stream client_options messages env_file run_inputs streams journals times"),
    },
    "cli/commands": {
        0: "doctor runs workers run_tools journal invoices numbers number_files verification"
        " text_enabling sandbox demo desk hosting_orders imported_numbers callbacks",
    },
    "cli/jobs": {
        2: "runs demo_desk",
        1: "reports workers demo",
        0: "doctor desk run_state journals invoices numbers number_files verification text_enabling"
        " sandbox hosting_orders imported_numbers callbacks",
    },
}
"""The files and folders of each folder by floor. An `__init__` that only re-exports has none."""

NEIGHBOURS = {
    "pytest_plugin": {"sandbox"},
    "client": {"resources"},
    "_pipeline": {
        "_connections",
        "_deadlines",
        "_error_context",
        "_observation",
        "_raw",
        "instrumentation",
        "_transport",
        "auth",
        "rate_limit",
    },
    "_client_options": {"_connections", "_transport", "auth", "instrumentation", "rate_limit"},
    "_codec": {"_readers"},
    "_http": {"_codec", "_operations"},
    "_general_calls": {"_pipeline", "_raw"},
    "_paging": {"_error_context"},
    "waiting": {"_error_context"},
    "_observation": {"_connections", "_raw", "instrumentation"},
    "_raw": {"instrumentation"},
    "_transport": {"_connections"},
    "_checks": {"phone"},
    "_queries": {"_checks"},
    "retry": {"_operations"},
    "webhooks": {"_codec"},
    "_headers": {"_redaction"},
    "errors": {"_redaction", "models"},
    "models": {"_model", "_open_enums"},
    "serialization": {"_codec"},
}
"""What a file of `sinch_qn/` may import from its own floor."""

_SERVERS = "sandbox/server.py sandbox/app.py sandbox/callbacks.py"
OWNERS = {
    "aiohttp": f"_transport.py _connections.py bulk/callback_receiver.py desk/ {_SERVERS}",
    "aiolimiter": "rate_limit.py",
    "aiosmtplib": "smtp.py",
    "attrs": "anywhere",
    "cattrs": "_codec.py",
    "click": "cli/",
    "cryptography": "desk/links.py",
    "dotenv": "cli/env_file.py",
    "fcntl": "bulk/journal/sqlite_file.py",
    "jinja2": "desk/pages.py",
    "jsonschema_rs": "sandbox/request_validation.py",
    "multidict": "_connections.py",
    "opentelemetry": "instrumentation/opentelemetry.py",
    "orjson": "anywhere",
    "procrastinate": "bulk/fleet.py",
    "psycopg": "bulk/journal/postgres",
    "phonenumbers": "parsing/ bulk/calling_hours.py",
    "pytest": "pytest_plugin.py",
    "pytest_asyncio": "pytest_plugin.py",
    "rich": "cli/",
    "sqlite3": "bulk/journal/sqlite bulk/preview.py",
    "termios": "cli/code_prompt.py",
    "tty": "cli/code_prompt.py",
    "yarl": f"_transport.py _connections.py {_SERVERS}",
}
"""The files that may import a third-party or platform module, by path prefix."""

PURE = (
    "bulk/states.py bulk/transitions.py bulk/outcomes.py bulk/pacing.py bulk/refusals.py"
    " bulk/calling_hours.py bulk/rate_ceiling.py bulk/permits.py"
    " bulk/text_enable_report.py bulk/journal/protocol.py bulk/journal/queries.py"
    " bulk/report/advice.py"
    " bulk/report/summary.py bulk/report/charts.py parsing/phone_numbers.py parsing/codes.py"
    " parsing/loa.py parsing/rows.py parsing/columns.py sandbox/world.py"
    " sandbox/number_store.py invoices.py bulk/journal/deliveries.py"
    " resources/number_links.py preflight.py"
).split()
"""Pure files besides floors 0 and 1 of `sinch_qn/`."""

IO = (
    "aiohttp asyncio click fcntl http.client http.server io os pathlib rich selectors shutil socket"
    " sqlite3 ssl subprocess sys tempfile urllib.request"
).split()
"""Modules that wait, connect, read or write."""

ALIASES = {
    "CallbackEventType": "EventType",
    "GlobalProcessState": "SinchState",
    "HostingOrderState": "OrderState",
}
"""The only alias that an enum may have, in package, tests and examples."""

_GERUND = "a gerund: it names an activity"


class Allowed(NamedTuple):
    """A finding that a rule allows, and why."""

    rule: int
    where: str
    what: str
    reason: str


EXCEPTIONS = (
    Allowed(3, "_connections.py", "_retry_connection", "aiohttp has no public switch for it"),
    Allowed(3, "client.py", "_getframe", "inspect.stack() would read every source file"),
    Allowed(3, "cli/signals.py", "_exit", "os._exit is public: it ends a process that hangs"),
    Allowed(5, "__init__.py", "*", "names load when they are used, so importing is cheap"),
    Allowed(5, "_lazy_face.py", "import_module", "it loads the names of the faces"),
    Allowed(5, "bulk/__init__.py", "*", "as for the package's: only runs need aiohttp"),
    Allowed(5, "bulk/journal/__init__.py", "*", "as for bulk: one journal of several is used"),
    Allowed(5, "bulk/report/__init__.py", "*", "as for bulk: `sinch-qn status` writes no file"),
    Allowed(5, "bulk/calling_hours.py", "phonenumbers", "an extra"),
    Allowed(5, "bulk/calling_hours.py", "phonenumbers.timezone", "an extra"),
    Allowed(5, "cli/__init__.py", "sinch_qn.cli.app", "without the extra, the error names it"),
    Allowed(5, "cli/app.py", "import_module", "a command loads when it is used"),
    Allowed(5, "cli/jobs/__init__.py", "*", "what a command does loads when it is done"),
    Allowed(5, "cli/output.py", "sinch_qn.cli.tables", "only tables need rich: a third of the CPU"),
    Allowed(5, "errors.py", "sinch_qn.models", "`sinch-qn --help` is 50 ms faster without"),
    Allowed(5, "parsing/__init__.py", "*", "numbers as E.164 need no phonenumbers"),
    Allowed(5, "pytest_plugin.py", "*", "every pytest run in the environment loads the plugin"),
    Allowed(5, "rate_limit.py", "aiolimiter", "an extra"),
    Allowed(10, "_readers.py", "*", "generated"),
    Allowed(10, "client.py", "QualifiedNumbersClient", "the facade: a statement for each method"),
    Allowed(10, "models.py", "file", "generated"),
    Allowed(11, "_paging.py", "_paging", _GERUND),
    Allowed(11, "bulk/pacing.py", "pacing", _GERUND),
    Allowed(11, "parsing/__init__.py", "parsing", _GERUND),
    Allowed(11, "waiting.py", "waiting", _GERUND),
)
