"""The pattern for processes that start an event loop for each job."""

from __future__ import annotations

import asyncio

from sinch_qn import OAuth2, QualifiedNumbersClient
from sinch_qn.sandbox import Sandbox
from tests.support.cli_process import running

NUMBER = "+12025550134"


def test_one_token_serves_many_event_loops() -> None:
    """Clients of several `asyncio.run` that share an OAuth2 request its token once."""

    async def job(auth: OAuth2, sandbox: Sandbox) -> str | None:
        async with QualifiedNumbersClient(
            sandbox.project_id, auth, base_url=sandbox.base_url
        ) as client:
            return (await client.get_number(NUMBER)).phone_number

    with running(Sandbox()) as sandbox:
        sandbox.add([NUMBER])
        auth = OAuth2(sandbox.key_id, sandbox.key_secret, token_url=sandbox.token_url)
        assert [asyncio.run(job(auth, sandbox)) for _ in range(3)] == [NUMBER] * 3
        assert sandbox.calls.total("token") == 1
