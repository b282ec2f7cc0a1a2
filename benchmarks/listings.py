"""Long listings: cost of reading an item, memory, event-loop blocking by a page, prefetch.

    python benchmarks/listings.py [--rounds 9] [--json FILE]

Items are also read by plain cattrs, in alternating blocks. Memory and blocking are measured in
child processes.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from datetime import datetime
from typing import Any

import attrs
import orjson
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override
from measuring import arguments, cpu, in_child, peak_mb, present, table
from server import PAGE, PROJECT, Server
from serving import serving

from sinch_qn import GlobalProcessState, OAuth2, QualifiedNumber, QualifiedNumbersClient
from sinch_qn._codec import decode
from sinch_qn.models import OperationStatus, OperationStatusValue

SIZES = (10_000, 100_000)
PAGES = 20
"""Pages read to compare prefetch with none, and to measure blocking."""
PAGE_DELAY = 0.02
"""The server's delay of a page, in seconds."""
USES = (0.0, 0.01)
"""Seconds that the reader awaits after each page."""


def main() -> None:
    """Measure, print the tables, and write the JSON file."""
    options = arguments(__doc__, rounds=9)
    figures: dict[str, Any] = {"decode": decoding(options.rounds), "peak_mb": {}}
    for size in SIZES:
        with serving("--numbers", str(size)) as base_url:
            figures["peak_mb"][str(size)] = in_child(peak_of_listing, base_url, size)
    numbers = ("--numbers", str(PAGES * PAGE))
    with serving(*numbers) as base_url:
        figures["hold_ms"] = in_child(holds, base_url, options.rounds)
    with serving(*numbers, "--page-delay", str(PAGE_DELAY)) as base_url:
        figures["prefetch"] = asyncio.run(prefetching(base_url, options.rounds))
    present(figures, markdown, options.json)


# ---- an item ---------------------------------------------------------------------------------


def plain(*, explains: bool) -> Converter:
    """Return plain cattrs as its documentation shows it: renamed fields, a hook for times."""
    converter = Converter(detailed_validation=explains)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    converter.register_structure_hook(
        OperationStatusValue | None,
        lambda v, _: v if v is None or isinstance(v, int) else OperationStatus(v),
    )

    def reader(model: type) -> Any:
        renames: Any = {f.name: override(rename=f.metadata["wire"]) for f in attrs.fields(model)}
        return make_dict_structure_fn(model, converter, **renames)

    converter.register_structure_hook_factory(attrs.has, reader)
    return converter


def decoding(rounds: int) -> dict[str, dict[str, float]]:
    """Return µs an item and the ratio to plain cattrs, for ours and both modes of cattrs."""
    page = orjson.loads(Server(PAGE, 0.0).page(0))["qualifiedNumbers"]
    fast, explaining = plain(explains=False), plain(explains=True)
    readers = {
        "sinch_qn": decode,
        "plain cattrs": explaining.structure,
        "plain cattrs, detailed_validation=False": fast.structure,
    }
    assert len({str(read(page[0], QualifiedNumber)) for read in readers.values()}) == 1
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(5 * rounds):
        for name, read in readers.items():
            gc.collect()
            started = cpu()
            for item in page:
                read(item, QualifiedNumber)
            taken[name].append(1e6 * (cpu() - started) / PAGE)
    base = taken["plain cattrs"]
    return {
        name: {
            "us": statistics.median(each),
            "of_plain": statistics.median(e / b for e, b in zip(each, base, strict=True)),
        }
        for name, each in taken.items()
    }


# ---- pages -----------------------------------------------------------------------------------


def client(base_url: str) -> QualifiedNumbersClient:
    """Return a client of the benchmark's server."""
    auth = OAuth2("key", "secret", token_url=base_url + "/oauth2/token")
    return QualifiedNumbersClient(PROJECT, auth, base_url=base_url)


def peak_of_listing(base_url: str, size: int) -> float:
    """Return the peak RSS of a process that lists *size* numbers."""

    async def count() -> int:
        async with client(base_url) as qn:
            listing = qn.list_numbers(GlobalProcessState.ELIGIBLE, page_size=PAGE)
            return len([None async for _ in listing])

    assert asyncio.run(count()) == size
    return peak_mb()


def holds(base_url: str, rounds: int) -> dict[str, float]:
    """Return the longest step of the event loop while a page is read: median and worst page.

    The worst is the median of the worst pages of several listings. CPU time, because wall time on a
    shared machine includes other processes. Python's full garbage collections, which traverse the
    whole process, are measured separately.
    """
    steps: list[float] = []
    collections: list[float] = [0.0]
    run = asyncio.Handle._run  # noqa: SLF001 - the loop runs every step by it
    collecting = 0.0

    def timed(handle: asyncio.Handle) -> None:
        nonlocal collecting
        collecting, started = 0.0, time.thread_time()
        run(handle)
        steps.append(time.thread_time() - started - collecting)

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal collecting
        if info["generation"] == 2:
            collecting += time.thread_time() * (1 if phase == "stop" else -1)
            if phase == "stop":
                collections.append(collecting)

    async def read(qn: QualifiedNumbersClient) -> list[float]:
        longest = []
        steps.clear()
        async for page in qn.list_number_pages(GlobalProcessState.ELIGIBLE, page_size=PAGE):
            assert len(page.items) == PAGE
            await asyncio.sleep(0)  # this is the page's last step
            longest.append(max(steps))
            steps.clear()
        return longest

    async def listings() -> list[list[float]]:
        async with client(base_url) as qn:
            return [await read(qn) for _ in range(rounds + 1)][1:]  # the first one warms up

    gc.callbacks.append(collected)
    asyncio.Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001
    longest = asyncio.run(listings())
    return {
        "median_page": 1e3 * statistics.median(page for listing in longest for page in listing),
        "longest": 1e3 * statistics.median(map(max, longest)),
        "full_collection": 1e3 * max(collections),
    }


async def prefetching(base_url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return ms a page without and with prefetch, by the time that the reader awaits a page."""
    taken: dict[tuple[float, bool], list[float]] = {}
    async with client(base_url) as qn:
        for _ in range(rounds):
            for use in USES:
                for prefetch in (False, True):
                    started = time.perf_counter()
                    async for _page in qn.list_number_pages(
                        GlobalProcessState.ELIGIBLE, page_size=PAGE, prefetch=prefetch
                    ):
                        await asyncio.sleep(use)
                    each = 1e3 * (time.perf_counter() - started) / PAGES
                    taken.setdefault((use, prefetch), []).append(each)
    return {
        f"{1e3 * use:.0f}": {
            "without_ms": statistics.median(taken[use, False]),
            "with_ms": statistics.median(taken[use, True]),
            "times_as_fast": statistics.median(
                a / b for a, b in zip(taken[use, False], taken[use, True], strict=True)
            ),
        }
        for use in USES
    }


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    items = table(
        ("reading an item", "CPU µs", "times plain cattrs"),
        ((n, f"{f['us']:.1f}", f"{f['of_plain']:.2f}") for n, f in figures["decode"].items()),
    )
    hold = figures["hold_ms"]
    listing = table(
        ("listing", ""),
        [
            *(
                (f"peak RSS, {int(size):,} numbers", f"{peak:.1f} MB")
                for size, peak in figures["peak_mb"].items()
            ),
            (
                f"longest hold of the event loop by a page of {PAGE:,}: median, worst of {PAGES}",
                f"{hold['median_page']:.1f} ms, {hold['longest']:.1f} ms",
            ),
            (
                "Python's full garbage collection of the process, measured apart",
                f"{hold['full_collection']:.1f} ms",
            ),
        ],
    )
    prefetch = table(
        (
            f"a page, from a server that takes {1e3 * PAGE_DELAY:.0f} ms for it",
            *("without prefetch", "with it", "times as fast"),
        ),
        (
            (
                f"a reader that awaits {use} ms a page",
                f"{f['without_ms']:.0f} ms",
                f"{f['with_ms']:.0f} ms",
                f"{f['times_as_fast']:.2f}",
            )
            for use, f in figures["prefetch"].items()
        ),
    )
    return f"{items}\n\n{listing}\n\n{prefetch}"


if __name__ == "__main__":
    main()
