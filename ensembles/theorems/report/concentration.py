"""The figure of T5: how fast means of M members concentrate around the infinite ensemble."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haarflow.theorems.report.figures import Panel, figure
from haarflow.theorems.report.style import BOUND, PLAIN, add_legend, new_figure, own_legend, shades, time_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_concentration"]


@figure(
    "concentration",
    "T5",
    ("ratios", "sizes", "times", "frequency", "bound", "halved", "trials", "rms", "expected"),
    "Left: the mean of M members deviates from the infinite ensemble by M to the power -1/2, as predicted. Right: how "
    "often it deviates by more than δ stays below the bound, where s is the predicted deviation, but not below "
    "the bound with half of s, the control. Frequencies of 0 are drawn on the lower edge.",
)
def draw_concentration(panels: Sequence[Panel]) -> "Figure":
    """Draw T5: deviation over M, and frequencies against the bound over delta / s.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `sizes` [s], `times` [T], `rms`, `expected` [T, s], `ratios`, `bound` [r], `frequency`, `halved`
        [T, s, r], `trials` [1].

    Returns
    -------
    Figure
        Two panels per workload.
    """
    drawn = new_figure(10.4, 1.3 + 3.1 * len(panels))
    axes = drawn.subplots(len(panels), 2, squeeze=False)
    for (left, right), panel in zip(axes, panels, strict=True):
        _draw_deviation(left, panel)
        _draw_frequency(right, panel)
    add_legend(drawn, axes.ravel())
    drawn.suptitle("How close M members come to the infinite ensemble")
    return drawn


def _draw_deviation(ax: "Axes", panel: Panel) -> None:
    curves = panel.curves
    ax.set_xscale("log")
    ax.set_yscale("log")
    colours = shades(len(curves["times"]))
    for time, rms, expected, colour in zip(curves["times"], curves["rms"], curves["expected"], colours, strict=True):
        ax.plot(curves["sizes"], _positive(expected), color=colour, linewidth=1)
        ax.plot(curves["sizes"], _positive(rms), "o", color=colour, label=time_label(time))
    own_legend(ax)
    ax.plot([], [], color=BOUND, linewidth=1, label="predicted s = √(Σ / M)")
    ax.plot([], [], "o", color=BOUND, label="drawn ensembles, colours: time")
    ax.set_xticks(curves["sizes"], [f"{int(size)}" for size in curves["sizes"]])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("members M")
    ax.set_ylabel("rms deviation of the mean")
    ax.set_title(panel.workload)


def _draw_frequency(ax: "Axes", panel: Panel) -> None:
    curves = panel.curves
    trials = float(np.min(curves["trials"]))
    lowest = 0.5 / trials
    ax.set_yscale("log")
    ratios, bound = curves["ratios"], np.clip(curves["bound"], lowest, 1.0)
    error = 3 * np.sqrt(bound * (1 - bound) / trials)
    ax.plot(ratios, bound, color="black", linewidth=2, label="bound")
    ax.fill_between(
        ratios, bound, np.minimum(bound + error, 1.0), color="black", alpha=0.2, lw=0, label="+ 3 std errors"
    )
    for points, colour in zip(curves["frequency"], shades(len(curves["times"])), strict=True):
        shown = np.maximum(points, lowest).T
        ax.plot(ratios, shown, "o", color=colour, markersize=4, alpha=0.7)
    halved = curves["halved"].reshape(-1, len(ratios)).max(axis=0)
    ax.plot(ratios, _positive(halved), "--", color=PLAIN, label="control: bound with s halved")
    ax.set_ylim(0.7 * lowest, 1.6)
    ax.set_xlabel("δ / s")
    ax.set_ylabel("how often off by more than δ")
    ax.set_title(f"{panel.workload}, {int(trials)} ensembles each")


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
