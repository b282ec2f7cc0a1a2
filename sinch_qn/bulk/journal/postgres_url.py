"""The URL of a PostgreSQL journal: its run, its parameters, and a name without secrets."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sinch_qn._checks import is_loopback
from sinch_qn._redaction import redact
from sinch_qn.errors import JournalError

PREFIXES = ("postgresql://", "postgres://")

_MAX_RUN = 100
"""Characters in a run's name."""

_KEEPALIVE = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A connection whose other end vanished is an error after some ten seconds, not a hang."""

_NOT_A_URL = (
    "this is not a URL that PostgreSQL takes: encode special characters in it (%40 for @), and "
    "look for misspelt parameters"
)


@attrs.frozen(kw_only=True)
class Address:
    """Where a PostgreSQL journal is."""

    run: str
    name: str
    """The URL without user, password and parameters: for messages."""
    parameters: dict[str, str] = attrs.field(repr=False)
    """What libpq takes."""

    @property
    def conninfo(self) -> str:
        """The parameters as libpq takes them; with the password, if there is one."""
        return make_conninfo("", **self.parameters)

    def explain(self, what: str, error: Exception) -> JournalError:
        """Return what went wrong at this address, without its password."""
        reason = " ".join(str(error).split())
        explained = JournalError(f"{self.name}: the journal {what}: {reason}")
        redact(explained, self._secrets())
        return explained

    def _secrets(self) -> list[str]:
        secrets = (self.parameters.get("password"), os.environ.get("PGPASSWORD"))
        return [secret for secret in secrets if secret]


def parse_url(url: str, *, allow_insecure: bool) -> Address:
    """Return the address in *url*, such as `postgresql://host/database?run=january`.

    Raises `JournalError` if it names no run, or a connection beyond this machine that would not be
    encrypted and verified, unless *allow_insecure*. No message contains its password.
    """
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its text may have the password
        raise JournalError(_NOT_A_URL) from None
    runs = options.pop("run", [])
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if not url.startswith(PREFIXES):
        raise JournalError(f"{name}: a journal's URL begins with postgresql://")
    if len(runs) != 1 or not runs[0].isprintable() or not 0 < len(runs[0]) <= _MAX_RUN:
        raise JournalError(
            f"{name}: name one run at the end of the URL, in up to {_MAX_RUN} characters: "
            f"{name}?run=january"
        )
    query = urlencode(options, doseq=True, quote_via=quote)
    try:
        given = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{query}")
    except psycopg.Error:  # its text may have the password
        raise JournalError(f"{name}: {_NOT_A_URL}") from None
    parameters = {key: str(value) for key, value in given.items() if value is not None}
    address = Address(
        run=runs[0],
        name=f"{name}?run={quote(runs[0])}",
        parameters=_KEEPALIVE | parameters,
    )
    _verify_tls(address, allow_insecure=allow_insecure)
    return address


def _verify_tls(address: Address, *, allow_insecure: bool) -> None:
    """Ask for a verified certificate beyond this machine; refuse less."""
    parameters = address.parameters
    if allow_insecure or _is_local(parameters):
        return
    if parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise JournalError(
            f"{address.name}: sslmode={parameters['sslmode']} does not verify whom it talks to: "
            "leave it out, or say allow_insecure=True (on the command line: --allow-insecure)"
        )
    if "PGSSLROOTCERT" not in os.environ:
        parameters.setdefault("sslrootcert", "system")


def _is_local(parameters: dict[str, str]) -> bool:
    """Return whether all hosts are this machine. A `service` may be anywhere."""
    hosts = parameters.get("hostaddr") or parameters.get("host")
    if hosts is None and "service" not in parameters and "PGSERVICE" not in os.environ:
        hosts = os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or "/"
    return hosts is not None and all(map(_is_this_machine, hosts.split(",")))


def _is_this_machine(host: str) -> bool:
    return not host or host.startswith(("/", "@")) or is_loopback(host.strip("[]"))
