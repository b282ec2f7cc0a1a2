"""The URL of a PostgreSQL journal: its run, its secrets, and encryption beyond this machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.bulk.journal.postgres_url import Address, parse_url
from sinch_qn.errors import JournalError

PASSWORD = "s3cret-Passw0rd"


def parsed(url: str) -> Address:
    """Return the address in *url*, with the checks of a service."""
    return parse_url(url, allow_insecure=False)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no connection parameter in the environment."""
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGPASSWORD", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


def test_a_url_names_its_run() -> None:
    """The run is a parameter of the URL; the rest is PostgreSQL's."""
    address = parsed("postgresql://me@localhost:6543/calls?run=january%202026&options=-cgeqo%3Doff")
    assert address.run == "january 2026"
    assert address.name == "postgresql://localhost:6543/calls?run=january%202026"
    expected = {"host": "localhost", "port": "6543", "user": "me", "dbname": "calls"}
    assert expected.items() <= address.parameters.items()
    assert address.parameters["options"] == "-cgeqo=off"
    assert "run" not in address.parameters


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/calls",
        "postgresql://localhost/calls?run=",
        "postgresql://localhost/calls?run=a&run=b",
        "postgresql://localhost/calls?run=a%0Ab",
        "postgresql://localhost/calls?run=" + 101 * "x",
        "mysql://localhost/calls?run=a",
        "postgresql://localhost/calls?run=a&no_such_parameter=1",
        "postgresql://[::1/calls?run=a",
        f"postgresql://me:{PASSWORD}@[::1/calls?run=a",
        f"postgresql://me:{PASSWORD}@localhost/calls",
        f"postgresql://me:{PASSWORD}@loc al:host:host/calls?run=a",
        f"postgresql://localhost/calls?run=a&passwort={PASSWORD}",
    ],
)
def test_a_bad_url_is_refused(url: str) -> None:
    """An unusable URL is a JournalError, without the password in it."""
    with pytest.raises(JournalError) as caught:
        parsed(url)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "[::1]", "", "%2Fvar%2Frun%2Fpostgresql", "localhost,127.0.0.2"],
)
def test_this_machine_needs_no_tls(host: str) -> None:
    """On this machine the choice of TLS is left to PostgreSQL."""
    assert "sslmode" not in parsed(f"postgresql://{host}/calls?run=a").parameters


@pytest.mark.parametrize("host", ["db.example", "10.0.0.7", "localhost,db.example"])
def test_another_machine_is_verified(host: str) -> None:
    """Beyond this machine the server's certificate and name are verified, and no less accepted."""
    parameters = parsed(f"postgresql://{host}/calls?run=a").parameters
    assert (parameters["sslmode"], parameters["sslrootcert"]) == ("verify-full", "system")
    own = parsed(f"postgresql://{host}/calls?run=a&sslrootcert=ca.pem").parameters
    assert (own["sslmode"], own["sslrootcert"]) == ("verify-full", "ca.pem")
    for mode in ("disable", "prefer", "require", "verify-ca"):
        with pytest.raises(JournalError, match=f"sslmode={mode} does not verify"):
            parsed(f"postgresql://{host}/calls?run=a&sslmode={mode}")
        url = f"postgresql://{host}/calls?run=a&sslmode={mode}"
        assert parse_url(url, allow_insecure=True).parameters["sslmode"] == mode


def test_the_environment_may_name_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host from the environment, or from a service that is not read here, is verified too."""
    monkeypatch.setenv("PGHOST", "db.example")
    assert parsed("postgresql:///calls?run=a").parameters["sslmode"] == "verify-full"
    assert "sslmode" not in parsed("postgresql://localhost/calls?run=a").parameters
    monkeypatch.delenv("PGHOST")
    assert parsed("postgresql:///?service=calls&run=a").parameters["sslmode"] == "verify-full"
    monkeypatch.setenv("PGSERVICE", "calls")
    assert parsed("postgresql:///?run=a").parameters["sslmode"] == "verify-full"


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is in no repr and no message, wherever it comes from."""
    url = f"postgresql://me:{PASSWORD}@localhost/calls?run=a"
    address = parsed(url)
    assert address.parameters["password"] == PASSWORD
    shown = [repr(address), repr(PostgresJournal(url))]
    shown.append(str(address.explain("failed", ValueError(f"password={PASSWORD} is wrong"))))
    monkeypatch.setenv("PGPASSWORD", "an0ther-one")
    other = parsed("postgresql://localhost/calls?run=a")
    shown.append(str(other.explain("failed", ValueError("it was an0ther-one"))))
    for each in shown:
        assert PASSWORD not in each
        assert "an0ther-one" not in each


def test_without_the_extra() -> None:
    """Without psycopg the error names the extra."""
    program = "import sys; sys.modules['psycopg'] = None; import sinch_qn.bulk.journal.postgres"
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stderr.endswith(
        "ImportError: PostgresJournal needs an extra: pip install 'sinch-qn[distributed]'\n"
    )
