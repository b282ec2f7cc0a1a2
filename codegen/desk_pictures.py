"""Photographs of the code desk on a sandbox, for the docs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any, Final

from playwright.async_api import Browser

from sinch_qn.bulk import ChallengeState, MemoryJournal, NewNumber, VoiceChallengeRun
from sinch_qn.desk import ServedDesk, listen, serve_desk
from sinch_qn.sandbox import Sandbox

_SCALE: Final = 2
"""Pixels of a picture by CSS pixel."""
_PHONE: Final[dict[str, Any]] = {"viewport": {"width": 390, "height": 700}}
_SCREEN: Final[dict[str, Any]] = {"viewport": {"width": 1100, "height": 720}}
_NUMBERS: Final = tuple(f"+1202555{last:04}" for last in range(100, 148))


async def photograph_desk(browser: Browser, folder: Path) -> None:
    """Write `desk-person.png`, `desk-operator.png` and `desk-number.png` into *folder*."""
    async with Sandbox(random=Random(5)) as sandbox, sandbox.client() as client:  # noqa: S311
        sandbox.add(_NUMBERS)
        journal = MemoryJournal()
        async with (
            VoiceChallengeRun(client, journal, on_request=True, calls_per_second=100.0) as run,
            serve_desk(client, journal, listen(), run=run, title="January") as desk,
        ):
            await _play(run, sandbox)
            await _photograph_person(browser, desk, run, folder / "desk-person.png")
            await _photograph_operator(browser, desk, folder)


async def _play(run: VoiceChallengeRun, sandbox: Sandbox) -> None:
    """Have people ask for calls and type codes, one of them a wrong one."""
    await run.add(
        NewNumber(number=number, ref=f"Shop {index // 3 + 1}", line=index + 2)
        for index, number in enumerate(_NUMBERS)
    )
    await run.add([NewNumber(number="12", ref="Shop 17", line=50, problem="too short: 2 digits")])
    for index, number in enumerate(_NUMBERS[:30]):
        await run.request_call(number)
        await _until(run, number, ChallengeState.AWAITING_CODE)
        if index < 26:
            await asyncio.sleep(0.1)
            await run.submit_code(number, sandbox.code_for(number) or "")
    await run.submit_code(_NUMBERS[27], "0000")
    await _until(run, _NUMBERS[25], ChallengeState.VERIFIED)


async def _until(run: VoiceChallengeRun, number: str, state: ChallengeState) -> None:
    async with asyncio.timeout(30):
        while (entry := await run.result(number)) is None or entry.state is not state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _photograph_person(
    browser: Browser, desk: ServedDesk, run: VoiceChallengeRun, path: Path
) -> None:
    context = await browser.new_context(**_PHONE, device_scale_factor=_SCALE, locale="en")
    page = await context.new_page()
    await page.goto(await desk.person_url(_NUMBERS[40]))
    await page.get_by_role("button", name="Call me now").click()
    await _until(run, _NUMBERS[40], ChallengeState.AWAITING_CODE)
    await page.reload()
    await page.screenshot(path=path)
    await context.close()


async def _photograph_operator(browser: Browser, desk: ServedDesk, folder: Path) -> None:
    context = await browser.new_context(**_SCREEN, device_scale_factor=_SCALE, locale="en")
    page = await context.new_page()
    await page.goto(desk.operator_url)
    await page.get_by_label("secret").fill(desk.new_secret or "")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("heading", name="Overview").wait_for()
    await page.screenshot(path=folder / "desk-operator.png")
    await page.goto(f"{desk.operator_url}/numbers?state=awaiting_code")
    await page.get_by_role("link", name=_NUMBERS[27]).click()
    await page.get_by_role("heading", name="History").wait_for()
    await page.screenshot(path=folder / "desk-number.png")
    await context.close()
