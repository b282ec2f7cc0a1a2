"""The desk on the command line, as processes: killed, started again, two on one journal."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest
from click.testing import CliRunner

from sinch_qn.cli.app import cli
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import eventually, finish, process, running
from tests.support.journals import opened

pytestmark = pytest.mark.slow

NUMBER, OTHER = "+12025550134", "+12025550135"


class Said:
    """What a command has printed to standard error so far."""

    def __init__(self, command: subprocess.Popen[str]) -> None:
        assert command.stderr is not None
        self._file, self._lines = command.stderr, [""]
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._file:
            self._lines.append(line)

    def find(self, pattern: str) -> str:
        """Wait for a line that matches; return its group."""
        eventually(lambda: re.search(pattern, "".join(self._lines)))
        found = re.search(pattern, "".join(self._lines))
        assert found is not None
        return found[1]

    def has(self, text: str) -> bool:
        """Return whether a text was printed."""
        return text in "".join(self._lines)


class Operator:
    """An operator's browser."""

    def __init__(self) -> None:
        self._opener: OpenerDirector = build_opener(HTTPCookieProcessor(CookieJar()))

    def open(self, url: str, **form: str) -> tuple[str, str]:
        """Open a page, or submit a form; return its address and its text."""
        data = urlencode(form).encode() if form else None
        with self._opener.open(url, data, timeout=30) as response:
            return response.url, response.read().decode()

    def log_in(self, url: str, secret: str) -> str:
        """Log in; return the first page."""
        login, page = self.open(url)
        _, page = self.open(login, token=field(page, "token"), secret=secret)
        return page

    def call(self, base: str, number: str) -> None:
        """Find a number, and press *Call*."""
        _, page = self.open(f"{base}/operator/numbers")
        _, page = self.open(f"{base}/operator/numbers", token=field(page, "token"), text=number)
        (path,) = re.findall(r'href="(/operator/numbers/[^"?]+)"', page)
        _, page = self.open(base + path)
        token, attempt = field(page, "token"), field(page, "attempt")
        self.open(f"{base}{path}/call", token=token, attempt=attempt)


def field(page: str, name: str) -> str:
    """Return the value of an input."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return found[1]


@pytest.fixture
def server() -> Iterator[Sandbox]:
    """Run a sandbox in a thread."""
    with running(Sandbox()) as sandbox:
        sandbox.add([NUMBER, OTHER])
        yield sandbox


@contextmanager
def run_with_desk(server: Sandbox, path: Path, port: int) -> Iterator[tuple[str, Said]]:
    """Run a file on request with a desk; yield its address and what it says."""
    file = path.with_name("numbers.csv")
    file.write_text(f"phone,ref\n{NUMBER},shop 1\n{OTHER},shop 2\n")
    options = ("--journal", str(path), "--on-request", "--yes", "--desk", str(port))
    with process("run", str(file), *options, env=server.environment()) as command:
        said = Said(command)
        yield said.find(r"Operator: (http://\S+)/operator"), said
        command.send_signal(signal.SIGKILL)
        command.wait()


def test_links_and_logins_survive_a_killed_process(server: Sandbox, tmp_path: Path) -> None:
    """Killed after a press, and started again: login and link go on, and the phone rings once."""
    path, operator = tmp_path / "run.db", Operator()
    with run_with_desk(server, path, 0) as (base, said):
        secret = said.find(r"Operators' secret, shown only now: (\S+)")
        operator.log_in(f"{base}/operator", secret)
        operator.call(base, NUMBER)
        with process("links", str(path)) as listing:
            code, out, _ = finish(listing)
        links = {row["number"]: row["url"] for row in csv.DictReader(io.StringIO(out))}
        assert code == 0
        assert links.keys() == {NUMBER, OTHER}
        assert "0134" in operator.open(links[NUMBER])[1]
        eventually(lambda: server.world.rings(NUMBER) == 1)
    port = int(base.rpartition(":")[2])
    with run_with_desk(server, path, port) as (again, said):
        assert again == base
        url, page = operator.open(f"{base}/operator")
        assert (url, "Overview" in page) == (f"{base}/operator", True)
        assert "0134" in operator.open(links[NUMBER])[1]
        operator.call(base, OTHER)
        eventually(lambda: server.world.rings(OTHER) == 1)
        assert not said.has("shown only now")
    assert (server.world.rings(NUMBER), server.world.rings(OTHER)) == (1, 1)


def test_two_desks_on_one_journal_agree(server: Sandbox, tmp_path: Path) -> None:
    """A press at a desk of another process, and again at the run's, is one ring of one login."""
    path, operator = tmp_path / "run.db", Operator()
    with run_with_desk(server, path, 0) as (base, said):
        secret = said.find(r"Operators' secret, shown only now: (\S+)")
        with process("desk", str(path), "--port", "0") as command:
            beside = Said(command).find(r"Operator: (http://\S+)/operator")
            assert beside != base
            operator.log_in(f"{beside}/operator", secret)
            operator.call(beside, NUMBER)
            eventually(lambda: server.world.rings(NUMBER) == 1)
            url, _ = operator.open(f"{base}/operator")
            assert url == f"{base}/operator"
            command.send_signal(signal.SIGTERM)
            assert command.wait(20) == 0
        with process("desk", str(path), "--show-secret") as showing:
            assert finish(showing)[1].strip() == secret
        with process("desk", str(path), "--new-secret") as making:
            new = finish(making)[1].strip()
        assert new != secret
        assert operator.open(f"{base}/operator")[0].endswith("/operator/login")
        assert "Overview" in operator.log_in(f"{base}/operator", new)
    assert server.world.rings(NUMBER) == 1


def test_a_desk_that_cannot_start_calls_nobody(server: Sandbox, tmp_path: Path) -> None:
    """A port that is taken is said, and no phone is called by a run without its desk."""
    path = tmp_path / "run.db"
    with run_with_desk(server, path, 0) as (base, _):
        port = base.rpartition(":")[2]
        file = tmp_path / "other.csv"
        file.write_text(f"phone\n{OTHER}\n")
        options = ("--journal", str(tmp_path / "other.db"), "--yes", "--desk", port)
        with process("run", str(file), *options, env=server.environment()) as command:
            code, _, err = finish(command)
    assert (code, "in use" in err) == (2, True)
    assert server.world.rings(OTHER) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("links", "{}"), "no desk was served for this journal yet"),
        (("desk", "{}", "--port", "0", "--host", "0.0.0.0"), "public_url: needed"),  # noqa: S104
        (("desk", "{}", "--port", "0", "--trusted-proxy", "x"), "trusted_proxies"),
        (("desk", "{}", "--port", "0", "--public-url", "desk.example"), "public_url"),
    ],
)
def test_wrong_options_say_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """What a desk cannot start with is said in one line."""
    path = tmp_path / "run.db"
    asyncio.run(_create(path))
    result = CliRunner().invoke(cli, [each.format(path) for each in arguments])
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


async def _create(path: Path) -> None:
    journal = await opened(path)
    await journal.close()
