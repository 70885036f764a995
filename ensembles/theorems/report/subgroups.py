"""The figure of T6: finite subgroups of a continuous group, measured against the bound."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haarflow.theorems.report.figures import Panel, figure
from haarflow.theorems.report.style import BOUND, FLOOR, PLAIN, add_legend, new_figure, own_legend, shades, time_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_subgroups"]


@figure(
    "subgroups",
    "T6",
    ("subgroups", "times", "deviation", "bound", "control", "ratio"),
    "Trained on the k rotations of a regular polygon, the ensemble is nearly invariant under all rotations. Left: the "
    "largest change of its mean (dots) and the bound (dashed). Right: change over bound, which has to stay below 1; "
    "an ensemble without augmentation does not.",
)
def draw_subgroups(panels: Sequence[Panel]) -> "Figure":
    """Draw T6: the deviation under all angles and its bound over the subgroup's order.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `subgroups` [k], `times` [T], `deviation`, `bound`, `control`, `ratio` [T, k].

    Returns
    -------
    Figure
        Two panels per workload.
    """
    drawn = new_figure(10.4, 1.3 + 3.1 * len(panels))
    axes = drawn.subplots(len(panels), 2, squeeze=False)
    for (left, right), panel in zip(axes, panels, strict=True):
        for ax in (left, right):
            ax.set_xscale("log")
            ax.set_yscale("log")
        _draw_deviation(left, panel)
        _draw_ratio(right, panel)
        for ax in (left, right):
            _ticks(ax, panel.curves["subgroups"])
    add_legend(drawn, axes.ravel())
    drawn.suptitle("Finite subgroups of the rotations, and how far the ensemble is from full invariance")
    return drawn


def _draw_deviation(ax: "Axes", panel: Panel) -> None:
    curves = panel.curves
    rows = zip(curves["times"], curves["deviation"], curves["bound"], shades(len(curves["times"])), strict=True)
    for time, deviation, bound, colour in rows:
        ax.plot(curves["subgroups"], np.maximum(bound, FLOOR), "--", color=colour)
        ax.plot(
            curves["subgroups"], np.maximum(deviation, FLOOR), "o-", color=colour, markersize=4, label=time_label(time)
        )
    own_legend(ax)
    ax.plot([], [], "--", color=BOUND, label="bound ε C(x)")
    ax.plot([], [], "o-", color=BOUND, markersize=4, label="with augmentation, colours: time")
    ax.set_ylabel("largest change under rotation")
    ax.set_title(panel.workload)


def _draw_ratio(ax: "Axes", panel: Panel) -> None:
    curves = panel.curves
    rows = zip(curves["ratio"], curves["control"], shades(len(curves["times"])), strict=True)
    for ratio, control, colour in rows:
        ax.plot(curves["subgroups"], np.maximum(ratio, FLOOR), "o-", color=colour, markersize=4)
        ax.plot(curves["subgroups"], np.maximum(control, FLOOR), "X:", color=colour, markersize=6)
    ax.plot([], [], "X:", color=BOUND, label="without augmentation")
    ax.axhline(1.0, color=PLAIN, linewidth=1.5, label="the bound")
    ax.set_ylabel("change / bound")
    ax.set_title(panel.workload)


def _ticks(ax: "Axes", subgroups: np.ndarray) -> None:
    powers = 2 ** np.arange(np.floor(np.log2(subgroups.min())), np.ceil(np.log2(subgroups.max())) + 1)
    ax.set_xticks(powers, [f"{int(power)}" for power in powers])
    ax.set_xticks([], minor=True)
    ax.grid(alpha=0.3)
    ax.set_xlabel("rotations trained on, k")
