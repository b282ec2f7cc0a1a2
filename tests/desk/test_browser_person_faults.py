"""The person's page in a browser while its server dies, and with two servers on one journal."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Browser, expect

from sinch_qn.bulk.journal.postgres import PostgresJournal
from sinch_qn.desk import create_app
from sinch_qn.sandbox import Sandbox
from tests.support.browser import window
from tests.support.cli_process import eventually, running
from tests.support.desk_world import NUMBERS, SECRET, desk_in_thread, served
from tests.support.postgres import Cluster

pytestmark = pytest.mark.slow

NUMBER = NUMBERS[0]

SERVER = """
import asyncio, sys
from aiohttp import web
from sinch_qn import QualifiedNumbersClient
from sinch_qn.bulk import SqliteJournal, VoiceChallengeRun
from sinch_qn.desk import create_app
from sinch_qn.desk.links import Subject
from sinch_qn.desk.state import DESK
path, port, number = sys.argv[1], int(sys.argv[2]), sys.argv[3]
async def main():
    async with QualifiedNumbersClient.from_env() as client:
        journal = SqliteJournal(path)
        async with VoiceChallengeRun(client, journal, on_request=True) as run:
            await run.add([number])
            url = f"http://127.0.0.1:{port}"
            app = create_app(client, journal, secret="s3cret" * 8, public_url=url, run=run)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            print(await app[DESK].url(Subject.NUMBER, number), flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def server(sandbox: Sandbox, journal: Path, port: int) -> Iterator[str]:
    """Run a desk in a process, which is killed at the end; yield the link."""
    command = [sys.executable, "-c", SERVER, str(journal), str(port), NUMBER]
    environment = os.environ | sandbox.environment()
    with subprocess.Popen(  # noqa: S603 - this project's code
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_server_that_is_killed_in_the_middle(browser: Browser, tmp_path: Path) -> None:
    """Killed while the phone rings: the page says so, keeps the code, and goes on; one ring."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    journal, sandbox = tmp_path / "run.db", Sandbox(random=Random(5))
    sandbox.add([NUMBER])
    with running(sandbox), window(browser) as phone:
        page = phone.new_page()
        status, box = page.locator("#live-status"), page.get_by_label("Code", exact=True)
        with server(sandbox, journal, port) as link:
            page.goto(link)
            page.get_by_role("button", name="Call me now").click()
            expect(box).to_be_visible()
            eventually(lambda: sandbox.code_for(NUMBER))
        expect(status).to_have_text("No connection. Trying again…")
        box.fill(str(sandbox.code_for(NUMBER)))
        page.get_by_role("button", name="Verify").click()
        expect(page.locator(".not-sent")).to_contain_text("your phone is called only once")
        with server(sandbox, journal, port) as again:
            assert again == link
            expect(status).to_have_text("Connected again.")
            expect(box).to_have_value(str(sandbox.code_for(NUMBER)))
            page.get_by_role("button", name="Verify").click()
            expect(page.get_by_role("heading", name="Verified")).to_be_visible()
        assert sandbox.world.rings(NUMBER) == 1


def test_two_replicas_are_one_desk(browser: Browser, cluster: Cluster) -> None:
    """A link opens on every replica; what is pressed on two of them at once rings once."""
    url = cluster.url(cluster.empty_journal(), run="desk")
    journal = PostgresJournal(url, require_durable=False)
    with desk_in_thread([NUMBER], journal=journal) as desk, window(browser) as phone:
        world, other = desk.world, PostgresJournal(url, require_durable=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            desk.do(other.open(None, running=False))
            replica = create_app(world.desk.client, other, secret=SECRET, public_url=base)
            serving = served(replica, listener)
            desk.do(serving.__aenter__())
            pages = [phone.new_page(), phone.new_page()]
            link = desk.do(world.link(NUMBER))
            for page, start in zip(pages, (world.base, base), strict=True):
                page.goto(link.replace(world.base, start))
            for page in pages:
                page.evaluate("document.querySelector('form').submit()")
            code = desk.do(world.rang(NUMBER))
            for page in pages:
                page.bring_to_front()
                expect(page.get_by_label("Code", exact=True)).to_be_visible()
            page.get_by_label("Code", exact=True).fill(code)
            page.get_by_role("button", name="Verify").click()
            for page in pages:
                page.bring_to_front()
                expect(page.get_by_role("heading", name="Verified")).to_be_visible()
            desk.do(serving.__aexit__(None, None, None))
            desk.do(other.close())
        assert world.rings(NUMBER) == 1
