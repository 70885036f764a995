"""What the figures share: colours that colour-blind readers tell apart, grids of panels, the axis of training time."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AUGMENTED",
    "BOUND",
    "FLOOR",
    "MEMBERS",
    "PLAIN",
    "add_legend",
    "grid_shape",
    "log_limits",
    "new_figure",
    "over_time",
    "own_legend",
    "shades",
    "span_of_decay",
    "time_label",
    "time_ticks",
]

# Okabe & Ito 2008, "Color Universal Design".
AUGMENTED = "#0072B2"
PLAIN = "#D55E00"
MEMBERS = "#E69F00"
BOUND = "#555555"
FLOOR = 1e-17  # stands for 0 on logarithmic axes


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches, outside pyplot's list of figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def grid_shape(panels: int) -> tuple[int, int, float]:
    """Return rows, columns and the width in inches: one column for one or three panels, otherwise two."""
    columns = 1 if panels in (1, 3) else 2
    return -(-panels // columns), columns, 6.8 if columns == 1 else 10.4


def shades(count: int) -> list[tuple[float, ...]]:
    """Return colours that get darker, so that their order can be seen without colour too."""
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps["viridis_r"](np.linspace(0.25, 0.95, count))]


def add_legend(figure: "Figure", axes: Iterable["Axes"]) -> None:
    """Put one legend of all axes below the figure, each label once."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    width = 0.7 + 0.075 * max(map(len, entries))  # inches of a column at this font size
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=min(max(int(figure.get_figwidth() / width), 1), len(entries)),
        frameon=False,
        fontsize="medium",
    )


def own_legend(ax: "Axes") -> None:
    """Put the entries so far, which differ between panels, into the panel and out of the figure's legend."""
    ax.legend(loc="best", fontsize="small", framealpha=0.6)
    for handle in ax.get_legend_handles_labels()[0]:
        handle.set_label("_own")


def log_limits(axes: Sequence["Axes"]) -> None:
    """Give logarithmic value axes the same limits, wide enough for all their lines, whatever these hold."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for ax in axes for line in ax.get_lines()])
    shown = values[np.isfinite(values) & (values > 0)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.1, 1.0)
    margin = max((high / low) ** 0.06, 1.2)
    for ax in axes:
        ax.set_ylim(low / margin, high * margin)


def over_time(ax: "Axes", times: np.ndarray, values: np.ndarray, label: str, **style: Any) -> None:
    """Draw a line over the finite times and a dot at the right edge for t = inf.

    Parameters
    ----------
    ax : Axes
        With a logarithmic time axis; a logarithmic value axis shows 0 as `FLOOR`.
    times, values : array [T]
        Times of 0 are left out.
    label : str
        Of the line in the legend.
    **style
        Of line and dot.
    """
    if ax.get_yscale() == "log":
        values = np.maximum(values, FLOOR)
    finite = np.isfinite(times) & (times > 0)
    marker = "." if finite.sum() <= 12 else ""
    ax.plot(times[finite], values[finite], marker=marker, label=label, **style)
    last = np.isinf(times)
    style["linestyle"] = "none"
    ax.plot(np.full(last.sum(), _infinity(times)), values[last], marker="o", markersize=5, **style)


def time_ticks(ax: "Axes", times: np.ndarray) -> None:
    """Make a logarithmic axis of training time whose last tick is infinity."""
    ax.set_xscale("log")
    finite = times[np.isfinite(times) & (times > 0)]
    end = _infinity(times)
    start = finite.min() if len(finite) else end / 10
    first, last = np.ceil(np.log10(start) - 1e-9), np.floor(np.log10(finite.max()) if len(finite) else 0)
    step = max(1, int(np.ceil((last - first + 1) / 7)))
    powers = np.arange(first, last + 1, step)
    ax.set_xticks([*10.0**powers, end], [*(f"$10^{{{int(power)}}}$" for power in powers), "∞"])
    ax.set_xticks([], minor=True)
    ax.set_xlim(start / (end / start) ** 0.03, end * (end / start) ** 0.04)
    ax.set_xlabel("training time t")


def span_of_decay(ax: "Axes", curves: dict[str, np.ndarray]) -> None:
    """Shade the times between the fastest and the slowest decay of the training error."""
    ax.axvspan(
        float(curves["early"][0]), float(curves["late"][0]), color="#000000", alpha=0.06, lw=0, label="decay times"
    )


def time_label(time: float) -> str:
    """Return how a time is written in a legend.

    Examples
    --------
    >>> time_label(1234.5), time_label(float("inf"))
    ('t = 1230', 't = ∞')
    """
    return "t = ∞" if np.isinf(time) else f"t = {float(f'{time:.3g}'):g}"


def _infinity(times: np.ndarray) -> float:
    finite = times[np.isfinite(times) & (times > 0)]
    if not len(finite):
        return 1.0
    return float(finite.max() * max(10.0, finite.max() / finite.min()) ** 0.08)
