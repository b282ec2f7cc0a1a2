"""Make the pictures of the docs: `make pictures` (needs Chromium for the screenshots).

The demo is recorded in a terminal as it runs; its report is photographed, and so is a code desk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from codegen.chromium import VARIABLE, arguments, find_chromium
from codegen.desk_pictures import photograph_desk
from codegen.terminal_svg import frames, record, svg

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 100, 30


def main() -> int:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "examples/numbers.csv", folder)
        os.environ["TMPDIR"] = folder  # the demo's journal is below it, too
        command = [sys.executable, "-m", "sinch_qn.cli", "demo", "numbers.csv"]
        written = record(command, columns=COLUMNS, rows=ROWS, folder=Path(folder))
        own = [(at, data.replace(f"{folder}/".encode(), b"")) for at, data in written]
        film = frames(own, columns=COLUMNS, rows=ROWS, prompt="$ make demo")
        picture = svg(film, columns=COLUMNS, title="make demo: 300 numbers to SMS")
        PICTURES.joinpath("demo.svg").write_text(picture, encoding="utf-8")
        page = Path(folder, "demo-report.html")
        page.write_text(
            page.read_text(encoding="utf-8").replace(f"{folder}/", ""), encoding="utf-8"
        )
        chromium = find_chromium()
        if chromium is None:
            print(f"no Chromium, so the photographs stay as they are: set {VARIABLE} to its path")
        else:
            asyncio.run(_photograph(chromium, page.as_uri()))
    print(*(f"wrote {path.relative_to(ROOT)}" for path in sorted(PICTURES.iterdir())), sep="\n")
    return 0


async def _photograph(chromium: str, report: str) -> None:
    """Photograph the top of the report at the URL *report*, and a desk."""
    async with async_playwright() as playwright:
        launch = playwright.chromium.launch
        browser = await launch(executable_path=chromium, args=arguments())
        page = await browser.new_page(viewport={"width": 1000, "height": 760})
        await page.goto(report)
        await page.screenshot(path=PICTURES / "report.png")
        await photograph_desk(browser, PICTURES)
        await browser.close()


if __name__ == "__main__":
    sys.exit(main())
