"""How many round trips a voice call takes, connected ahead by `prepare` or not.

    python benchmarks/voice_call.py [--calls 12] [--json FILE]

A relay on loopback delays each direction by half of a round trip, and the first bytes of a
connection by one more: the kernel's handshake cannot be delayed. TLS 1.3 goes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme
from measuring import arguments, present, table
from server import FIRST
from serving import serving

from sinch_qn import OAuth2, QualifiedNumbersClient

ROUND_TRIP = 0.1
"""Seconds."""


def main() -> None:
    """Measure, and print the figures."""
    options = arguments(__doc__, calls=12)
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        listed = ("--numbers", str(2 * options.calls), "--certificate", str(certificate))
        with serving(*listed) as base_url:
            port = int(base_url.rpartition(":")[2])
            figures = asyncio.run(measure(port, options.calls, authority))
    present(figures, markdown, options.json)


async def measure(port: int, calls: int, authority: trustme.CA) -> dict[str, float]:
    """Return the round trips of a call, connected ahead and not; medians."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    relay = await asyncio.start_server(
        lambda reader, writer: forward(reader, writer, port), "127.0.0.1", 0
    )
    url = f"https://localhost:{relay.sockets[0].getsockname()[1]}"
    auth = OAuth2("key", "secret", token_url=url + "/oauth2/token")
    seconds: dict[str, list[float]] = {"ahead": [], "fresh": []}
    async with relay, QualifiedNumbersClient("bench", auth, base_url=url, ssl=context) as client:
        await client.send_voice_challenge(f"+{FIRST}")  # the token
        for nth in range(calls):
            prepared = await client.prepare()
            started = time.perf_counter()
            await client.send_voice_challenge(f"+{FIRST + 2 * nth}", prepared=prepared)
            seconds["ahead"].append(time.perf_counter() - started)
            started = time.perf_counter()
            await client.send_voice_challenge(f"+{FIRST + 2 * nth + 1}")
            seconds["fresh"].append(time.perf_counter() - started)
    return {name: statistics.median(each) / ROUND_TRIP for name, each in seconds.items()}


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass a connection on to the server at *port*, slowly."""
    with contextlib.suppress(asyncio.CancelledError):  # at the end of the measurement
        await asyncio.sleep(ROUND_TRIP)  # stands for the handshake of TCP
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on, half of a round trip late."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(ROUND_TRIP / 2, writer.write, data)
    loop.call_later(ROUND_TRIP / 2, writer.close)


def markdown(figures: dict[str, Any]) -> str:
    """Return the table."""
    names = {"ahead": "connected ahead by `prepare`", "fresh": "on a connection of its own"}
    rows = [(names[name], f"{figures[name]:.2f}") for name in names]
    return table(("a voice call over TLS", "round trips"), rows)


if __name__ == "__main__":
    main()
