"""Draws the benchmarks' charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, OTHERS, INK = "#2a6fdb", "#9aa5b1", "#3b434d"

mpl.rcParams.update(
    {
        "svg.hashsalt": "sinch_qn",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": OTHERS,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
        # A background of its own makes a picture readable on light and dark pages.
        "savefig.facecolor": "white",
    }
)


def draw_calls(calls: dict[str, Any], path: Path) -> None:
    """Draw the CPU of one call for each contender, the cheapest on top."""
    figures = calls["figures"]["loops"]["asyncio"]["50"]
    names = sorted(figures, key=lambda name: figures[name]["cpu_us"], reverse=True)
    values = [figures[name]["cpu_us"] for name in names]
    figure, axes = plt.subplots(figsize=(8, 3.2))
    colours = [OURS if name == "sinch_qn" else OTHERS for name in names]
    bars = axes.barh(names, values, color=colours, height=0.62)
    for bar, name, value in zip(bars, names, values, strict=True):
        times_ours = 1 / figures[name]["our_cpu_ratio"]
        label = f" {value:,.0f} µs   {times_ours:.2f} ×"
        axes.text(value, bar.get_y() + bar.get_height() / 2, label, va="center")
    axes.set_xlim(0, max(values) * 1.22)
    axes.set_xlabel("CPU of one get_number, µs; 50 calls at once, asyncio")
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    _save(figure, calls, path)


def draw_calls_in_flight(growth: dict[str, Any], path: Path) -> None:
    """Draw the CPU of one call over the number of calls in flight."""
    figures = growth["figures"]["calls"]
    figure, axes = plt.subplots(figsize=(8, 3.2))
    sizes = [int(size) for size in figures]
    axes.fill_between(
        sizes,
        [f["q1"] for f in figures.values()],
        [f["q3"] for f in figures.values()],
        color=OURS,
        alpha=0.2,
        linewidth=0,
    )
    _line(axes, sizes, [f["cpu_us"] for f in figures.values()])
    axes.set_xlabel("calls in flight")
    axes.set_ylabel("CPU of one call, µs")
    _save(figure, growth, path)


def draw_run(growth: dict[str, Any], path: Path) -> None:
    """Draw the CPU and memory of a run per number, over the count of numbers."""
    runs = [run for run in growth["figures"]["runs"] if run["journal"] == "SqliteJournal"]
    sizes = [run["numbers"] for run in runs]
    figure, (cpu, rss) = plt.subplots(1, 2, figsize=(8, 3.2))
    _line(cpu, sizes, [run["cpu_us"] for run in runs])
    cpu.set_ylabel("CPU of one number, µs")
    _line(rss, sizes, [run["rss_bytes"] for run in runs])
    rss.set_yscale("log")
    rss.set_ylim(1, 10_000)
    rss.yaxis.set_major_formatter("{x:,.0f}")
    rss.set_ylabel("peak RSS of one number, bytes")
    for axes in (cpu, rss):
        axes.set_xlabel("numbers in a run, SqliteJournal")
    _save(figure, growth, path)


def _line(axes: Axes, sizes: list[int], values: list[float]) -> None:
    axes.plot(sizes, values, color=OURS, marker="o")
    for size, value in zip(sizes, values, strict=True):
        above = (0, 7)
        axes.annotate(
            f"{value:,.0f}", (size, value), above, textcoords="offset points", ha="center"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, max(values) * 1.25)
    axes.margins(x=0.12)


def _save(figure: Figure, measured: dict[str, Any], path: Path) -> None:
    title = f"sinch_qn, {measured['date']}: {measured['machine']}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    # matplotlib writes trailing blanks, its version and its site.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
