"""Draws what `calls.py` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS, INK = "#2a6fdb", "#9aa5b1", "#4a5561"


def draw_calls(result: dict[str, Any], path: Path, concurrency: str = "50") -> None:
    """Draw the CPU of one call for each contender, the cheapest on top."""
    figures = result["concurrency"][concurrency]
    names = sorted(figures, key=lambda name: figures[name]["cpu_us"], reverse=True)
    values = [figures[name]["cpu_us"] for name in names]
    mpl.rcParams.update({"svg.hashsalt": "sinch_qn", "font.size": 10, "text.color": INK})
    figure, axes = plt.subplots(figsize=(8, 3.2))
    colours = [OURS if name == "sinch_qn" else OTHERS for name in names]
    bars = axes.barh(names, values, color=colours, height=0.62)
    ours = figures["sinch_qn"]["cpu_us"]
    for bar, value in zip(bars, values, strict=True):
        label = f" {value:,.0f} µs   {value / ours:.2f} ×"
        axes.text(value, bar.get_y() + bar.get_height() / 2, label, va="center")
    axes.set_xlim(0, max(values) * 1.22)
    axes.set_xticks([])
    axes.tick_params(left=False, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(
        f"CPU of one get_number, {concurrency} at once ({result['date']}, {result['machine']})",
        loc="left",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, transparent=True)
