"""One registry of figures: each belongs to a theorem and is drawn from that theorem's curves alone."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from haarflow.theorems.report.data import Report
from haarflow.theorems.report.overview import draw_overview

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Drawing", "Entry", "Panel", "draw", "figure", "have_matplotlib"]


class Panel(NamedTuple):
    """What one workload brings to a theorem's figure."""

    workload: str
    curves: dict[str, np.ndarray]
    bound: float


@dataclass(frozen=True)
class Entry:
    """A figure of the theorem named `theorem`, from the workloads whose curves have all names in `needs`."""

    theorem: str
    needs: tuple[str, ...]
    caption: str
    draw: Callable[[Sequence[Panel]], "Figure"]


class Drawing(NamedTuple):
    """A drawn figure: the file's name without its ending, what it shows, and the PNG."""

    name: str
    caption: str
    png: bytes


FIGURES: dict[str, Entry] = {}


def figure(
    name: str, theorem: str, needs: tuple[str, ...], caption: str
) -> Callable[[Callable[[Sequence[Panel]], "Figure"]], Callable[[Sequence[Panel]], "Figure"]]:
    """Enter a drawing function into the registry.

    Parameters
    ----------
    name : str
        The file's name without its ending.
    theorem : str
        The theorem whose curves it draws, such as "T3".
    needs : tuple of str
        Curves it cannot do without; workloads that lack one are left out.
    caption : str
        What the figure shows, for a reader who does not know the theorem.
    """

    def enter(function: Callable[[Sequence[Panel]], "Figure"]) -> Callable[[Sequence[Panel]], "Figure"]:
        FIGURES[name] = Entry(theorem, needs, caption, function)
        return function

    return enter


def have_matplotlib() -> bool:
    """Return whether figures can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw(report: Report) -> Iterator[Drawing]:
    """Draw the overview and every registered figure that the report has curves for.

    Parameters
    ----------
    report : Report
        Fresh, or read from HDF5: the pictures are the same.

    Yields
    ------
    Drawing
        None for a report without rows.
    """
    if not report.rows:
        return
    caption = "Every verdict: the residual has to stay left of its bound, the negative control right of its floor."
    yield Drawing("verdicts", caption, _png(draw_overview(report.rows)))
    for name, entry in FIGURES.items():
        panels = [
            Panel(row.workload, dict(row.curves), row.bound)
            for row in report.rows
            if row.theorem == entry.theorem and set(entry.needs) <= set(row.curves)
        ]
        if panels:
            yield Drawing(name, entry.caption, _png(entry.draw(panels)))


def _png(drawn: "Figure") -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
