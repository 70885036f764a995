"""The figure of all verdicts: residual, bound, negative control and its floor in one line each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from haarflow.theorems.report.data import Row
from haarflow.theorems.report.style import AUGMENTED, BOUND, FLOOR, PLAIN, add_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_overview"]

_MARKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("residual", "residual", {"marker": "o", "color": AUGMENTED, "markersize": 6}),
    ("bound", "its bound", {"marker": "|", "color": BOUND, "markersize": 13, "markeredgewidth": 2}),
    ("control", "negative control", {"marker": "X", "color": PLAIN, "markersize": 7}),
    ("floor", "its floor", {"marker": "|", "color": PLAIN, "markersize": 13, "markeredgewidth": 1}),
)


def draw_overview(rows: Sequence[Row]) -> "Figure":
    """Draw one line per verdict, on one logarithmic axis.

    Parameters
    ----------
    rows : sequence of Row
        From top to bottom; at least one.

    Returns
    -------
    Figure
        Verdicts that fail are written in bold and red.
    """
    figure = new_figure(8.5, 1.5 + 0.28 * len(rows))
    ax = figure.subplots()
    ax.set_xscale("log")
    heights = np.arange(len(rows))
    for name, label, style in _MARKS:
        values = np.array([getattr(row, name) for row in rows])
        ax.plot(np.clip(values, FLOOR, 1 / FLOOR), heights, linestyle="none", label=label, **style)
    names = [f"{row.theorem}  {row.workload}" + ("" if row.holds else "  FAILS") for row in rows]
    ax.set_yticks(heights, names)
    for text, row in zip(ax.get_yticklabels(), rows, strict=True):
        if not row.holds:
            text.set(color=PLAIN, fontweight="bold")
    for height in range(1, len(rows)):
        if rows[height].theorem != rows[height - 1].theorem:
            ax.axhline(height - 0.5, color="black", linewidth=0.6)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("measured deviation from the theorem (0 is drawn at 1e-17)")
    ax.set_title(f"{sum(row.holds for row in rows)} of {len(rows)} verdicts hold")
    add_legend(figure, [ax])
    return figure
