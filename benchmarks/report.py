"""Compares measurements with targets and writes the tables of docs/explanation/performance.md.

    python benchmarks/report.py FOLDER       of the JSON files; others' tables stay unchanged

Tables go between `<!-- bench: NAME -->` and `<!-- end -->`, pictures beside the page.
"""

from __future__ import annotations

import json
import operator
import re
import sys
from pathlib import Path
from typing import Any

import calls
import chart
import growth
import imports
import journal
import listings
import rate
import run
import voice_call
from contenders import BY_HAND, GENERATED, OURS, READ, TELNYX, VENDOR
from measuring import table

DOCS = Path(__file__).parents[1] / "docs" / "explanation"
BENCHES = {
    "calls": calls,
    "voice_call": voice_call,
    "listings": listings,
    "imports": imports,
    "growth": growth,
    "run": run,
    "rate": rate,
    "journal": journal,
}


def main() -> None:
    """Draw, print the targets, and write the tables."""
    folder = Path(sys.argv[1])
    measured = {
        name: json.loads(path.read_text())
        for name in BENCHES
        if (path := folder / f"{name}.json").exists()
    }
    texts = {name: BENCHES[name].markdown(m["figures"]) for name, m in measured.items()}
    if measured.keys() == BENCHES.keys():
        texts["bars"] = bars({name: m["figures"] for name, m in measured.items()})
        print(texts["bars"])
    dated = {f"{m['date']} ({m['machine']})" for m in measured.values()}
    texts["when"] = f"Measured by `make bench` on {'; '.join(sorted(dated))}."
    if "calls" in measured:
        chart.draw_calls(measured["calls"], DOCS / "calls.svg")
    if "growth" in measured:
        chart.draw_calls_in_flight(measured["growth"], DOCS / "calls-in-flight.svg")
        chart.draw_run(measured["growth"], DOCS / "run.svg")
    page = DOCS / "performance.md"
    page.write_text(fill(page.read_text(), texts))


def fill(page: str, texts: dict[str, str]) -> str:
    """Return *page* with each of *texts* in its place."""
    for name, text in texts.items():
        place = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, times = place.subn(lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page)
        assert times == 1, f"performance.md has {times} places for {name}"
    return page


def bars(figures: dict[str, Any]) -> str:
    """Return a row for each target: the requirement, the measurement, whether it is met."""
    loop = figures["calls"]["loops"]["asyncio"]
    ratio = {
        name: f["our_cpu_ratio"] for name, f in (loop["50"] | {VENDOR: loop["1"][VENDOR]}).items()
    }
    decode = figures["listings"]["decode"]
    peaks = figures["listings"]["peak_mb"]
    prefetch = figures["listings"]["prefetch"]
    cpu_ms = figures["imports"]["cpu_ms"]
    beside = figures["run"]["beside_a_loop"]
    largest = max(figures["growth"]["runs"], key=operator.itemgetter("numbers"))
    rows: list[tuple[str, float, str, float, str]] = [
        ("`get_number` ÷ the hand-written snippet, CPU", ratio[BY_HAND], "≤", 1.0, ""),
        ("`get_number` ÷ bare aiohttp `read()`, CPU", ratio[READ], "≤", 1.1, ""),
        ("the generated client ÷ `get_number`, CPU", 1 / ratio[GENERATED], "≥", 8, ""),
        ("AsyncTelnyx ÷ `get_number`, CPU", 1 / ratio[TELNYX], "≥", 12, ""),
        ("the vendor's SDK ÷ `get_number`, CPU, one at a time", 1 / ratio[VENDOR], "≥", 6, ""),
        (
            "a voice call connected ahead, over TLS: round trips",
            figures["voice_call"]["ahead"],
            "≤",
            1.2,
            "",
        ),
        ("reading an item ÷ plain cattrs", decode[OURS]["of_plain"], "≤", 0.40, ""),
        (
            "peak RSS of a listing: 100,000 numbers ÷ 10,000",
            peaks["100000"] / peaks["10000"],
            "≤",
            1.1,
            "",
        ),
        (
            "longest hold of the loop by a page of 1,000: CPU, full collections apart",
            figures["listings"]["hold_ms"]["longest"],
            "≤",
            5,
            " ms",
        ),
        *(
            (
                f"prefetch, 20 ms a page, a reader that awaits {use} ms a page: times as fast",
                f["times_as_fast"],
                "≥",
                1.5,
                "",
            )
            for use, f in prefetch.items()
        ),
        ("`import sinch_qn` over a bare interpreter", cpu_ms["sinch_qn"], "≤", 25, " ms"),
        ("`import sinch_qn.models` over it", cpu_ms["sinch_qn.models"], "≤", 60, " ms"),
        (
            "`import sinch_qn.client` ÷ `import aiohttp`",
            figures["imports"]["client_of_aiohttp"],
            "≤",
            1.25,
            "",
        ),
        *(
            (f"`sinch-qn {name}`, CPU from start to end", each["cpu_ms"], "≤", 200, " ms")
            for name, each in figures["imports"]["commands"].items()
        ),
        (
            "one client, after its first call",
            figures["imports"]["client_kib"]["after its first call"],
            "≤",
            50,
            " KiB",
        ),
        *(
            (f"a run ÷ a bare loop, CPU: {scheme}, {name}", f[key][1], "≤", 1.3, "")
            for scheme, f in beside.items()
            for name, key in (("MemoryJournal", "memory_times"), ("SqliteJournal", "sqlite_times"))
        ),
        (
            "numbers a second of a run without a rate: http, SqliteJournal",
            beside["http"]["sqlite_numbers_per_second"],
            "≥",
            700,
            "",
        ),
        *(
            (f"share of {rate} calls a second that is used", f["share"], "≥", f["bar"], "")
            for rate, f in figures["rate"].items()
        ),
        *(
            (
                f"most calls in any second at {rate} ÷ (1.05 × {rate} + 1)",
                f["most_in_a_second"] / (1.05 * float(rate) + 1),
                "≤",
                1,
                "",
            )
            for rate, f in figures["rate"].items()
        ),
        *(
            (f"CPU of a run at {rate} calls a second, of a core", f["cores"], "≤", most, "")
            for rate, most in (("5", 0.03), ("50", 0.18))
            for f in [figures["rate"][rate]]
        ),
        (f"peak RSS of a run of {largest['numbers']:,}", largest["peak_mb"], "≤", 200, " MB"),
    ]
    met = {"≤": operator.le, "≥": operator.ge}
    return table(
        ("target", "measured", "required", ""),
        (
            (
                what,
                f"{value:.2f}{unit}",
                f"{sign} {bar:g}{unit}",
                "met" if met[sign](value, bar) else "**not met**",
            )
            for what, value, sign, bar, unit in rows
        ),
    )


if __name__ == "__main__":
    main()
