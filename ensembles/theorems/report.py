"""The report of `haarflow verify`: a table, an HDF5 of every plotted number, and figures drawn from it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table

from haarflow.theorems.registry import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["legend", "verdict_table", "write_report"]


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the table of verdicts: residual, bound, negative control, verdict.

    Parameters
    ----------
    verdicts : sequence of Verdict
        In the order of the rows.
    """
    table = Table(title="haarflow verify", caption_justify="left")
    for heading in ("theorem", "workload", "residual", "at most", "control", "above", "verdict"):
        number = heading in ("residual", "at most", "control", "above")
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for verdict in verdicts:
        entry, found = verdict.theorem, verdict.measurement
        table.add_row(
            entry.name,
            verdict.workload.name,
            f"{found.residual:.1e}",
            f"{entry.bound:.0e}",
            f"{found.control:.1e}",
            f"{entry.floor:.0e}",
            "[green]holds[/green]" if verdict.holds else "[bold red]FAILS[/bold red]",
        )
    return table


def write_report(verdicts: Sequence[Verdict], folder: str | Path) -> list[Path]:
    """Write the table, all figure data, and the figures.

    Parameters
    ----------
    verdicts : sequence of Verdict
        What was measured.
    folder : path
        Made when it is missing; earlier reports in it are replaced.

    Returns
    -------
    list of Path
        The files written: verdicts.txt, verdicts.h5, and with matplotlib installed orbit_error.png and
        verdicts.png.

    Raises
    ------
    NotADirectoryError
        Where `folder` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the report needs a folder, found the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_write_text(verdicts, folder / "verdicts.txt"), _write_data(verdicts, folder / "verdicts.h5")]
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return paths
    paths.append(_draw_overview(verdicts, folder / "verdicts.png"))
    orbit_errors = [v for v in verdicts if "augmented" in v.measurement.curves]
    if orbit_errors:
        paths.append(_draw_orbit_errors(orbit_errors, folder / "orbit_error.png"))
    return paths


def legend(verdicts: Sequence[Verdict]) -> str:
    """Return what the table's rows mean: each theorem's statement, source and broken condition, each workload.

    Parameters
    ----------
    verdicts : sequence of Verdict
        The table's rows.
    """
    lines = []
    for entry in {v.theorem.name: v.theorem for v in verdicts}.values():
        lines.append(f"{entry.name}: {entry.statement}  [{entry.source}]")
        broken = dict.fromkeys(v.measurement.broken for v in verdicts if v.theorem is entry)
        lines.append(f"    control: {'; '.join(broken)}")
    lines += [f"{w.name}: {w.title}" for w in {v.workload.name: v.workload for v in verdicts}.values()]
    return "\n".join(lines) + "\n"


def _write_text(verdicts: Sequence[Verdict], path: Path) -> Path:
    console = Console(file=io.StringIO(), width=160)
    console.print(verdict_table(verdicts))
    assert isinstance(console.file, io.StringIO)
    path.write_text(console.file.getvalue() + legend(verdicts), encoding="utf-8")
    return path


def _write_data(verdicts: Sequence[Verdict], path: Path) -> Path:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for verdict in verdicts:
            group = file.create_group(f"{verdict.theorem.name}/{verdict.workload.name}")
            found = verdict.measurement
            group.attrs.update(
                statement=verdict.theorem.statement,
                source=verdict.theorem.source,
                workload=verdict.workload.title,
                residual=found.residual,
                bound=verdict.theorem.bound,
                control=found.control,
                floor=verdict.theorem.floor,
                broken=found.broken,
                holds=verdict.holds,
            )
            for name, values in found.curves.items():
                group[name] = values
    path.write_bytes(buffer.getvalue())
    return path


def _draw_orbit_errors(verdicts: Sequence[Verdict], path: Path) -> Path:
    from matplotlib.figure import Figure

    columns = 2 if len(verdicts) > 1 else 1
    rows = -(-len(verdicts) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for ax, verdict in zip(axes, verdicts, strict=False):
        _draw_orbit_error(ax, verdict)
    for ax in axes[len(verdicts) :]:
        ax.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Orbit error of infinitely wide ensembles, largest over data and N(0, 1) inputs")
    figure.savefig(path, dpi=150)
    return path


def _draw_orbit_error(ax: "Axes", verdict: Verdict) -> None:
    curves = verdict.measurement.curves
    finite = np.isfinite(curves["times"])
    times = curves["times"][finite]
    infinity = times[-1] * (times[-1] / times[0]) ** 0.08
    for name, label, colour in (
        ("plain", "without augmentation", "tab:orange"),
        ("augmented", "with augmentation", "tab:blue"),
    ):
        errors = np.maximum(curves[name], 1e-17)
        ax.loglog(times, errors[finite], color=colour, label=label)
        ax.loglog([infinity], errors[~finite], "o", color=colour)
    ax.axhline(verdict.theorem.bound, color="grey", linestyle=":", label="bound")
    ax.axvspan(float(curves["early"][0]), float(curves["late"][0]), color="grey", alpha=0.1, linewidth=0)
    ax.set_title(verdict.workload.name, fontsize="medium")
    ax.set_xlabel("training time t  (dots: t = inf; shaded: decay times)", fontsize="small")
    ax.set_ylabel("relative orbit error", fontsize="small")


def _draw_overview(verdicts: Sequence[Verdict], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.8 + 0.32 * len(verdicts)), layout="constrained")
    ax = figure.subplots()
    heights = np.arange(len(verdicts))[::-1]
    residuals = [max(v.measurement.residual, 1e-17) for v in verdicts]
    ax.semilogx(residuals, heights, "o", color="tab:blue", label="residual")
    ax.semilogx([v.theorem.bound for v in verdicts], heights, "|", color="black", markersize=12, label="bound")
    ax.semilogx([v.measurement.control for v in verdicts], heights, "x", color="tab:orange", label="negative control")
    ax.set_yticks(heights, [f"{v.theorem.name}  {v.workload.name}" for v in verdicts])
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("relative deviation from the theorem")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), fontsize="small")
    figure.savefig(path, dpi=150)
    return path
