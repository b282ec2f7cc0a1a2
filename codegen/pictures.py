"""Make the pictures of the docs: `make pictures` (needs Chromium for the screenshots).

The demo is recorded in a terminal as it runs; its report is photographed, and so is a code desk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from codegen.desk_pictures import photograph_desk
from codegen.terminal_svg import frames, record, svg

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 100, 30
_CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--virtual-time-budget=2000"),
)


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
        report = page.as_uri()
        screenshot(report, PICTURES / "report.png", width=1000, height=760)
    if (chromium := _chromium()) is not None:
        asyncio.run(photograph_desk(PICTURES, chromium))
    print(*(f"wrote {path.relative_to(ROOT)}" for path in sorted(PICTURES.iterdir())), sep="\n")
    return 0


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")


def screenshot(url: str, path: Path, *, width: int, height: int) -> None:
    """Photograph the top of a page."""
    chromium = _chromium()
    if chromium is None:
        print(f"no Chromium, so {path.name} stays as it is: set CHROMIUM to its path")
        return
    with tempfile.TemporaryDirectory() as profile:
        command = (
            *(chromium, *_CHROMIUM, f"--user-data-dir={profile}"),
            *(f"--window-size={width},{height}", f"--screenshot={path}", url),
        )
        subprocess.run(command, check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
