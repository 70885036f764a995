"""The figure of T7: orbit errors of finite networks' means over their number, with and without symmetric layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haarflow.theorems.report.figures import Panel, figure
from haarflow.theorems.report.style import AUGMENTED, BOUND, FLOOR, MEMBERS, PLAIN, add_legend, grid_shape, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_any_width"]

_LAWS = {
    "symmetric": ("symmetric supports", AUGMENTED, "o-"),
    "initial": ("asymmetric, symmetric at initialisation", MEMBERS, "s-"),
    "asymmetric": ("asymmetric", PLAIN, "^-"),
}


@figure(
    "any_width",
    "T7",
    ("sizes", *_LAWS, *(f"{name}_floor" for name in _LAWS), *(f"{name}_commutator" for name in _LAWS)),
    "The mean of M trained networks of a few channels comes ever closer to equivariance where the group maps the "
    "filters' supports to themselves, by M to the power -1/2; otherwise it stops at a floor (dashed: estimated from "
    "all members). The size of the commutator of the two projections stands beside.",
)
def draw_any_width(panels: Sequence[Panel]) -> "Figure":
    """Draw T7: relative orbit error over M.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `sizes` [s], and for each kind of support its error [s], `_floor` [1] and `_commutator` [1].

    Returns
    -------
    Figure
        One panel per workload.
    """
    rows, columns, width = grid_shape(len(panels))
    drawn = new_figure(width, 1.3 + 3.4 * rows)
    axes = drawn.subplots(rows, columns, squeeze=False)
    for ax, panel in zip(axes.ravel(), panels, strict=False):
        curves = panel.curves
        ax.set_xscale("log")
        ax.set_yscale("log")
        sizes = curves["sizes"]
        for name, (label, colour, style) in _LAWS.items():
            commutator = float(curves[f"{name}_commutator"][0])
            ax.plot(
                sizes,
                np.where(curves[name] > 0, curves[name], FLOOR),
                style,
                color=colour,
                label=f"{label}, commutator {commutator:.2g}",
            )
            floor = float(curves[f"{name}_floor"][0])
            if floor > 0:
                ax.axhline(floor, color=colour, linestyle="--", linewidth=1)
        ax.plot(
            sizes,
            max(curves["symmetric"][0], FLOOR) * (sizes / sizes[0]) ** -0.5,
            ":",
            color=BOUND,
            label="members to the −1/2",
        )
        ax.set_xlabel("members M")
        ax.set_ylabel("relative orbit error of the mean")
        ax.set_title(panel.workload)
    for ax in axes.ravel()[len(panels) :]:
        ax.set_visible(False)
    add_legend(drawn, axes.ravel()[: len(panels)])
    drawn.suptitle("Which finite networks become equivariant together")
    return drawn
