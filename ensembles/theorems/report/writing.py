"""Write a report's files, and draw its figures again from the HDF5 file alone."""

from collections.abc import Sequence
from pathlib import Path

from haarflow.theorems.registry import Verdict
from haarflow.theorems.report.data import Report, as_report, read_report, write_data
from haarflow.theorems.report.figures import draw, have_matplotlib
from haarflow.theorems.report.page import write_page
from haarflow.theorems.report.table import write_text

__all__ = ["redraw", "write_report"]


def write_report(verdicts: Sequence[Verdict], folder: str | Path) -> list[Path]:
    """Write the table, all figure data, the figures, and one HTML page with everything.

    Parameters
    ----------
    verdicts : sequence of Verdict
        What was measured.
    folder : path
        Made when it is missing; files of the same names in it are replaced.

    Returns
    -------
    list of Path
        The files written: verdicts.txt, verdicts.h5, with matplotlib installed verdicts.png and one PNG for each
        figure that the theorems brought curves for, and report.html.

    Raises
    ------
    NotADirectoryError
        Where `folder` is a file.

    Notes
    -----
    Figures are drawn from what the HDF5 file holds, so `redraw` gives the same pictures.
    """
    folder = _made(folder)
    report = as_report(verdicts)
    paths = [write_text(verdicts, folder / "verdicts.txt"), write_data(report, folder / "verdicts.h5")]
    if have_matplotlib():
        return paths + _write_figures(report, folder)
    return [*paths, write_page(report, None, folder / "report.html")]


def redraw(path: str | Path, folder: str | Path) -> list[Path]:
    """Draw the figures and report.html again from a report's HDF5 file.

    Parameters
    ----------
    path : path
        The report's verdicts.h5.
    folder : path
        Where to; made when it is missing, files of the same names in it are replaced.

    Returns
    -------
    list of Path
        The files written: one PNG per figure, and report.html with the version and date of the measurement.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    FileNotFoundError, ValueError
        Where `path` is not a report's HDF5 file.
    NotADirectoryError
        Where `folder` is a file.
    """
    if not have_matplotlib():
        raise ImportError('figures need matplotlib; install it with pip install "haarflow[plots]"')
    return _write_figures(read_report(path), _made(folder))


def _made(folder: str | Path) -> Path:
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the report needs a folder, found the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_figures(report: Report, folder: Path) -> list[Path]:
    drawings = list(draw(report))
    paths = [folder / f"{drawing.name}.png" for drawing in drawings]
    for path, drawing in zip(paths, drawings, strict=True):
        path.write_bytes(drawing.png)
    return [*paths, write_page(report, drawings, folder / "report.html")]
