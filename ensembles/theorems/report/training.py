"""Figures over training time: T3's orbit error, T4's members against the ensemble, orbit same prediction."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from haarflow.theorems.report.figures import Panel, figure
from haarflow.theorems.report.style import (
    AUGMENTED,
    BOUND,
    FLOOR,
    MEMBERS,
    PLAIN,
    add_legend,
    grid_shape,
    log_limits,
    new_figure,
    over_time,
    shades,
    span_of_decay,
    time_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_members", "draw_orbit_error", "draw_same_prediction"]


@figure(
    "orbit_error",
    "T3",
    ("times", "early", "late", "augmented", "plain"),
    "How far the infinite ensemble is from equivariance, largest over data and N(0, 1) inputs. Trained on the whole "
    "orbit it is equivariant at every training time up to rounding, without augmentation it is not. Shaded: "
    "from the fastest to the slowest decay of the training error.",
)
def draw_orbit_error(panels: Sequence[Panel]) -> "Figure":
    """Draw T3: the mean's orbit error with and without augmentation.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `times`, `augmented`, `plain` [T], `early`, `late` [1].

    Returns
    -------
    Figure
        One panel per workload.
    """
    rows, columns, width = grid_shape(len(panels))
    drawn = new_figure(width, 0.9 + 2.9 * rows)
    axes = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for ax, (workload, curves, bound) in _matched(axes, panels):
        ax.set(yscale="log", autoscaley_on=False)  # see log_limits below
        span_of_decay(ax, curves)
        over_time(ax, curves["times"], curves["plain"], "without augmentation", color=PLAIN)
        over_time(ax, curves["times"], curves["augmented"], "with augmentation", color=AUGMENTED)
        ax.axhline(max(bound, FLOOR), color=BOUND, linestyle=":", label="bound")
        time_ticks(ax, curves["times"])
        ax.set_title(workload)
    log_limits(list(axes[: len(panels)]))
    for ax in axes[::columns]:
        ax.set_ylabel("relative orbit error")
    add_legend(drawn, axes)
    drawn.suptitle("Orbit error of infinitely wide ensembles")
    return drawn


@figure(
    "members",
    "T4",
    ("times", "early", "late", "members", "means", "sizes", "ensemble", "law", "plain"),
    "Single members are not equivariant. Means of M members come closer as M grows, and the infinite ensemble "
    "and the covariance of its members (lower strips, another scale) are equivariant up to rounding.",
)
def draw_members(panels: Sequence[Panel]) -> "Figure":
    """Draw T4: orbit error of members, of means of M members, and of the infinite ensemble.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `times`, `members`, `ensemble`, `law`, `plain` [T], `means` [s, T], `sizes` [s], `early`, `late` [1].

    Returns
    -------
    Figure
        One panel per workload, with a strip below for what is 0 up to rounding.
    """
    rows, columns, width = grid_shape(len(panels))
    drawn = new_figure(width, 1.3 + 3.9 * rows)
    outer = drawn.add_gridspec(rows, columns)
    every = []
    for place, (workload, curves, bound) in enumerate(panels):
        inner = outer[divmod(place, columns)].subgridspec(2, 1, height_ratios=(3, 1.3), hspace=0.04)
        upper, lower = drawn.add_subplot(inner[0]), drawn.add_subplot(inner[1])
        times = curves["times"]
        for ax in (upper, lower):
            ax.set(yscale="log", autoscaley_on=False)  # see log_limits below
            span_of_decay(ax, curves)
            time_ticks(ax, times)
        upper.set_xlabel("")
        upper.tick_params(labelbottom=False)
        over_time(upper, times, curves["plain"], "infinite ensemble, no augmentation", color=PLAIN, linestyle="--")
        over_time(upper, times, curves["members"], "single members", color=MEMBERS)
        _means(upper, times, curves["means"], curves["sizes"])
        over_time(lower, times, curves["ensemble"], "infinite ensemble", color=AUGMENTED)
        over_time(lower, times, curves["law"], "covariance of its members", color="#CC79A7", linestyle="-.")
        lower.axhline(max(bound, FLOOR), color=BOUND, linestyle=":", label="bound")
        log_limits([upper])
        log_limits([lower])
        upper.set_title(workload)
        if place % columns == 0:
            upper.set_ylabel("relative orbit error")
        every += [upper, lower]
    add_legend(drawn, every)
    drawn.suptitle("Members are not equivariant, their ensemble is")
    return drawn


@figure(
    "same_prediction",
    "T4",
    ("times", "early", "late", "sizes", "osp_members", "osp_means", "osp_ensemble", "osp_plain", "order"),
    "Orbit same prediction: how many of the transformed copies of an input, the input included, get the class of "
    "the input itself, on average. The most is the number of group elements, and the infinite ensemble reaches it.",
)
def draw_same_prediction(panels: Sequence[Panel]) -> "Figure":
    """Draw T4 for classes: orbit same prediction of members, of means of M members, and of the ensemble.

    Parameters
    ----------
    panels : sequence of Panel
        Curves `times`, `osp_members`, `osp_ensemble`, `osp_plain` [T], `osp_means` [s, T], `sizes` [s],
        `order`, `early`, `late` [1].

    Returns
    -------
    Figure
        One panel per workload, from 1 to the group's order.
    """
    rows, columns, width = grid_shape(len(panels))
    drawn = new_figure(width, 1.3 + 3.2 * rows)
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for ax, (workload, curves, _) in _matched(axes, panels):
        times, order = curves["times"], int(curves["order"][0])
        span_of_decay(ax, curves)
        over_time(ax, times, curves["osp_plain"], "infinite ensemble, no augmentation", color=PLAIN, linestyle="--")
        over_time(ax, times, curves["osp_members"], "single members", color=MEMBERS)
        _means(ax, times, curves["osp_means"], curves["sizes"])
        over_time(ax, times, curves["osp_ensemble"], "infinite ensemble", color=AUGMENTED, linewidth=2.5)
        time_ticks(ax, times)
        ax.set_ylim(1 - 0.04 * (order - 1), order + 0.06 * (order - 1))
        ax.set_yticks(np.unique(np.linspace(1, order, min(order, 8)).round()))
        ax.set_title(f"{workload}  ({order} group elements)")
        ax.set_ylabel("copies with the same prediction")
    add_legend(drawn, axes)
    drawn.suptitle("Orbit same prediction over training time")
    return drawn


def _matched(axes: "np.ndarray", panels: Sequence[Panel]) -> Iterator[tuple["Axes", Panel]]:
    # An odd number of panels leaves the last place of the grid free.
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return zip(axes, panels, strict=False)


def _means(ax: "Axes", times: np.ndarray, means: np.ndarray, sizes: np.ndarray) -> None:
    for size, mean, colour in zip(sizes, means, shades(len(sizes)), strict=True):
        over_time(ax, times, mean, f"mean of M = {int(size)} members", color=colour)
