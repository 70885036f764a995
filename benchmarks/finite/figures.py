"""Figures of the experiments. Colours: Okabe & Ito 2008."""

import numpy as np
from claims import paper
from matplotlib import colormaps
from matplotlib.figure import Figure

__all__ = ["orbit_mse_over_members", "osp_over_epochs"]

COLOURS = ("#0072B2", "#E69F00", "#009E73")
GREY = "#555555"


def osp_over_epochs(epochs, members, found, path):
    """Draw the orbit same prediction over epochs: a row for each group, a column for each kind of inputs."""
    kinds = list(next(iter(found.values())))
    figure = Figure(figsize=(3 * len(kinds), 2.6 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), len(kinds), squeeze=False, sharey="row", sharex=True)
    shades = colormaps["viridis_r"](np.linspace(0.2, 0.95, len(members)))
    place = {4: 0, 8: 1, 16: 2}
    for row, (k, by_kind) in zip(axes, found.items(), strict=True):
        for ax, kind in zip(row, kinds, strict=True):
            for M, values, colour in zip(members, by_kind[kind], shades, strict=True):
                low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=-1)
                ax.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
                ax.plot(epochs, middle, ".-", color=colour, ms=4, label=f"M = {M}")
            if k in place and kind != "FashionMNIST test":
                for label, style in (("deep ensemble", "--"), ("single nets", ":")):
                    value = paper.OSP[f"{label} + augmentation [T]"][place[k]].split()[0]
                    ax.axhline(float(value), color=GREY, lw=0.8, ls=style, label=f"paper, {label}")
            ax.set(title=f"C{k}, {kind}", ylim=(0.35 * k, 1.03 * k))
            ax.set_xscale("symlog", linthresh=1)
            ax.set_xticks(epochs, [str(epoch) for epoch in epochs])
            ax.set_xticks([], minor=True)
        row[0].set_ylabel("orbit same prediction")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize="small")
    figure.savefig(path, dpi=150)


def orbit_mse_over_members(members, found, floors, steps, path):
    """Draw the orbit MSE after the last step against M, with the law's expectation and the paper's points."""
    kinds = list(dict.fromkeys(kind for _, kind in found))
    widths = list(dict.fromkeys(width for width, _ in found if width != "∞"))
    figure = Figure(figsize=(3.4 * len(kinds), 3.8), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        for width, colour, marker in zip(widths, COLOURS, "vs^", strict=True):
            low, middle, high = np.array([np.quantile(v[-1], [0.1, 0.5, 0.9]) for v in found[width, kind]]).T
            ax.fill_between(members, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(members, middle, ".-", color=colour, label=f"width {width}")
            theirs = paper.CROSS[kind.split(":")[0]][width]
            ax.plot((1, 2, 10), theirs, marker, color=colour, ms=5, mfc="none", label=f"paper, width {width}")
        ax.plot(members, [v[-1] for v in found["∞", kind]], "--", color="black", label="infinite width, expected")
        ax.axhline(floors["∞", kind][-1], color=GREY, lw=0.8, ls=":", label="infinite width, M = ∞")
        ax.set(xscale="log", yscale="log", xlabel="members M", title=kind)
        ax.set_xticks(members, [str(M) for M in members])
        ax.set_xticks([], minor=True)
    axes[0].set_ylabel(f"orbit MSE, {steps[-1]} steps")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize="small")
    figure.savefig(path, dpi=150)
