"""Figures of the experiments. Colours: Okabe & Ito 2008."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from claims import paper

__all__ = ["osp_over_time", "over_members"]

COLOURS = {"train": "#0072B2", "test": "#E69F00", "N(0,1)": "#009E73"}


def over_members(members, found, setting, path):
    """Draw the relative orbit std against M, with M^-1/2 and the paper's points."""
    figure = Figure(figsize=(6.6, 4.8), layout="constrained")
    ax = figure.subplots()
    finite = np.array([M for M in members if np.isfinite(M)])
    for kind, values in found.items():
        low, middle, high = np.array([np.quantile(v, [0.1, 0.5, 0.9]) for v in values[: len(finite)]]).T
        colour = COLOURS[kind]
        ax.fill_between(finite, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(finite, middle, "-", color=colour, label=f"{kind}, infinite width")
        ax.plot(finite, middle[0] / np.sqrt(finite), ":", color="#555555", lw=1)
        for width, marker in ((512, "v"), (2048, "^")):
            row = paper.ISING[kind][width]
            ax.plot([1, *paper.ISING_MEMBERS], [row[5], *row[:5]], marker, color=colour, ms=5, mfc="none",
                    label=f"{kind}, paper, width {width}")  # fmt: skip
    ax.plot([], [], ":", color="#555555", label=r"$M^{-1/2}$")
    ax.set(xscale="log", yscale="log", xlabel="members M", ylabel="relative orbit std of the mean")
    ax.set_title(f"Ising × C4, {setting}\npaper: {paper.SOURCE}", fontsize="small")
    ax.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=150)


def osp_over_time(times, members, found, kinds, path):
    """Draw the orbit same prediction over training time: a row for each group, a column for each kind of inputs."""
    figure = Figure(figsize=(3.4 * len(kinds), 2.6 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), len(kinds), squeeze=False, sharey="row")
    shades = colormaps["viridis_r"](np.linspace(0.2, 0.95, len(members)))
    for row, (k, by_kind) in zip(axes, found.items(), strict=True):
        t = np.where(np.isfinite(times[k]), times[k], 10 * times[k][np.isfinite(times[k])].max())
        for ax, kind in zip(row, kinds, strict=True):
            for M, values, colour in zip(members, by_kind[kind], shades, strict=True):
                low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=-1)
                ax.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
                ax.plot(t, middle, ".-", color=colour, ms=4, label="M = ∞" if np.isinf(M) else f"M = {M}")
            ax.axhline(k, color="#555555", lw=0.8, ls=":")
            ax.set(xscale="log", title=f"C{k}, {kind}", ylim=(0.4 * k, 1.03 * k))
            ax.set_xticks([*t[:-1:3], t[-1]], [*(f"{v:.0e}".replace("e+0", "e") for v in t[:-1:3]), "∞"])
            ax.set_xticks([], minor=True)
        row[0].set_ylabel("orbit same prediction")
    for ax in axes[-1]:
        ax.set_xlabel("training time t")
    axes[0, 0].legend(fontsize="x-small")
    figure.savefig(path, dpi=150)
